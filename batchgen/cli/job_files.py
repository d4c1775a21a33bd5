"""The files behind `jobs=NAME` and other names of the user's: are they what Hydra can compose.

Read here without Hydra, so that a message names the file, the line and what to write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batchgen.config import groups, keys
from batchgen.config.keys import OPEN
from batchgen.config.nearest import did_you_mean
from batchgen.config.paths import absence, expanded

_HEADER = "# @package _global_"
_WHOLE_JOB = ("jobs", "sampling")
"""Groups whose files hold settings of the whole job."""


Names = Callable[[str], Sequence[str] | None]
"""Returns the names that there are of a group."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of a file."""

    place: str
    """File and line, for a message."""
    key: str
    value: Any


def problems(file: Path, group: str, names: Names) -> list[str]:
    """Return a sentence for each thing in a file of a group that cannot be composed."""
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        with contextlib.suppress(ValueError):  # a date that is none is text to Hydra
            yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        is_wide = str(error.context).startswith(("while parsing a block", "while constructing"))
        mark = error.problem_mark if is_wide else error.context_mark or error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        return [f"{file}{line}: this is not YAML ({reason}). {_yaml_advice(text, mark)}"]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        return [f"{file}: this is not YAML in UTF-8 ({reason}). Write it anew as plain text."]
    except OSError as error:
        is_link = file.is_symlink() and not file.exists()
        reason = absence(file) if is_link else f"cannot be read: {error.strerror}"
        return [f"{file} {reason}."]
    if node is not None and not isinstance(node, yaml.MappingNode):
        return [f"{_at(file, node)}: settings are lines of `key: value` in a file, not key=value."]
    return list(_of_content(file, text, node, names if group in _WHOLE_JOB else None))


def chosen(file: Path) -> dict[str, str]:
    """Return the names that the `defaults` of a file without problems choose, by group."""
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    defaults = [value for key, value in _pairs(node) if key.value == "defaults"]
    return {
        str(key.value).removeprefix("override /"): str(name.value)
        for entries in defaults
        for entry in entries.value
        for key, name in _pairs(entry)
    }


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys and values of a mapping; none of anything else."""
    pairs: list[tuple[yaml.Node, yaml.Node]] = (
        node.value if isinstance(node, yaml.MappingNode) else []
    )
    return pairs


def leaves(file: Path) -> Iterator[Leaf]:
    """Yield each value of a file that has no problems, lists as one value."""
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        yield from _leaves(file, "", node)


def _leaves(file: Path, prefix: str, node: yaml.MappingNode) -> Iterator[Leaf]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in ("defaults", *OPEN):
            continue
        if isinstance(value, yaml.MappingNode):
            yield from _leaves(file, f"{name}.", value)
        else:
            content = value.value
            with contextlib.suppress(ValueError):  # a date that is none is text to Hydra
                content = yaml.safe_load(yaml.serialize(value))
            yield Leaf(_at(file, key), name, content)


def _at(file: Path, node: yaml.Node) -> str:
    return f"{file}, line {node.start_mark.line + 1}"


def _yaml_advice(text: str, mark: Any) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line:
        return "Indent with spaces, not with tabs."
    if "=" in line and ":" not in line:
        return "A setting is written `key: value` in a file, not key=value."
    return "Close every bracket and quote, indent evenly, and quote a value that holds `: ` or `#`."


def _of_content(
    file: Path, text: str, node: yaml.MappingNode | None, names: Names | None
) -> Iterator[str]:
    """Check a file; `names` is None where it holds settings of its group only."""
    if names is not None and not _has_header(text):
        yield f"{file}, line 1: the first line must be `{_HEADER}`. Write it above the rest."
    if node is None:
        return
    yield from _twice(file, node)
    for key, value in node.value if names is not None else ():
        if key.value == "defaults":
            yield from _of_defaults(file, value, names)
        else:
            yield from _of_setting(file, str(key.value), key, value)


def _has_header(text: str) -> bool:
    head = [line.split() for line in text.splitlines() if line.startswith("#")]
    return _HEADER.split() in head


def _twice(file: Path, node: yaml.Node) -> Iterator[str]:
    """Yield a sentence for each key that stands twice in a mapping."""
    seen: set[str] = set()
    for key, value in _pairs(node):
        if str(key.value) in seen:
            yield f"{_at(file, key)}: {key.value} stands there twice. Leave one out."
        seen.add(str(key.value))
        yield from _twice(file, value)


def _of_setting(file: Path, name: str, key: yaml.Node, value: yaml.Node) -> Iterator[str]:
    group = name.partition(".")[0]
    is_empty = isinstance(value, yaml.ScalarNode) and value.tag.endswith(":null")
    if keys.hint_of(name) is None and name not in OPEN:
        near = keys.nearest_key(name)
        meant = f" Did you mean {_nested(near)}?" if near else ""
        yield f"{_at(file, key)}: there is no setting {name}.{meant}"
    elif is_empty and keys.is_group(name):
        yield f"{_at(file, key)}: nothing stands below `{name}:`. Leave the line out."
    elif name in keys.GROUPS and isinstance(value, yaml.ScalarNode):
        yield (
            f"{_at(file, key)}: `{name}: {value.value}` chooses a name of a group. Write it "
            f"under `defaults:` as `- override /{name}: {value.value}`."
        )
    elif isinstance(value, yaml.MappingNode) and group not in ("adapters", "model"):
        for inner, under in value.value if name not in OPEN else ():
            yield from _of_setting(file, f"{name}.{inner.value}", inner, under)


def _nested(key: str) -> str:
    """Return a key as it stands in a file."""
    group, dot, name = key.rpartition(".")
    return f"{name}, under {group}:" if dot else key


def _of_defaults(file: Path, node: yaml.Node, names: Names | None) -> Iterator[str]:
    if not isinstance(node, yaml.SequenceNode):
        yield f"{_at(file, node)}: `defaults:` is a list of `- ` lines."
        return
    for entry in node.value:
        if isinstance(entry, yaml.ScalarNode) and entry.value.strip("/") in keys.GROUPS:
            name = entry.value.strip("/")
            yield f"{_at(file, entry)}: which {name}? Write `- override /{name}: NAME`."
        for key, value in _pairs(entry):
            yield from _of_default(file, key, str(value.value), names)


def _of_default(file: Path, key: yaml.Node, name: str, names: Names | None) -> Iterator[str]:
    group = str(key.value).removeprefix("override").strip().lstrip("/")
    known = names(group) if names is not None else None
    if known is None:
        return
    if str(key.value) != f"override /{group}":
        yield (
            f"{_at(file, key)}: `{key.value}: {name}` would be looked up beside this file. Write "
            f"`override /{group}: {name}`."
        )
    elif name not in known:
        yield (
            f"{_at(file, key)}: there is no {group} {name}; there are: {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )


def table_of(file: Path | None, table: str) -> str:
    """Return where the table of a job's file is.

    A job that comes with the package names its table from the folder it ships in; from any other
    place, a table is named from the working folder.
    """
    path, home = expanded(table), groups.shipped_folder()
    is_ours = file is not None and file.parent == home / "jobs"
    if is_ours and not path.is_absolute() and not path.exists() and (home / path).is_file():
        return str(home / path)
    return table
