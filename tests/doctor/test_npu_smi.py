"""The table of `npu-smi info`, from samples in the form of published outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchgen.doctor.npu_smi import Process, parse

SAMPLES = Path(__file__).parents[1] / "samples" / "npu_smi"


def sample(name: str) -> str:
    """Return the text of a sample."""
    return (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")


def test_one_card_is_read_whole() -> None:
    """Driver, card, health and memory."""
    table = parse(sample("one_card"))
    (chip,) = table.chips
    assert table.driver == "25.5.2"
    assert (chip.card, chip.name, chip.health) == (5, "910B4", "OK")
    assert (chip.used_mb, chip.total_mb, chip.free_mb) == (2922, 32768, 29846)
    assert chip.processes == []


def test_eight_cards_are_in_their_order() -> None:
    """Programs number them so."""
    assert [chip.card for chip in parse(sample("eight_cards")).chips] == list(range(8))


def test_processes_stand_with_their_card() -> None:
    """In a container their names are empty."""
    busy, idle = parse(sample("busy")).chips
    assert busy.processes == [Process(1333928, "python3", 56114), Process(1333930, "", 132)]
    assert idle.processes == []


def test_memory_that_touches_its_slash_is_read() -> None:
    """`59718/ 65536`, without the blank."""
    assert parse(sample("busy")).chips[0].used_mb == 59718


def test_health_is_what_the_driver_says() -> None:
    """Five words there are for it."""
    assert [c.health for c in parse(sample("unhealthy")).chips] == ["OK", "Alarm", "OK", "UNKNOWN"]


def test_two_chips_of_a_card_are_two() -> None:
    """Atlas A3; processes belong to a chip."""
    chips = parse(sample("two_chips_a_card")).chips
    assert [(chip.card, chip.number) for chip in chips] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [len(chip.processes) for chip in chips] == [0, 0, 1, 0]


def test_memory_stands_in_the_column_before_where_there_is_no_hbm() -> None:
    """As on a 310P."""
    (chip,) = parse(sample("no_hbm_column")).chips
    assert (chip.used_mb, chip.total_mb) == (1711, 44280)


@pytest.mark.parametrize("name", ["no_driver", "held_by_another_container", "no_device"])
def test_an_error_is_no_table(name: str) -> None:
    """No chips, no version."""
    assert parse(sample(name)).chips == []
    assert parse(sample(name)).driver == ""
