"""docs/config.md, printed from the dataclasses: `python -m tools.config_page`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from types import ModuleType

from batchgen.config import device, job, models, reading, sampling, settings
from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.setting_row import Setting
from batchgen.config.settings import SETTINGS, default_of

_PREFIXES = {
    "JobConfig": "",
    "SamplingConfig": "sampling.",
    "AdapterConfig": "adapters.<name>.",
    "ReadingConfig": "reading.",
    "DeviceConfig": "device.",
    "ImagesConfig": "images.",
    "RetryConfig": "retry.",
    "TimeoutConfig": "timeout.",
    "StopConfig": "stop.",
    "ModelConfig": "model.",
    "SdxlModel": "model.",
    "DemoModel": "model.",
    "FakeModel": "model.",
}
_HEAD = """# Every setting of a job

Printed by `python -m tools.config_page`; a test keeps this page equal to it. On the command line a
setting is `key=value`; `model`, `device` and `images` also take the name of a group, such as
`model=demo` or `images=webp`. `batchgen run --cfg` prints what a command line comes to.

Without `-m`, a value of a text setting that Hydra's grammar cannot read, or reads as a sweep, a
list or a dict, is the text as it was typed: `table=it's (1).csv`,
`sampling.negative_prompt=blurry, ugly`. Any other value means what Hydra says, and `${key}` that
stands for nothing is text, too.

With `-m`, values between commas, `choice`, `range`, `sort`, `shuffle` and casts make a grid, and
`glob` does for the names of `model`, `device`, `images`, `sampling` and `jobs`; `interval`, which
has no end, does not. A grid has 100,000 points at most.
"""


def markdown() -> str:
    """Return docs/config.md."""
    parts = [_HEAD]
    modules = (job, reading, device, sampling, models)
    documented = {name: node for one in modules for name, node in _classes(one).items()}
    for name, prefix in _PREFIXES.items():
        node = documented[name]
        title = f"`{prefix}*`" if prefix else "The job"
        title += f" of `{name}`" if prefix == "model." else ""
        parts.append(f"\n## {title}\n\n{_flat(ast.get_docstring(node) or '')}\n")
        rows = list(_rows(node, prefix))
        if rows:
            parts.append("\n| key | type | default | |\n|---|---|---|---|\n" + "".join(rows))
    names = ", ".join(f"`{name}`" for name in SCHEDULERS)
    parts.append(f"\n## Schedulers\n\n{names}\n")
    return "".join(parts)


def _classes(module: ModuleType) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _rows(node: ast.ClassDef, prefix: str) -> Iterator[str]:
    """Yield a table row for each field; the string below a field is what it means."""
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        meaning = _flat(row.meaning) if (row := _setting(field.value)) else ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = _flat(str(after.value.value))
        cells = [_code(prefix + ast.unparse(field.target)), _type(ast.unparse(field.annotation))]
        yield f"| {' | '.join([*cells, _default(field.value), meaning])} |\n"


def _type(annotation: str) -> str:
    for module in (job, device, sampling, models, settings):
        kind = getattr(module, annotation, None)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return ", ".join(f"`{name}`" for name in kind.__members__)
    return _code(annotation)


def _default(value: ast.expr | None) -> str:
    if value is None:
        return "required"
    if row := _setting(value):
        return _code(repr(row.default) if row.choices is None else row.default)
    if isinstance(value, ast.Call):  # field(default=...), field(default_factory=...), or neither
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default_factory" not in given:
            return _default(given.get("default"))
        made = ast.unparse(given["default_factory"])
        return {"list": "`[]`", "dict": "`{}`"}.get(made, f"see `{made}`")
    text = ast.unparse(value)
    return (
        "none"
        if text == "None"
        else _code(text.rpartition(".")[2] if "." in text and text[0].isupper() else text)
    )


def _setting(value: ast.expr | None) -> Setting | None:
    """Return the row of the table of settings that a field takes its default from."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == default_of.__name__:
        return SETTINGS[ast.literal_eval(value.args[0])]
    return None


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
