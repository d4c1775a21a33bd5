"""From overrides on the command line to `JobConfig`s.

Configs are looked up in conf/ (in the package once installed, beside it in a checkout), in the
folder of `--config-dir`, and in the working directory, where `jobs/<name>.yaml` lies.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchgen.cli import job_files
from batchgen.cli.overrides import Given, parse
from batchgen.config import groups, keys, paths, shell
from batchgen.config.groups import config_folder
from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS
from batchgen.config.names import note_of_preset
from batchgen.config.nearest import did_you_mean
from batchgen.errors import ConfigError

_OPEN_KEY = "reading.columns"
_ADAPTER_KEY = re.compile(r"adapters\.([^.]+)(?:\.([^.]+))?")

log = logging.getLogger(__name__)


class Composer:
    """Composes jobs from overrides; `config_dir` is the user's own folder of configs."""

    def __init__(self, config_dir: str | None = None) -> None:
        store = ConfigStore.instance()
        schema = OmegaConf.structured(JobConfig)
        schema.model = MISSING  # a default model would refuse to be replaced by one of another type
        store.store(name="job_schema", node=schema)
        for name, model in MODELS.items():
            store.store(group="schema/model", name=name, node=model)
        own = paths.expanded(config_dir) if config_dir else None
        if own is not None and not own.is_dir():
            reason = "is no folder" if own.exists() else paths.absence(own)
            raise ConfigError([f"--config-dir {config_dir} {reason}. Name a folder of configs."])
        self._own = [*([own.resolve()] if own else []), Path.cwd()]
        self._places = list(dict.fromkeys([*self._own, groups.shipped_folder()]))
        quoted = ",".join(shell.quoted(f"file://{place}") for place in self._places)
        self._search = f"hydra.searchpath=[{quoted}]"

    def job(self, arguments: Sequence[str]) -> JobConfig:
        """Return the one job that overrides describe, valid in itself.

        Raises `ConfigError` with every problem there is: keys, types and ranges.
        """
        given = self._parsed(arguments)
        config, problems = self._composed(given)
        if OmegaConf.is_missing(config, "table"):
            is_known = any(problem.startswith(("table=", "jobs=")) for problem in problems)
            raise ConfigError(problems if is_known else [*problems, self._no_table()])
        try:
            job = OmegaConf.to_object(config)
        except OmegaConfBaseException as error:
            raise ConfigError([*problems, _reason(error)]) from error
        if not isinstance(job, JobConfig):
            raise ConfigError([f"{config_folder()}/run.yaml does not compose to a job."])
        problems += job.problems()
        if problems:
            raise ConfigError(problems)
        if _value_of("table", given) is None:
            job.table = str(job_files.table_of(self._chosen("jobs", given), job.table))
        if note := note_of_preset(_value_of("sampling", given), job.model):
            log.warning("%s", note)
        return job

    def grid(self, arguments: Sequence[str]) -> Iterator[list[str]]:
        """Yield the overrides of each point of a grid, the last swept key changing fastest.

        Raises `ConfigError` before the first, for sweeps that have no meaning here.
        """
        choices = [
            [written(given.key, choice) for choice in given.choices]
            if given.is_sweep
            else [given.argument]
            for given in self._parsed(arguments, is_grid=True)
        ]
        return (list(point) for point in itertools.product(*choices))

    def swept_keys(self, arguments: Sequence[str]) -> list[str]:
        """Return the keys that make a grid of a command line."""
        return [given.key for given in self._parsed(arguments, is_grid=True) if given.is_sweep]

    def yaml(self, arguments: Sequence[str]) -> str:
        """Return the composed config of a job as YAML; ranges are not checked."""
        config, problems = self._composed(self._parsed(arguments))
        if problems:
            raise ConfigError(problems)
        return OmegaConf.to_yaml(config)

    def _parsed(self, arguments: Sequence[str], *, is_grid: bool = False) -> list[Given]:
        return parse(arguments, is_grid=is_grid, names=self._names)

    def _names(self, key: str) -> list[str] | None:
        """Return the names that a group has, here or in the package; None for another key."""
        if key not in keys.GROUPS:
            return None
        found = {path.stem for place in self._places for path in (place / key).glob("*.yaml")}
        return sorted(found | set(groups.names(key)))

    def _chosen(self, group: str, given: Sequence[Given]) -> Path | None:
        """Return the file that a name of a group is, where it is not one of conf/."""
        name = _value_of(group, given)
        files = (place / group / f"{name}.yaml" for place in self._places)
        return next((file for file in files if name is not None and file.is_file()), None)

    def _composed(self, given: list[Given]) -> tuple[DictConfig, list[str]]:
        """Compose without the overrides that do not fit, and say what is wrong with each."""
        problems: list[str] = []
        for group in keys.GROUPS:
            if (file := self._chosen(group, given)) is not None:
                problems += job_files.problems(file, group)
        if problems:
            raise ConfigError(problems)
        try:
            config = self._raw([_line(one) for one in given])
        except (HydraException, OmegaConfBaseException):
            config, problems = self._without_misfits(given)
        loose = [one for one in given if _is_loose(one, config)]
        if not loose:
            return config, problems
        typed = {one.key for one in loose}
        again = [
            Given(one.key, one.argument, one.typed, is_typed=True) if one.key in typed else one
            for one in given
        ]
        return self._without_misfits(again)

    def _without_misfits(self, given: list[Given]) -> tuple[DictConfig, list[str]]:
        problems: list[str] = []
        kept: list[str] = []
        for one in sorted(given, key=_is_value):
            line = _line(one)
            try:
                self._raw([*kept, line])
            except (HydraException, OmegaConfBaseException) as error:
                problems.append(self._misfit(one, error))
            else:
                kept.append(line)
        return self._raw(kept), problems

    def _misfit(self, given: Given, error: BaseException) -> str:
        """Say what is wrong with a setting that Hydra refuses."""
        start = f"{given.argument.lstrip('+')}:"
        if keys.hint_of(given.key) is None:
            return f"{start} there is no setting {given.key}.{_meant(given)}"
        names = self._names(given.key)
        if given.key == "jobs" and names is not None and given.value not in names:
            folders = ", ".join(str(place / "jobs") for place in self._places)
            return (
                f"{start} no {given.value}.yaml in {folders}; there are: {', '.join(names)}."
                f"{did_you_mean(str(given.value), names)} Jobs of another folder: cd there, or "
                "--config-dir FOLDER, which holds jobs/NAME.yaml."
            )
        if names is not None and given.value not in names:
            near = did_you_mean(str(given.value), names)
            return f"{start} there is none of this name; there are: {', '.join(names)}.{near}"
        return f"{start} {_reason(error)}"

    def _raw(self, lines: list[str]) -> DictConfig:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("run", overrides=[self._search, *lines])

    def _no_table(self) -> str:
        jobs = self._names("jobs") or []
        known = f" Jobs here: {', '.join(f'jobs={name}' for name in jobs)}." if jobs else ""
        return f"table is missing: name the prompt table, table=prompts.csv, or a job.{known}"


