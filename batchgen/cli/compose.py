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

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchgen.cli import job_files
from batchgen.cli.overrides import Given, line_of, parse, unknown_key, written
from batchgen.config import groups, keys, paths, shell
from batchgen.config.groups import config_folder
from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS
from batchgen.config.names import note_of_preset
from batchgen.config.nearest import did_you_mean
from batchgen.errors import ConfigError

logger = logging.getLogger(__name__)

_HYDRAS_OWN = ("object_type=", "reference_type=", "Config search path", "To append to your config")
"""What the part of a message begins with that says nothing to a user."""


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
            reason = "is not a folder" if own.exists() else paths.absence(own)
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
            is_known = any(one.key in ("table", "jobs") for one in given) and problems
            raise ConfigError(problems if is_known else [*problems, self._no_table()])
        try:
            job = OmegaConf.to_object(config)
        except OmegaConfBaseException as error:
            file = self._chosen("jobs", given)
            place = f"{file}: " if file is not None else ""
            key = f"{error.full_key}: " if error.full_key else ""
            raise ConfigError([*problems, f"{place}{key}{_reason(error)}"]) from error
        if not isinstance(job, JobConfig):
            raise ConfigError([f"{config_folder()}/run.yaml does not compose to a job."])
        problems += job.problems()
        if problems:
            raise ConfigError(problems)
        if _value_of("table", given) is None:
            job.table = job_files.table_of(self._chosen("jobs", given), job.table)
        if note := note_of_preset(_value_of("sampling", given), job.model):
            logger.warning("%s", note)
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

    def preset(self, arguments: Sequence[str]) -> str | None:
        """Return the name that `sampling=` has here, on the command line or in the job's file."""
        given = self._parsed(arguments)
        name = _value_of("sampling", given)
        file = self._chosen("jobs", given)
        return job_files.chosen(file).get("sampling") if name is None and file else name

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
        is_there = (file for file in files if file.is_file() or file.is_symlink())
        return next(is_there, None) if name is not None else None

    def _composed(self, given: list[Given]) -> tuple[DictConfig, list[str]]:
        """Compose without the overrides that do not fit, and say what is wrong with each."""
        problems: list[str] = []
        for group in keys.GROUPS:
            if (file := self._chosen(group, given)) is not None:
                problems += job_files.problems(file, group, self._names)
        if problems:
            raise ConfigError(problems)
        try:
            config = self._raw([line_of(one) for one in given])
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
            line = line_of(one)
            try:
                self._raw([*kept, line])
            except (HydraException, OmegaConfBaseException) as error:
                file = self._chosen(one.key, [one]) if one.key in ("jobs", "sampling") else None
                inside = self._misfits_in(file, kept) if file is not None else []
                problems += inside or [self._misfit(one, error)]
            else:
                kept.append(line)
        return self._raw(kept), problems

    def _misfits_in(self, file: Path, kept: Sequence[str]) -> list[str]:
        """Say which values of a file do not fit, each with its line."""
        found = []
        choices = [f"{group}={name}" for group, name in job_files.chosen(file).items()]
        beside = [line for line in kept if line.partition("=")[0] in keys.GROUPS]
        for leaf in job_files.leaves(file):
            try:
                self._raw([*(choices or beside), written(leaf.key, leaf.value)])
            except (HydraException, OmegaConfBaseException) as error:
                found.append(f"{leaf.place}: {leaf.key}: {_reason(error)}")
        return found

    def _misfit(self, given: Given, error: BaseException) -> str:
        """Say what is wrong with a setting that Hydra refuses."""
        start = f"{given.argument.lstrip('+')}:"
        if keys.hint_of(given.key) is None:
            return unknown_key(given.argument, given.key)
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


def _value_of(key: str, given: Sequence[Given]) -> str | None:
    return next((str(one.value) for one in given if one.key == key and one.value is not None), None)


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
    for marker in _HYDRAS_OWN:
        text = text.partition(marker)[0]
    text = re.sub(r"^In '[^']*': \w+ raised while composing config:; ", "", text)
    return text.strip(" ;.") + "."
