"""The exception tree: exit codes, and the drawing of it in the docstring."""

from __future__ import annotations

import inspect

import pytest

from batchgen import errors

EXIT_CODES = {
    "BatchgenError": 1,
    "Refused": 2,
    "ConfigError": 2,
    "TableError": 2,
    "FolderError": 2,
    "JobInUse": 2,
    "JobChanged": 2,
    "ModelError": 2,
    "ModelMissing": 2,
    "OtherModel": 2,
    "DeviceError": 2,
    "ImagesDamaged": 3,
    "CircuitOpen": 4,
    "Stopped": 75,
    "TableChanged": 75,
    "StorageError": 75,
    "DeviceHung": 75,
    "ImageError": 1,
    "DeviceOutOfMemory": 1,
    "DeviceLost": 1,
    "BlankImage": 1,
    "ProcessDied": 1,
}


def classes() -> dict[str, type[errors.BatchgenError]]:
    """Return every error class of the module by name."""
    members = dict(inspect.getmembers(errors, inspect.isclass))
    return {name: kind for name, kind in members.items() if issubclass(kind, errors.BatchgenError)}


def drawn_parents() -> dict[str, str]:
    """Return each class the docstring draws and the one it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip(" │├└─").split()
        if words and words[0] in classes():
            depth = line.index(words[0])
            above = [(d, name) for d, name in above if d < depth]
            parents[words[0]] = above[-1][1] if above else "Exception"
            above.append((depth, words[0]))
    return parents


@pytest.mark.parametrize(("name", "exit_code"), EXIT_CODES.items())
def test_exit_code_is_the_documented_one(name: str, exit_code: int) -> None:
    """Scripts branch on these numbers; they may never change by accident."""
    assert classes()[name].exit_code == exit_code


def test_every_class_has_its_exit_code_tested() -> None:
    """A new error class has to decide on its exit code."""
    assert set(classes()) == set(EXIT_CODES)


def test_docstring_draws_the_tree_as_it_is() -> None:
    """Every class is drawn, below the class it derives from."""
    real = {name: kind.__mro__[1].__name__ for name, kind in classes().items()}
    assert drawn_parents() == real


def test_config_error_shows_every_problem_on_a_line_of_its_own() -> None:
    """A user mends all of them at once."""
    error = errors.ConfigError(["steps=0 is too small.", "seed=-1 is too small."])
    assert str(error).splitlines() == error.problems