def with_table(arguments: Sequence[str]) -> list[str]:
    """Return overrides with a table, for a command that opens none."""
    has_table = any(one.lstrip("+").startswith("table=") for one in arguments)
    return [*arguments] if has_table else ["table=none.csv", *arguments]


def written(key: str, value: Any) -> str:
    """Return the override that gives a key this value; `${key}` in a text stays as it is."""
    if isinstance(value, str):
        is_bare = "${" not in value and shell.plain_text(value) == value
        return f"{key}={value if is_bare else shell.quoted(value)}"
    return f"{key}={_element(value)}"


def _element(value: Any) -> str:
    """Return a value of any kind as Hydra's grammar has it."""
    if isinstance(value, list):
        return f"[{','.join(_element(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_element(one)}' for key, one in value.items())}}}"
    if isinstance(value, str):
        return shell.quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _value_of(key: str, given: Sequence[Given]) -> str | None:
    return next((str(one.value) for one in given if one.key == key and one.value is not None), None)


def _meant(given: Given) -> str:
    """Return a sentence with the setting that was meant, or with those there are."""
    near = keys.nearest_key(given.key)
    if near is None:
        return f" There are: {', '.join(keys.neighbours(given.key))}."
    written_so = shell.command(f"{near}={given.typed}") if "=" in given.argument else near
    return f" Did you mean {written_so}?"


def _line(given: Given) -> str:
    """Return a setting as Hydra should read it.

    Columns and adapters are named freely, so their keys may be new; no other key may. What goes
    into a text field stays the text it is, where Hydra would make a number of `1e3`.
    """
    key = given.key
    if key.startswith("hydra."):
        raise ConfigError([f"{given.argument}: settings of Hydra itself have no effect here."])
    if given.is_delete:
        return given.argument
    is_number = isinstance(given.value, (bool, int, float)) and keys.is_text(key)
    value = given.typed
    if given.is_typed or is_number:
        value = shell.quoted(shell.without_interpolation(value))
    if match := _ADAPTER_KEY.fullmatch(key):
        return _adapter_line(match[1], match[2], value, given)
    is_open = key == _OPEN_KEY or key.startswith(f"{_OPEN_KEY}.")
    return f"{'++' if is_open else ''}{key}={value}"


def _adapter_line(name: str, field: str | None, value: str, given: Given) -> str:
    """Return the override of one adapter as one of them all.

    A new name deeper down would be made a plain dict by OmegaConf, and be refused for its type.
    """
    if field is not None:
        is_bare = given.value is not None and value[:1] not in ("'", '"')
        value = f"{{{field}: {shell.quoted(value) if is_bare else value}}}"
    return f"++adapters={{{name}: {value}}}"


def _is_loose(given: Given, config: DictConfig) -> bool:
    """Whether a text has a `${...}` in it that stands for nothing here."""
    if given.is_typed or not keys.is_text(given.key) or "${" not in given.typed:
        return False
    try:
        OmegaConf.select(config, given.key, throw_on_missing=True)
    except OmegaConfBaseException:
        return True
    return OmegaConf.select(config, given.key) is None


def _is_value(given: Given) -> bool:
    """Whether a setting is a value, and so must come after those that choose a group."""
    return "." in given.key


def _reason(error: BaseException) -> str:
    """Return the part of Hydra's message that says what is wrong."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line for line in str(cause).splitlines() if line.strip()]
    text = "; ".join(line.strip() for line in lines if "full_key" not in line)
    for marker in (
        "object_type=",
        "reference_type=",
        "Config search path",
        "To append to your config",
    ):
        text = text.partition(marker)[0]
    return text.strip(" ;") + "."
