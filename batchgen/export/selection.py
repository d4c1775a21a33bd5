"""Which images are taken: by an expression in SQL, by lists of picked ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchgen.config.counts import counted
from batchgen.errors import ConfigError
from batchgen.export.question import Question

_NUMBER = "#"
"""The column of row numbers that an expression is asked with."""


class Picked:
    """The ids of a list of picked images, and which of them were met."""

    def __init__(self, path: Path) -> None:
        """Read a CSV with a column `id`. Raises `ConfigError` for any other."""
        self._path = path
        self._ids = _ids_in(path)
        self._array = pa.array(list(self._ids), pa.string())
        self._met: set[Any] = set()

    def among(self, ids: Any) -> Any:
        """Return for each id whether it is in the list."""
        mask: Any = pc.is_in(ids, value_set=self._array)
        self._met.update(ids.filter(mask).to_pylist())
        return mask

    def refuse_unmet(self) -> None:
        """Raise `ConfigError` for ids that no image had, once all have been asked for."""
        unmet = [one for one in self._ids if one not in self._met]
        if unmet:
            problem = (
                f"{self._path} picks {counted(len(unmet), 'image')} that the folders do not have, "
                f"the first {unmet[0]!r}. Ids are KEY-INDEX, in a grid POINT-KEY-INDEX."
            )
            raise ConfigError([problem])


def _ids_in(path: Path) -> dict[str, None]:
    """Return the column `id` of a CSV, each id once, in order."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if "id" not in names:
                problem = (
                    f"{path} has no column 'id'; it has: {', '.join(names)}. "
                    "A list of picked images has one: KEY-INDEX, in a grid POINT-KEY-INDEX."
                )
                raise ConfigError([problem])
            ids = dict.fromkeys(row["id"] or "" for row in reader)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}."]) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} is no CSV in UTF-8: {error}."]) from error
    if not ids:
        raise ConfigError([f"{path} picks no image: it has no row below its header."])
    return ids


class Condition:
    """An expression in SQL, asked of a table of rows at a time."""

    def __init__(self, expression: str) -> None:
        """Open DuckDB in memory. Raises `ConfigError` where it is not installed."""
        try:
            import duckdb
        except ImportError as error:
            raise ConfigError(
                ["--where needs DuckDB, which is not installed: pip install 'batchgen[sql]'"]
            ) from error
        self._expression = expression
        self._error: type[Exception] = duckdb.Error
        self._connection = duckdb.connect(config={"enable_external_access": "false"})

    def of(self, table: pa.Table) -> pa.Table:
        """Return the rows for which it is true. Raises `ConfigError` for what DuckDB refuses."""
        numbered = table.append_column(_NUMBER, pa.array(range(table.num_rows), pa.int64()))
        query = f'SELECT "{_NUMBER}" FROM images WHERE ({self._expression}\n)'  # noqa: S608
        try:
            self._connection.register("images", numbered)
            found = self._connection.execute(query).fetchall()
        except self._error as error:
            reason = str(error).partition("\n\n")[0].replace("\n", " ")
            raise ConfigError([f"--where {self._expression!r}: {reason}"]) from error
        finally:
            self._connection.unregister("images")
        return table.take(pa.array(sorted(number for (number,) in found), pa.int64()))


class Selection:
    """All that a question says of which images are taken."""

    def __init__(self, question: Question) -> None:
        """Read the lists. Raises `ConfigError` for one that is none, and without DuckDB."""
        self._only = None if question.only is None else Picked(question.only)
        self._without = None if question.without is None else Picked(question.without)
        self._condition = None if question.where is None else Condition(question.where)

    def of(self, table: pa.Table) -> pa.Table:
        """Return the rows of a table, with a column `id`, that are taken."""
        if self._only is not None:
            table = table.filter(self._only.among(table["id"]))
        if self._without is not None:
            table = table.filter(pc.invert(self._without.among(table["id"])))
        if self._condition is not None:
            table = self._condition.of(table)
        return table

    def refuse_unmet(self) -> None:
        """Raise `ConfigError` for picked images that were never met."""
        for picked in (self._only, self._without):
            if picked is not None:
                picked.refuse_unmet()
