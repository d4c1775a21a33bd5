"""`--to imagefolder`, read back by datasets."""

from __future__ import annotations

import io
import shutil

import pytest
from exports import Ask, pictures
from PIL import Image

from batchgen.storage.folder import JobFolder


@pytest.mark.parametrize("link", [False, True])
def test_datasets_reads_the_copy_where_the_job_is_gone(
    ask: Ask, pair_job: JobFolder, *, link: bool
) -> None:
    """Pictures and captions are those of the job, in its order."""
    import datasets

    ask("imagefolder", link=link)
    want = [
        (Image.open(io.BytesIO(content)).tobytes(), text) for content, text in pictures(pair_job)
    ]
    shutil.rmtree(pair_job.root)
    rows = datasets.load_dataset(
        "imagefolder", data_dir=str(ask.out), split="train", cache_dir=str(ask.out.parent / "cache")
    )
    assert [(row["image"].tobytes(), row["text"]) for row in rows] == want
    assert rows["note"][:2] == ["note 0", "note 0"]
