"""The table of known faults."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement

from batchgen.faults.diagnosis import found
from batchgen.faults.symptoms import SYMPTOMS


def test_names_are_short_and_each_is_there_once() -> None:
    """Scripts and searches go by them."""
    names = [symptom.name for symptom in SYMPTOMS]
    assert len({*names}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


def test_cause_and_cure_are_one_line_each() -> None:
    """They end a message, or stand in a table."""
    for symptom in SYMPTOMS:
        assert "\n" not in symptom.cause + symptom.cure
        assert symptom.cause.endswith((".", "!"))


def test_no_symptom_is_found_in_what_is_said_of_another() -> None:
    """Else a log of batchgen's own messages would raise alarms it does not mean."""
    for symptom in SYMPTOMS:
        assert list(found(f"{symptom.cause} {symptom.cure}")) == []


def test_a_pattern_begins_with_letters_as_they_stand() -> None:
    """A huge log is searched several times as fast by them."""
    for symptom in SYMPTOMS:
        for pattern in symptom.patterns:
            assert re.match(r"[\w;:\[\\' ]*\w\w", pattern.replace("\\[", "[")), pattern


def test_versions_in_cures_are_the_ones_required() -> None:
    """The pins stand in pyproject.toml; a cure repeats them."""
    required = {one.name: one for one in map(Requirement, metadata.requires("batchgen") or [])}
    text = " ".join(symptom.cure for symptom in SYMPTOMS)
    quoted = re.findall(r"\b(mindspore|mindone|numpy)((?:[<>=!]=?[\d.]*\d,?)+)", text)
    assert len(quoted) >= 3
    for name, versions in quoted:
        allowed = required[name].specifier
        if versions.startswith("==") and name == "mindspore":
            assert allowed.contains(versions.removeprefix("=="))
        else:
            assert Requirement(f"{name}{versions}").specifier == allowed
