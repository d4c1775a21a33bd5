"""The table that `npu-smi info` prints, as values.

The form is that of drivers 23 to 26 in published outputs (tests/samples/npu_smi): two lines a chip,
with used and total memory, then the processes. 910B and newer show their memory as HBM, others in
the column before it; with two chips a card, the second line begins with chip and physical id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_VERSION = re.compile(r"npu-smi\s+\S+\s+Version:\s*(\S+)")
_CARD = re.compile(r"\|\s*(\d+)\s+(\S+)\s*\|\s*(\w+)\s*\|[^|]*/[^|]*\|")
_CHIP = re.compile(
    r"\|\s*(\d+)(?:\s+\d+)?\s*\|\s*(?:[0-9A-Fa-f]+:[0-9A-Fa-f.:]+|NA)\s*\|"
    r"\s*\S+\s+(\d+)\s*/\s*(\d+)(?:\s+(\d+)\s*/\s*(\d+))?\s*\|"
)
_PROCESS = re.compile(r"\|\s*(\d+)\s+(\d+)\s*\|\s*(\d+)\s*\|\s*(.*?)\s*\|\s*(\d+)\s*\|")

HEALTHY = "OK"
"""The others are Warning, Alarm, Critical and UNKNOWN, in the words of the driver's manual."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds memory of a chip."""

    pid: int
    name: str
    """Empty where the driver does not tell, as in containers."""
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Chip:
    """One NPU, as a program counts them."""

    card: int
    number: int
    """Among the chips of the card."""
    name: str
    health: str
    used_mb: int
    total_mb: int
    processes: list[Process] = field(default_factory=list)

    @property
    def free_mb(self) -> int:
        """Memory that no process holds."""
        return self.total_mb - self.used_mb


@dataclass(frozen=True, slots=True)
class NpuTable:
    """What the driver says of its NPUs."""

    driver: str
    """Its version; empty where no table was printed."""
    chips: list[Chip]
    """In the order in which programs number them."""


def parse(text: str) -> NpuTable:
    """Read the output of `npu-smi info`; what is not a table gives no chips."""
    version = _VERSION.search(text)
    chips: list[Chip] = []
    card: tuple[int, str, str] | None = None
    for line in text.splitlines():
        if match := _CHIP.match(line):
            if card is not None:
                used, total = _memory(match)
                chips.append(Chip(card[0], int(match[1]), card[1], card[2], used, total))
            card = None
        elif match := _PROCESS.match(line):
            process = Process(int(match[3]), match[4], int(match[5]))
            for chip in chips:
                if (chip.card, chip.number) == (int(match[1]), int(match[2])):
                    chip.processes.append(process)
        elif match := _CARD.match(line):
            card = int(match[1]), match[2], match[3]
    return NpuTable(version[1] if version else "", chips)


def _memory(match: re.Match[str]) -> tuple[int, int]:
    used, total, hbm_used, hbm_total = (int(group or 0) for group in match.groups()[1:])
    return (hbm_used, hbm_total) if hbm_total else (used, total)
