"""`--to flat`: a folder of pictures for FID tools."""

from __future__ import annotations

from exports import Ask, files, pictures

from batchgen.storage.folder import JobFolder

ENDINGS = {"bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp"}
"""What pytorch-fid looks for, in the folder itself."""


def test_a_fid_tool_finds_each_picture_once(ask: Ask, pair_job: JobFolder) -> None:
    """Beside the card, which it does not look at."""
    ask("flat")
    listed = sorted(path for ending in ENDINGS for path in ask.out.glob(f"*.{ending}"))
    assert [path.read_bytes() for path in listed] == [content for content, _ in pictures(pair_job)]
    assert len(files(ask.out)) == len(listed) + 1


def test_links_are_the_pictures_of_the_job(ask: Ask, pair_job: JobFolder) -> None:
    """They take no room."""
    ask("flat", link=True)
    assert (ask.out / "000000003.png").samefile(pair_job.root / pair_job.image_name(1, 1, "png"))
