"""The files behind `jobs=NAME` and other names of the user's: are they what Hydra can compose.

Read here without Hydra, so that a message names the file, the line and what to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from batchgen.config import groups, keys
from batchgen.config.paths import expanded

_HEADER = "# @package _global_"
_WHOLE_JOB = ("jobs", "sampling")
"""Groups whose files hold settings of the whole job."""


def problems(file: Path, group: str) -> list[str]:
    """Return a sentence for each thing in a file of a group that cannot be composed."""
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        return [f"{file}{line}: this is no YAML ({reason}). {_yaml_advice(text, mark)}"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        return [f"{file}: this is no YAML in UTF-8 ({reason}). Write it anew as plain text."]
    except OSError as error:
        return [f"{file} cannot be read: {error.strerror}."]
    if node is not None and not isinstance(node, yaml.MappingNode):
        return [f"{file}, line {node.start_mark.line + 1}: settings are lines of `key: value`."]
    return list(_of_content(file, text, node, group))


def _yaml_advice(text: str, mark: Any) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line:
        return "Indent with spaces, not with tabs."
    if "=" in line and ":" not in line:
        return "A setting is written `key: value` in a file, not key=value."
    return "Close every bracket and quote, indent evenly, and quote a value that holds `: ` or `#`."


def _of_content(file: Path, text: str, node: yaml.MappingNode | None, group: str) -> Iterator[str]:
    if group in _WHOLE_JOB and not _has_header(text):
        yield f"{file}, line 1: the first line must be `{_HEADER}`. Write it above the rest."
    seen: set[str] = set()
    for key, value in node.value if node is not None else ():
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            yield f"{file}, line {line}: {name} stands there twice. Leave one out."
        seen.add(name)
        if name == "defaults":
            yield from _of_defaults(file, value, group)
        elif group in _WHOLE_JOB:
            yield from _of_setting(file, line, name, value)


def _has_header(text: str) -> bool:
    head = [line.split() for line in text.splitlines() if line.startswith("#")]
    return _HEADER.split() in head


def _of_setting(file: Path, line: int, name: str, value: yaml.Node) -> Iterator[str]:
    if keys.hint_of(name) is None:
        near = keys.nearest_key(name)
        meant = f" Did you mean {_nested(near)}?" if near else ""
        yield f"{file}, line {line}: there is no setting {name}.{meant}"
    elif name in keys.GROUPS and isinstance(value, yaml.ScalarNode) and value.value:
        yield (
            f"{file}, line {line}: `{name}: {value.value}` chooses a name of a group. Write it "
            f"under `defaults:` as `- override /{name}: {value.value}`."
        )
    elif isinstance(value, yaml.MappingNode) and name not in ("adapters", "model"):
        for key, _ in value.value:
            full = f"{name}.{key.value}"
            if keys.hint_of(full) is None:
                near = keys.nearest_key(full)
                meant = f" Did you mean {_nested(near)}?" if near else ""
                yield (
                    f"{file}, line {key.start_mark.line + 1}: there is no setting {full}.{meant}"
                )


def _nested(key: str) -> str:
    """Return a key as it stands in a file."""
    group, dot, name = key.rpartition(".")
    return f"{name}, under {group}:" if dot else key


def _of_defaults(file: Path, node: yaml.Node, group: str) -> Iterator[str]:
    if not isinstance(node, yaml.SequenceNode):
        yield f"{file}, line {node.start_mark.line + 1}: `defaults:` is a list of `- ` lines."
        return
    for entry in node.value:
        if group not in _WHOLE_JOB or not isinstance(entry, yaml.MappingNode):
            continue
        for key, value in entry.value:
            name = str(key.value).removeprefix("override").strip()
            bare = name.lstrip("/")
            if bare in keys.GROUPS and str(key.value) != f"override /{bare}":
                yield (
                    f"{file}, line {key.start_mark.line + 1}: `{key.value}: {value.value}` would "
                    f"be looked up beside this file. Write `override /{bare}: {value.value}`."
                )


def table_of(file: Path | None, table: str) -> Path:
    """Return where the table of a job's file is.

    A job that comes with the package names its table from the folder it ships in; from any other
    place, a table is named from the working folder.
    """
    path, home = expanded(table), groups.shipped_folder()
    is_ours = file is not None and file.parent == home / "jobs"
    if is_ours and not path.is_absolute() and not path.exists() and (home / path).is_file():
        return home / path
    return path
