"""The known faults that a log shows, whatever wrote it; its text is never repeated.

A text counts only where it is said as a fault: not in MindSpore's warnings, not at level INFO or
DEBUG, not inside a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from batchgen.config.paths import absence
from batchgen.errors import ConfigError
from batchgen.faults.symptoms import SYMPTOMS, Symptom

_BLOCK_CHARS = 2**20
_OVERLAP_CHARS = 1000
"""A line longer than a block is cut; what is said across the cut is in both pieces."""

_SAME_ERROR_LINES = 50
"""CANN tells the cause of an error below it, in the lines that belong to it."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CALM = re.compile(
    # MindSpore warns of libraries it does not find on every CPU, and of memory before it tries
    # again; its lines begin with level and module: [WARNING] ME(5573:1401,MainProcess):2026-...
    r"\s*\[(?:DEBUG|INFO|WARNING|TRACE)\] ?[A-Z_0-9]+\("
    r"|.{0,60}?\b(?:DEBUG|INFO)\b"
    # Notebooks and rich print the source around a frame, with all the errors it might have raised.
    r"|\s*(?:-+> ?)?\d+ {4,}"
    r"|[\s│❱]*\d+ │"
)
_PROMPT = re.compile(
    r"""\b\w*(?:prompt|caption)\w*["']?\s*[:=]?\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|["']text["']\s*:\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|\b\w*(?:prompt|caption)\w*["']?\s*[:=].*""",
    re.IGNORECASE,
)
_ERROR = re.compile(r"Error\b|\bERROR\b|\bCRITICAL\b|Traceback \(most recent call last\)")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A symptom that a log shows."""

    symptom: Symptom
    line: int
    """The first line that shows it, from 1."""
    after: str | None = None
    """Where it is a consequence: what it comes of, in words."""


def sightings(path: Path) -> list[Sighting]:
    """Return the known faults of a log: what explains the others first, else by line.

    Reads the log once and keeps a megabyte of it. Any encoding will do, for faults are ASCII;
    UTF-16 is known by its mark. Raises `ConfigError` if the file cannot be read.
    """
    try:
        with path.open(encoding=_encoding(path), errors="replace", newline="\n") as log:
            lines, first_error = _first_lines(log)
    except OSError as error:
        is_absent = isinstance(error, FileNotFoundError)
        reason = absence(path) if is_absent else f"cannot be read: {error.strerror}"
        raise ConfigError([f"--log {path} {reason}."]) from error
    return _explained(lines, first_error)


def _encoding(path: Path) -> str:
    with path.open("rb") as log:
        start = log.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8"


def _first_lines(log: TextIO) -> tuple[dict[Symptom, int], int | None]:
    """Return the first line of each symptom, and that of the first error of any kind."""
    wanted = {symptom: [re.compile(text) for text in symptom.patterns] for symptom in SYMPTOMS}
    beside = {symptom.beside for symptom in SYMPTOMS if symptom.beside is not None}
    lines: dict[Symptom, int] = {}
    first_error = None
    n_before = 0
    for block in _blocks(log):
        beside -= {text for text in beside if re.search(text, block)}
        here = {symptom for symptom, patterns in wanted.items() if _shows(patterns, block)}
        asked = [pattern for symptom in here for pattern in wanted[symptom]]
        asked += [_ERROR] if first_error is None else []
        for number, line in _faults(block, asked):
            if first_error is None and _ERROR.search(line):
                first_error = n_before + number
            for symptom in [symptom for symptom in here if _shows(wanted[symptom], line)]:
                lines[symptom] = n_before + number
                here.remove(symptom)
                del wanted[symptom]
        n_before += block.count("\n")
    return {s: line for s, line in lines.items() if s.beside not in beside}, first_error


def _shows(patterns: list[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)


def _blocks(log: TextIO) -> Iterator[str]:
    """Yield the log in pieces of whole lines, as far as its lines allow."""
    rest = ""
    while block := log.read(_BLOCK_CHARS):
        rest += block
        cut = rest.rfind("\n") + 1
        yield rest[:cut] if cut else rest
        rest = rest[cut:] if cut else rest[-_OVERLAP_CHARS:]
    yield rest


def _faults(block: str, asked: list[re.Pattern[str]]) -> Iterator[tuple[int, str]]:
    """Yield what may name a fault asked for, with its line in the block, from 1."""
    if not _shows(asked, block):
        return
    for number, line in enumerate(block.split("\n"), start=1):
        if not _shows(asked, line):
            continue
        for part in _COLOUR.sub("", line).split("\r"):  # a progress bar rewrites its line
            if not _CALM.match(part):
                yield number, _PROMPT.sub(" ", part)


def _explained(lines: dict[Symptom, int], first_error: int | None) -> list[Sighting]:
    by_line = sorted(lines.items(), key=lambda item: item[1])
    causes = [(symptom, line) for symptom, line in by_line if not symptom.is_consequence]
    first, last = [], []
    for symptom, line in by_line:
        if not symptom.is_consequence:
            first.append(Sighting(symptom, line))
        elif causes and causes[0][1] <= line + _SAME_ERROR_LINES:
            last.append(Sighting(symptom, line, f"{causes[0][0].name} in line {causes[0][1]:,}"))
        elif first_error is not None and first_error < line:
            above = f"an error that is not known here, in line {first_error:,}"
            first.append(Sighting(symptom, line, above))
        else:
            first.append(Sighting(symptom, line))
    return first + last


def report(found: list[Sighting]) -> Iterator[str]:
    """Yield the lines that tell a user what was found."""
    if not found:
        yield "No known fault in this log. Its first error, if there is one, is the place to look."
    for sighting in found:
        symptom = sighting.symptom
        yield f"{symptom.name} (line {sighting.line:,})"
        yield f"  cause  {symptom.cause}"
        if sighting.after is not None:
            yield f"  after  {sighting.after}"
        yield f"  cure   {symptom.cure}"


def as_json(found: list[Sighting]) -> str:
    """Return the same for programs: a list, in the order of `sightings`."""
    return json.dumps(
        [
            {
                "name": sighting.symptom.name,
                "line": sighting.line,
                "cause": sighting.symptom.cause,
                "after": sighting.after,
                "cure": sighting.symptom.cure,
            }
            for sighting in found
        ]
    )
