"""The layouts of evaluators, listed as their scripts list them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunJob
from exports import files
from PIL import Image

from batchgen.errors import FolderError
from batchgen.export.exporting import export
from batchgen.export.question import Question
from batchgen.storage.folder import JobFolder

BENCH = [
    {
        "prompt": "a photo of two clocks",
        "tag": "counting",
        "include": [{"class": "clock", "count": 2}],
        "exclude": [{"class": "clock", "count": 3}],
    },
    {
        "prompt": "a photo of a bench",
        "tag": "single_object",
        "include": [{"class": "bench", "count": 1}],
    },
]
"""Lines as GenEval's evaluation_metadata.jsonl has them."""


@pytest.fixture
def bench(tmp_path: Path, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a job of GenEval's kind, four images a row, in a format that is not PNG."""
    lines = "\n".join(map(json.dumps, BENCH))
    (tmp_path / "t.jsonl").write_text(lines, encoding="utf-8")
    run_job(table=tmp_path / "t.jsonl", images_per_prompt=4, images="webp")
    return folder


def listed(place: Path) -> list[str]:
    """Return the names in a folder, hidden ones too, in no order, as `os.listdir` does."""
    return [path.name for path in place.iterdir()]


def given(folder: JobFolder, layout: str, **asked: Any) -> Path:
    """Export a job and return where it lies."""
    out = folder.root.parent.parent / "exported"
    export(Question(folders=[folder.root], layout=layout, out=out, **asked))
    return out


def pixels(picture: str | Path | bytes) -> Any:
    """Return the pixels of a file, or of its bytes."""
    source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    with Image.open(source) as opened:
        return np.asarray(opened.convert("RGB"))


def test_geneval_finds_each_prompts_line_and_its_samples(bench: JobFolder) -> None:
    """As evaluate_images.py does; nested values are JSON again, what a line lacked it lacks."""
    out = given(bench, "geneval")
    found = {}
    for subfolder in listed(out):
        if not (out / subfolder).is_dir() or not subfolder.isdigit():
            continue
        metadata = json.loads((out / subfolder / "metadata.jsonl").read_text())
        names = listed(out / subfolder / "samples")
        assert all(re.match(r"\d+\.png", name) for name in names)
        found[subfolder] = (metadata, sorted(names))
    samples = [f"0000{n}.png" for n in range(4)]
    assert found == {"00000": (BENCH[0], samples), "00001": (BENCH[1], samples)}
    ours = pixels(bench.root / bench.image_name(1, 2, "webp"))
    assert (pixels(out / "00001/samples/00002.png") == ours).all()


def test_geneval_names_the_columns_that_are_missing(pair_job: JobFolder) -> None:
    """And those that the table has."""
    with pytest.raises(FolderError, match=r"has no tag, include\. The table's own are: note"):
        given(pair_job, "geneval")


def test_geneval_refuses_objects_it_could_not_look_for(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """By row, before anything is written."""
    (tmp_path / "t.csv").write_text("id,prompt,tag,include\na,x,counting,clock\n")
    run_job()
    with pytest.raises(FolderError, match=r"row 'a': include is 'clock', and must be a JSON list"):
        given(folder, "geneval")
    assert not (tmp_path / "exported.partial").exists()


def test_compbench_reads_prompts_from_names_in_the_tables_order(pair_job: JobFolder) -> None:
    """Sorted by the number at the end, as BLIP_vqa.py sorts."""
    names = listed(given(pair_job, "t2i-compbench") / "samples")
    names.sort(key=lambda name: int(name.split("_")[-1].split(".")[0]))
    assert [name.split("_")[0] for name in names] == [f"prompt {n // 2}" for n in range(8)]
    assert names[3] == "prompt 1_000003.png"


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("snake_case", r"holds '_'"),
        ("either/or", r"holds '/'"),
        ("猫" * 100, r"makes a file's name of 311 bytes"),
    ],
)
def test_compbench_refuses_prompts_that_are_no_names(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, prompt: str, reason: str
) -> None:
    """They would be read back as others."""
    (tmp_path / "t.csv").write_text(f"id,prompt\na,fine\nb,{prompt}\n", encoding="utf-8")
    run_job()
    with pytest.raises(FolderError, match=rf"row 'b': the prompt '.*' {reason}"):
        given(folder, "t2i-compbench")


