"""From overrides on the command line to `JobConfig`s; with `cli` the only user of hydra.

Configs are looked up in conf/ (in the package once installed, beside it in a checkout), in the
folder of `--config-dir`, and in the working directory, where `jobs/<name>.yaml` lies.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchgen.config.groups import config_folder
from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS
from batchgen.errors import ConfigError

_OPEN_KEY = "reading.columns"
_ADAPTER_KEY = re.compile(r"adapters\.([^.]+)(?:\.([^.]+))?")


class Composer:
    """Composes jobs from overrides; `config_dir` is the user's own folder of configs."""

    def __init__(self, config_dir: str | None = None) -> None:
        store = ConfigStore.instance()
        schema = OmegaConf.structured(JobConfig)
        schema.model = MISSING  # a default model would refuse to be replaced by one of another type
        store.store(name="job_schema", node=schema)
        for name, model in MODELS.items():
            store.store(group="schema/model", name=name, node=model)
        places = [Path(config_dir).resolve()] if config_dir else []
        if places and not places[0].is_dir():
            raise ConfigError([f"--config-dir {config_dir} is no folder."])
        quoted = ",".join(_quoted(f"file://{place}") for place in [*places, Path.cwd()])
        self._search = f"hydra.searchpath=[{quoted}]"

    def job(self, arguments: Sequence[str]) -> JobConfig:
        """Return the one job that overrides describe, valid in itself.

        Raises `ConfigError` with every problem there is: keys, types and ranges.
        """
        config, problems = self._composed(arguments)
        if OmegaConf.is_missing(config, "table"):
            is_known = any(problem.startswith(("table=", "jobs=")) for problem in problems)
            raise ConfigError(problems if is_known else [*problems, _no_table()])
        try:
            job = OmegaConf.to_object(config)
        except OmegaConfBaseException as error:
            raise ConfigError([*problems, _reason(error)]) from error
        if not isinstance(job, JobConfig):
            raise ConfigError([f"{config_folder()}/run.yaml does not compose to a job."])
        problems += job.problems()
        if problems:
            raise ConfigError(problems)
        return job

    def grid(self, arguments: Sequence[str]) -> Iterator[list[str]]:
        """Yield the overrides of each point of a grid, the last swept key changing fastest."""
        overrides = _parsed(arguments)
        choices = [
            [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [str(override.input_line)]
            for override in overrides
        ]
        yield from (list(point) for point in itertools.product(*choices))

    def yaml(self, arguments: Sequence[str]) -> str:
        """Return the composed config of a job as YAML; ranges are not checked."""
        config, problems = self._composed(arguments)
        if problems:
            raise ConfigError(problems)
        return OmegaConf.to_yaml(config)

    def _composed(self, arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
        """Compose without the overrides that do not fit, and say what is wrong with each."""
        overrides = _parsed(arguments)
        swept = [override.input_line for override in overrides if override.is_sweep_override()]
        if swept:
            raise ConfigError([f"{swept[0]} is a grid of jobs: add -m, or quote the value."])
        lines = [_line(override) for override in overrides]
        try:
            return self._raw(lines), []
        except (HydraException, OmegaConfBaseException):
            return self._without_misfits(lines)

    def _without_misfits(self, lines: list[str]) -> tuple[DictConfig, list[str]]:
        problems: list[str] = []
        kept: list[str] = []
        for line in sorted(lines, key=_is_value):
            try:
                self._raw([*kept, line])
            except (HydraException, OmegaConfBaseException) as error:
                problems.append(f"{line.lstrip('+')}: {_reason(error)}")
            else:
                kept.append(line)
        return self._raw(kept), problems

    def _raw(self, lines: list[str]) -> DictConfig:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("run", overrides=[self._search, *lines])


def _parsed(arguments: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    overrides, problems = [], []
    for argument in arguments:
        try:
            overrides.append(parser.parse_override(argument))
        except HydraException:
            problems.append(_quoting_advice(argument, parser))
    if problems:
        raise ConfigError(problems)
    return overrides


def _quoting_advice(argument: str, parser: OverridesParser) -> str:
    key, equals, value = argument.partition("=")
    quoted = f"{key}={_quoted(value)}"
    try:
        parser.parse_override(quoted if equals else "")
    except HydraException:
        return f"{argument} is not an override: give key=value, such as table=prompts.csv."
    return f'{argument} holds characters Hydra cannot read unquoted. Write: "{quoted}"'


def _quoted(value: str) -> str:
    return "'{}'".format(value.replace("'", "\\'"))


def _line(override: Override) -> str:
    """Return an override as Hydra should read it.

    Columns and adapters are named freely, so their keys may be new; no other key may. What goes
    into a text field stays the text it is, where Hydra would make a number of `1e3`.
    """
    key = override.get_key_element().lstrip("+")
    if key.startswith("hydra."):
        raise ConfigError([f"{override.input_line}: settings of Hydra itself have no effect here."])
    if override.is_delete():
        return str(override.input_line)
    value = str(override.input_line).partition("=")[2]
    if match := _ADAPTER_KEY.fullmatch(key):
        return _adapter_line(match[1], match[2], value, override)
    if key == _OPEN_KEY or key.startswith(f"{_OPEN_KEY}."):
        return f"++{key}={value}"
    is_text = isinstance(override.value(), (bool, int, float)) and _is_text(key)
    return f"{key}={_quoted(value) if is_text else value}"


def _adapter_line(name: str, field: str | None, value: str, override: Override) -> str:
    """Return the override of one adapter as one of them all.

    A new name deeper down would be made a plain dict by OmegaConf, and be refused for its type.
    """
    if field is not None:
        is_bare = override.value() is not None and value[:1] not in ("'", '"')
        value = f"{{{field}: {_quoted(value) if is_bare else value}}}"
    return f"++adapters={{{name}: {value}}}"


def _is_text(key: str) -> bool:
    """Whether a field of the config holds text."""
    *groups, name = key.split(".")
    kinds: list[Any] = [JobConfig]
    for group in groups:
        kinds = [get_type_hints(kind).get(group) for kind in kinds if kind is not None]
        kinds = [*MODELS.values()] if groups == ["model"] else kinds
    hints = [get_type_hints(kind).get(name) for kind in kinds if kind is not None]
    return any(hint is str or str in get_args(hint) for hint in hints)


def _is_value(line: str) -> bool:
    """Whether an override sets a value, and so must come after those that choose a group."""
    return "." in line.partition("=")[0]


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


def _no_table() -> str:
    jobs = sorted(path.stem for path in Path("jobs").glob("*.yaml"))
    known = f" Jobs here: {', '.join(f'jobs={name}' for name in jobs)}." if jobs else ""
    return f"table is missing: name the prompt table, table=prompts.csv, or a job.{known}"


def swept_keys(arguments: Sequence[str]) -> list[str]:
    """Return the keys that make a grid of a command line."""
    return [o.get_key_element() for o in _parsed(arguments) if o.is_sweep_override()]
