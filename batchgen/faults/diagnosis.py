"""The symptoms found in the text of one error."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchgen.faults.symptoms import SYMPTOMS, Symptom


def found(text: str) -> Iterator[tuple[Symptom, str]]:
    """Yield each symptom found in a text, in the table's order, with the words that matched."""
    for symptom in SYMPTOMS:
        if symptom.beside is not None and not re.search(symptom.beside, text):
            continue
        for pattern in symptom.patterns:
            if match := re.search(pattern, text):
                yield symptom, match[0]
                break


def with_cure(text: str) -> str:
    """Return the text of an error, ending with the cure if it is a known one."""
    symptom = next((symptom for symptom, _ in found(text)), None)
    if symptom is None or symptom.cure in text:
        return text
    return f"{text.rstrip()} {symptom.cause} {symptom.cure} ({symptom.name})"


def one_line(text: str) -> str:
    """Return the first line with content; MindSpore appends dividers and C++ traces."""
    for line in text.splitlines():
        if line.strip() and not set(line.strip()) <= set("-= "):
            return line.strip()
    return "(no message)"
