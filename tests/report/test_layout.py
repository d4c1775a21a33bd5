"""The measures of a contact sheet, and which image comes where."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.report.layout import MOST_COLUMNS, Layout
from batchgen.report.summary import Summary


def layout(columns: int = 8, **changed: Any) -> Layout:
    """Return the layout of a job of a thousand rows of one image, but for what is changed."""
    base = {"common": "", "varying": ("seed",), "n_images": 1000, "n_per_row": 1}
    return Layout.of(Summary(**{**base, "width": 1024, "height": 1024, **changed}), columns)


def images(n_rows: int, n_per_row: int) -> list[dict[str, Any]]:
    """Return row key and image index of all images of a table, in order."""
    return [
        {"row_key": f"k{row}", "image_index": index}
        for row in range(n_rows)
        for index in range(n_per_row)
    ]


def places(of: Layout, rows: list[dict[str, Any]]) -> list[list[list[tuple[int, str, int]]]]:
    """Return column, key and image index, line by line, sheet by sheet."""
    return [
        [[(column, row["row_key"], row["image_index"]) for column, row in line] for line in sheet]
        for sheet in of.sheets(rows)
    ]


def test_single_images_flow_from_line_to_line() -> None:
    """Eight lines of eight a sheet, and what is left on the last."""
    sheets = places(layout(), images(70, 1))
    assert [[len(line) for line in sheet] for sheet in sheets] == [[8] * 8, [6]]
    assert sheets[0][1][0] == (0, "k8", 0)
    assert sheets[1][0][5] == (5, "k69", 0)


def test_a_row_of_several_images_is_a_line() -> None:
    """Each image in the column of its index."""
    of = layout(n_per_row=3)
    assert of.columns == 3
    assert places(of, images(2, 3)) == [
        [[(0, "k0", 0), (1, "k0", 1), (2, "k0", 2)], [(0, "k1", 0), (1, "k1", 1), (2, "k1", 2)]]
    ]


def test_an_image_that_was_not_made_leaves_its_place_empty() -> None:
    """The others keep theirs."""
    rows = images(2, 3)
    del rows[1]
    assert places(layout(n_per_row=3), rows)[0][0] == [(0, "k0", 0), (2, "k0", 2)]


@pytest.mark.parametrize(("n_per_row", "columns"), [(9, 5), (16, 8), (20, 7), (100, 8)])
def test_a_row_of_many_images_takes_lines_of_equal_length(n_per_row: int, columns: int) -> None:
    """And the next row begins a line of its own."""
    of = layout(n_per_row=n_per_row)
    lines = [line for sheet in places(of, images(2, n_per_row)) for line in sheet]
    assert of.columns == columns
    assert [line[0][2] for line in lines if line[0][1] == "k1"] == list(
        range(0, n_per_row, columns)
    )


def test_few_images_make_a_small_sheet() -> None:
    """No empty columns."""
    assert layout(n_images=3).columns == 3
    assert layout(n_images=3).size(1)[0] < 900


@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (4096, 64), (64, 4096), (832, 1216)])
@pytest.mark.parametrize("n_per_row", [1, 4, 10_000])
def test_no_sheet_is_giant(size: tuple[int, int], n_per_row: int) -> None:
    """Whatever the images, and with as many columns as can be asked for."""
    of = layout(MOST_COLUMNS, width=size[0], height=size[1], n_per_row=n_per_row)
    assert max(of.size(8)) <= 4096


def test_nothing_on_a_sheet_overlaps() -> None:
    """Prompt, image, details and the next line come one below the other."""
    for of in (layout(), layout(n_per_row=4)):
        _, box = of.box(0, 0)
        _, detail = of.detail(0, 0)
        assert of.common[1] < of.prompt_of_row(0)[1] <= box
        assert box + of.height < detail < of.prompt_of_row(1)[1]
        assert of.box(0, 0)[0] + of.width < of.box(0, 1)[0]
        assert of.box(7, of.columns - 1)[0] + of.width < of.size(8)[0]
        assert of.detail(7, 0)[1] < of.size(8)[1]


def test_landscape_images_have_landscape_places() -> None:
    """The longest side is 256; small ones are not blown up."""
    wide, small = layout(width=1024, height=512), layout(width=128, height=128)
    assert (wide.width, wide.height) == (256, 128)
    assert small.height == 128