STYLES = ("anime", "photo", "anime", "paintings")


def styled(tmp_path: Path, run_job: RunJob, **settings: Any) -> None:
    """Run a job of four prompts of HPSv2's kind."""
    rows = "".join(f"k{n},prompt {n},{style}\n" for n, style in enumerate(STYLES))
    (tmp_path / "t.csv").write_text(f"id,prompt,style\n{rows}")
    run_job(**settings)


def test_hpsv2_finds_the_picture_of_each_prompt(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """Nothing but styles is in the folder; the number is the prompt's among those of its style."""
    styled(tmp_path, run_job)
    out = given(folder, "hpsv2")
    found = {style: sorted(listed(out / style)) for style in listed(out)}
    two, one = ["00000.jpg", "00001.jpg"], ["00000.jpg"]
    assert found == {"anime": two, "photo": one, "paintings": one}
    ours = pixels(folder.root / folder.image_name(2, 0, "png")).astype(int)
    assert abs(pixels(out / "anime/00001.jpg").astype(int) - ours).mean() < 4


def test_hpsv2_leaves_a_jpeg_as_it_is(tmp_path: Path, run_job: RunJob, folder: JobFolder) -> None:
    """What is encoded twice loses twice."""
    styled(tmp_path, run_job, images="jpeg")
    ours = (folder.root / folder.image_name(2, 0, "jpg")).read_bytes()
    assert (given(folder, "hpsv2") / "anime/00001.jpg").read_bytes() == ours


def test_hpsv2_refuses_gaps_and_several_images(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """A picture that is missing would give all behind it the prompt of another."""
    styled(tmp_path, run_job, model={"name": "fake", "fail_rows": [1]}, images_per_prompt=2)
    with pytest.raises(FolderError) as refused:
        given(folder, "hpsv2")
    said = str(refused.value)
    assert "row 'k2': is row 2 of its table, and 1 was to come next" in said
    assert "row 'k0': has several images" in said


def test_dpg_bench_cuts_out_the_four_images_of_a_row(bench: JobFolder) -> None:
    """As compute_dpg_bench.py cuts; the name up to the dot is the key."""
    out = given(bench, "dpg-bench")
    assert sorted(name.split(".")[0] for name in listed(out)) == ["0", "1"]
    grid, side = pixels(out / "1.png"), 64
    places = [(0, 0), (side, 0), (0, side), (side, side)]
    for index, (left, top) in enumerate(places):
        ours = pixels(bench.root / bench.image_name(1, index, "webp"))
        assert (grid[top : top + side, left : left + side] == ours).all()


def test_dpg_bench_refuses_rows_that_make_no_grid(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """Other sizes, other numbers of images, keys that are no stems."""
    (tmp_path / "t.csv").write_text(
        "id,prompt,width,images_per_prompt\na.b,x,64,4\nb,x,128,4\nc,x,64,3\n"
    )
    run_job()
    with pytest.raises(FolderError) as refused:
        given(folder, "dpg-bench")
    lines = str(refused.value).splitlines()[1:]
    assert [line.partition(",")[0] for line in lines] == [
        "row 'a.b': its key is no name of a prompt's file: no dot",
        "row 'b': has images of 128x64",
        "row 'c': has 3 images",
    ]


def test_all_refused_rows_are_counted(tmp_path: Path, run_job: RunJob, folder: JobFolder) -> None:
    """Ten are named."""
    (tmp_path / "t.csv").write_text("prompt\n" + "a_b\n" * 12)
    run_job()
    with pytest.raises(FolderError, match="and 2 more like these"):
        given(folder, "t2i-compbench")
    assert not files(tmp_path / "exported")
