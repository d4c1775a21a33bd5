"""The rooms of the package: who may import whom, what is loaded when, and how large things are.

The order of the rooms and the leaves among the libraries are contracts of import-linter, in
pyproject.toml.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "batchgen"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(
    path.parent for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE
)
HEAVY = {
    "cattrs", "diffusers", "duckdb", "huggingface_hub", "hydra", "mindone", "mindspore",
    "modelscope", "numpy", "omegaconf", "pandas", "PIL", "pyarrow", "ray", "tokenizers", "torch",
    "transformers", "yaml",
}  # fmt: skip

MOST_CODE_LINES = 40
MOST_MODULE_LINES = 300


@functools.cache
def graph() -> grimp.ImportGraph:
    """Return who imports whom in the package, inside functions and for types as well."""
    return grimp.build_graph("batchgen", cache_dir=None)


def room_of(folder: Path) -> str:
    """Return the dotted name of a room."""
    return ".".join(folder.relative_to(ROOT).parts)


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter has after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def code_lines(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function that hold code: no docstring, no comment, nothing blank."""
    text = node.body[0].lineno, node.body[0].end_lineno or 0
    docstring = range(text[0], text[1] + 1) if ast.get_docstring(node) is not None else ()
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines = {
        line
        for token in tokens
        if token.type not in silent
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)) - set(docstring))


def test_the_contracts_of_import_linter_are_kept() -> None:
    """The order of the rooms, and which room alone may use which library."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", ROOMS, ids=room_of)
def test_a_module_imports_only_from_those_its_room_names_before_it(folder: Path) -> None:
    """The docstring of the room lists its modules from the ground up; so there is no circle."""
    room = room_of(folder)
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    order = re.findall(r"^(\w+) {2,}", text, re.MULTILINE)
    inside = {name.rpartition(".")[2] for name in graph().find_children(room)}
    assert sorted(order) == sorted(inside), f"{room} and its docstring do not agree"
    for position, name in enumerate(order):
        below = {f"{room}.{other}" for other in order[:position]}
        imported = {
            ".".join(target.split(".")[: room.count(".") + 2])
            for module in {f"{room}.{name}", *graph().find_descendants(f"{room}.{name}")}
            for target in graph().find_modules_directly_imported_by(module)
            if target.startswith(f"{room}.")
        }
        above = imported - below - {f"{room}.{name}"}
        assert not above, f"{room}.{name} imports {above}, which stand below it in the docstring"


def test_the_top_of_the_package_is_its_rooms() -> None:
    """A stranger finds the room of a subject by its name."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == {"__init__", "__main__", "errors"}
    assert len([room for room in ROOMS if room.parent == PACKAGE]) <= 18


def test_no_two_modules_have_one_name() -> None:
    """But those of the commands, which are called as they are called on the command line."""
    names = Counter(path.stem for path in FILES if path.parent.name != "cli")
    assert {name for name, n in names.items() if n > 1} <= {"__init__", "base"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_modules_stay_short(path: Path) -> None:
    """A function of 40 lines and a module of 300 are asking to become two."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_MODULE_LINES
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    long = {node.name: n for node in functions if (n := code_lines(path, node)) > MOST_CODE_LINES}
    assert not long


def test_importing_batchgen_loads_no_heavy_library() -> None:
    """The package is its configs and two functions."""
    assert not loaded_by("import batchgen") & HEAVY


def test_help_loads_no_heavy_library() -> None:
    """The commands are imported one by one, when they are called for."""
    code = "import contextlib, batchgen.cli.main as m\n"
    code += "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None): m.main(['-h'])"
    assert not loaded_by(code) & HEAVY


def test_the_functions_of_the_package_load_no_hydra_no_model_and_no_pandas() -> None:
    """What runs a job from Python needs none; half a second that a finished job need not wait."""
    loaded = loaded_by("import batchgen.runner.start, batchgen.config.names")
    assert not loaded & (HEAVY - {"numpy", "pyarrow", "PIL"})
