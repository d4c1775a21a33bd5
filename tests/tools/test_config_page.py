"""docs/config.md is what the dataclasses say."""

from __future__ import annotations

from pathlib import Path

from tools import config_page


def test_the_page_equals_what_the_code_prints() -> None:
    """`make docs` was run after the last change of a setting."""
    page = Path(__file__).parents[2] / "docs" / "config.md"
    assert page.read_text(encoding="utf-8") == config_page.markdown()


def test_every_setting_of_the_fake_model_is_explained() -> None:
    """Faults are a feature for users, so each is listed."""
    page = config_page.markdown()
    assert "| `model.oom_above_batch` | `int \\| None` | none | Out of memory" in page
    assert "| `model.fail_rows` | `list[int]` | `[]` |" in page
