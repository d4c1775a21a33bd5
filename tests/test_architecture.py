"""The rooms of the package: who may import whom, and which libraries are leaves."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "batchgen"

ROOMS = [
    "errors", "storage", "faults", "config", "table", "model", "adapters", "hub", "plan", "images",
    "ledger", "pipelines", "runner", "report", "doctor", "cli", "__main__", "__init__",
]  # fmt: skip
"""From the ground up: a room imports from itself and from those before it."""

_MODELS_ONLY = {
    f"pipelines.mindspore.{name}"
    for name in (
        "sdxl",
        "loading",
        "machine",
        "cpu_kernels",
        "scheduler",
        "prompts",
        "lora_layers",
    )
}
LEAVES = {
    "mindspore": _MODELS_ONLY,
    "mindone": _MODELS_ONLY,
    "transformers": _MODELS_ONLY,
    "tokenizers": {"model.tokens"},
    "modelscope": {"hub.hubs"},
    "modelscope_hub": {"hub.hubs"},
    "huggingface_hub": {"hub.hubs"},
    "hydra": {"cli.compose"},
    "omegaconf": {"cli.compose"},
    "cattrs": {"config.structure"},
    "yaml": {"config.groups"},
    "ray": set[str](),
    "torch": set[str](),
    "diffusers": set[str](),
}
"""Libraries that few may import, and the modules that may, inside a function or not."""


def name_of(path: Path) -> str:
    """Return the module's dotted name inside the package; a package is named by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_for_types(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(tree: ast.AST, *, at_import_only: bool) -> Iterator[ast.AST]:
    """Yield the nodes of a module, or only those that run when it is imported."""
    for child in ast.iter_child_nodes(tree):
        is_later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_for_types(child)
        if not (at_import_only and is_later):
            yield child
            yield from nodes(child, at_import_only=at_import_only)


def imports(module: str, *, at_import_only: bool = False) -> set[str]:
    """Return the dotted names a module imports; those of batchgen down to the module meant."""
    found = set()
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in nodes(tree, at_import_only=at_import_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full, from batchgen.x import y"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if name.removeprefix("batchgen.") in FILES}
            found |= modules or {str(node.module)}
    return found


def neighbours(module: str, *, at_import_only: bool = False) -> set[str]:
    """Return the modules of batchgen that a module imports."""
    inside = {
        name.removeprefix("batchgen").removeprefix(".") or "__init__"
        for name in imports(module, at_import_only=at_import_only)
        if name.partition(".")[0] == "batchgen"
    }
    unknown = inside - set(FILES)
    assert not unknown, f"batchgen.{module} imports {unknown}, which this test cannot place"
    return inside


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter has after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", FILES)
def test_a_room_imports_only_from_rooms_above_it(module: str) -> None:
    """Imports inside functions and for types count as well."""
    room = module.partition(".")[0]
    assert room in ROOMS, f"add batchgen/{room} to ROOMS above, below all that it imports"
    wrong = {
        name
        for name in neighbours(module)
        if name.partition(".")[0] != room
        and ROOMS.index(name.partition(".")[0]) >= ROOMS.index(room)
    }
    assert not wrong, f"batchgen.{module} imports from rooms that are not above it: {wrong}"


def test_rooms_of_several_modules_keep_an_order_too() -> None:
    """Inside such a room a module imports from those its __init__ names before it."""
    for room in sorted({m.partition(".")[0] for m in FILES if "." in m} - {"table", "pipelines"}):
        text = FILES[room].read_text(encoding="utf-8")
        order = re.findall(r"^ *(\w+) {2,}", text, re.MULTILINE)
        assert sorted(order) == sorted(
            m.partition(".")[2] for m in FILES if m.startswith(f"{room}.")
        )
        for position, name in enumerate(order):
            inside = {
                n.partition(".")[2] for n in neighbours(f"{room}.{name}") if n.startswith(room)
            }
            assert inside <= set(order[:position]), f"batchgen.{room}.{name} imports from below it"


def test_no_modules_import_each_other() -> None:
    """What runs at import has an order; graphlib names a cycle if there is one."""
    graph = {module: neighbours(module, at_import_only=True) - {module} for module in FILES}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("library", LEAVES)
def test_a_heavy_library_is_a_leaf(library: str) -> None:
    """Only the modules named above import it."""
    users = {
        module
        for module in FILES
        if library in {name.partition(".")[0] for name in imports(module)}
    }
    assert users <= LEAVES[library]


def test_pandas_is_imported_only_where_it_is_used() -> None:
    """Half a second that a finished job need not wait for."""
    users = [
        module
        for module in FILES
        if "pandas" in {name.partition(".")[0] for name in imports(module, at_import_only=True)}
    ]
    assert users == []


def test_importing_batchgen_loads_no_heavy_library() -> None:
    """Nor numpy and pyarrow: the package is its config and two functions."""
    loaded = loaded_by("import batchgen")
    assert not loaded & {*LEAVES, "pandas", "numpy", "pyarrow", "PIL"}


def test_the_functions_of_the_package_load_no_hydra_and_no_model() -> None:
    """What runs a job from Python needs neither."""
    loaded = loaded_by(
        "import batchgen.runner.start, batchgen.config.names, batchgen.ledger.compaction"
    )
    assert not loaded & {*LEAVES, "pandas"}
