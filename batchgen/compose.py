"""From overrides on the command line to `JobConfig`s; with `cli` the only user of hydra.

Configs are looked up in conf/ (in the package once installed, beside it in a checkout), in the
folder of `--config-dir`, and in the working directory, where `jobs/<name>.yaml` lies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchgen.config import MODELS, JobConfig
from batchgen.errors import ConfigError

_PACKAGE = Path(__file__).parent
_OPEN_KEYS = "reading.columns."


def config_folder() -> Path:
    """Return conf/: inside the package once installed, beside it in a checkout."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


class Composer:
    """Composes jobs from overrides; `config_dir` is the user's own folder of configs."""

    def __init__(self, config_dir: str | None = None) -> None:
        store = ConfigStore.instance()
        schema = OmegaConf.structured(JobConfig)
        schema.model = MISSING  # a default model would refuse to be replaced by one of another type
        store.store(name="job_schema", node=schema)
        for name, model in MODELS.items():
            store.store(group="model", name=f"{name}_schema", node=model)
        places = [Path(config_dir).resolve()] if config_dir else []
        if places and not places[0].is_dir():
            raise ConfigError([f"--config-dir {config_dir} is no folder."])
        quoted = ",".join(f"'file://{place}'" for place in [*places, Path.cwd()])
        self._search = f"hydra.searchpath=[{quoted}]"

    def job(self, arguments: Sequence[str]) -> JobConfig:
        """Return the one job that overrides describe, valid in itself.

        Raises `ConfigError` with every problem there is: keys, types and ranges.
        """
        overrides = _parsed(arguments)
        swept = [override.input_line for override in overrides if override.is_sweep_override()]
        if swept:
            raise ConfigError([f"{swept[0]} is a grid of jobs: add -m, or quote the value."])
        config, problems = self._composed([_line(override) for override in overrides])
        if config is not None:
            problems += list(config.problems())
        if problems or config is None:
            raise ConfigError(problems)
        return config

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
        """Return the composed config of a job as YAML."""
        return OmegaConf.to_yaml(self._raw([_line(override) for override in _parsed(arguments)]))

    def _composed(self, lines: list[str]) -> tuple[JobConfig | None, list[str]]:
        """Compose, leaving out each override that does not fit and saying why."""
        problems: list[str] = []
        try:
            return self._object(lines), problems
        except (HydraException, OmegaConfBaseException) as error:
            first = error
        kept: list[str] = []
        for line in sorted(lines, key=_is_value):
            try:
                self._raw([*kept, line])
            except (HydraException, OmegaConfBaseException) as error:
                problems.append(f"{line}: {_reason(error)}")
            else:
                kept.append(line)
        try:
            return self._object(kept), problems
        except (HydraException, OmegaConfBaseException) as error:
            return None, problems or [_reason(error or first)]

    def _raw(self, lines: list[str]) -> DictConfig:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("run", overrides=[self._search, *lines])

    def _object(self, lines: list[str]) -> JobConfig:
        config = self._raw(lines)
        if OmegaConf.is_missing(config, "table"):
            raise ConfigError([_no_table()])
        job = OmegaConf.to_object(config)
        if not isinstance(job, JobConfig):
            raise ConfigError([f"{config_folder()}/run.yaml does not compose to a job."])
        return job


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
    key, _, value = argument.partition("=")
    quoted = "{}='{}'".format(key, value.replace("'", "\\'"))
    try:
        parser.parse_override(quoted)
    except HydraException:
        return f"{argument} is not an override: give key=value, such as table=prompts.csv."
    return f'{argument} holds characters Hydra cannot read unquoted. Write: "{quoted}"'


def _line(override: Override) -> str:
    line = str(override.input_line)
    return f"++{line}" if line.startswith(_OPEN_KEYS) else line


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
