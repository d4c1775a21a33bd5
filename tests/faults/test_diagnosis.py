"""What the text of one error says."""

from __future__ import annotations

from batchgen.faults.diagnosis import one_line, with_cure


def test_a_known_error_ends_with_its_cure() -> None:
    """And with the name to look it up by."""
    text = with_cure("The kernel GeluExt unregistered.\n")
    assert text.startswith("The kernel GeluExt unregistered. ")
    assert text.endswith("(cpu-kernel-missing)")
    assert "device=cpu" in text


def test_an_unknown_error_stays_as_it_is() -> None:
    """Nothing is made up."""
    assert with_cure("Something odd") == "Something odd"


def test_a_cure_is_not_told_twice() -> None:
    """Whoever told it before has passed the text on."""
    text = with_cure("The kernel GeluExt unregistered.")
    assert with_cure(text) == text


def test_what_may_mean_anything_needs_its_neighbour() -> None:
    """Python says the same of code that has nothing to do with MindOne."""
    text = "TypeError: 'type' object is not subscriptable"
    assert with_cure(text) == text
    assert "python-too-old" in with_cure(f"File mindone/diffusers/x.py\n{text}")


def test_one_line_leaves_dividers_out() -> None:
    """MindSpore puts them around its C++ traces."""
    assert one_line("\n----------\n- Something odd\n----------\nC++ trace") == "- Something odd"
    assert one_line("\n--\n") == "(no message)"
