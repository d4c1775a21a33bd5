"""Pictures and charges to image files, rows and events of the ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import MakeConfig, WritePrompts, image_of

from batchgen.config.models import FakeModel
from batchgen.errors import ImageError, StorageError
from batchgen.images.image_file import parameters_of
from batchgen.ledger.contents import read_contents
from batchgen.ledger.reader import read_table
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.writer import PART_ROWS, Ledger
from batchgen.pipelines.fake import FakePipeline
from batchgen.plan.requests import Batch
from batchgen.runner.commits import Commits
from batchgen.runner.failures import Charge
from batchgen.runner.identity import Job
from batchgen.runner.maker import Call, Failed, Made
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.progress import Progress
from batchgen.storage.folder import JobFolder


def made(*rows: int) -> list[Made]:
    """Return the pictures of rows, as the maker yields them."""
    images = tuple(image_of(row) for row in rows)
    call = Call(Batch(images), FakePipeline(FakeModel()).generate(images), 0.0, Rung(), False)
    return [Made(image, position, call) for position, image in enumerate(images)]


class Place:
    """A job's folder with an open ledger, and the commits that write to it."""

    def __init__(self, config: MakeConfig, prompts: WritePrompts) -> None:
        job = Job.identify(config(prompts()))
        self.folder = job.folder
        self.folder.create()
        self.ledger = Ledger(job.folder, "r1", schema(METADATA))
        nothing: Counter[str] = Counter()
        self.progress = Progress(job.folder, "r1", n_images=8, n_done=0, failed_before=nothing)
        self.commits = Commits(job, self.ledger, self.progress, lambda _: 2)

    def commit(self, *rows: int) -> None:
        """Save and commit the pictures of rows."""
        self.commits.commit([(one, self.commits.save(one)) for one in made(*rows)])


@pytest.fixture
def place(fake_config: MakeConfig, prompts: WritePrompts) -> Place:
    """Return a job that has made nothing yet."""
    return Place(fake_config, prompts)


def files(folder: JobFolder) -> list[str]:
    """Return the names of the image files."""
    return sorted(path.name for path in folder.root.glob("images/*/*"))


def test_a_commit_has_the_file_that_its_row_names(place: Place) -> None:
    """Image file, row and progress agree."""
    place.commit(0, 1)
    rows = read_table(place.folder).to_pylist()
    assert [row["row_key"] for row in rows] == ["k0", "k1"]
    assert [Path(row["file_name"]).name for row in rows] == files(place.folder)
    text = parameters_of(place.folder.root / rows[1]["file_name"])
    assert text is not None
    assert text.startswith("prompt 1\n")
    assert place.progress.n_done == 2


def test_the_row_says_which_attempt_succeeded_and_which_start_made_it(place: Place) -> None:
    """What only the job knows is in the row."""
    place.commit(0)
    row = read_table(place.folder).to_pylist()[0]
    assert (row["attempt"], row["run_id"], row["model"]) == (2, "r1", "fake")


def test_what_is_withdrawn_loses_row_and_files_of_every_format(place: Place) -> None:
    """A job that changed its format leaves no file behind."""
    place.commit(0, 1)
    first = place.folder.root / place.folder.image_name(0, 0, "png")
    first.with_suffix(".webp").write_bytes(b"of an earlier format")
    place.commits.withdraw([image_of(0)])
    assert files(place.folder) == ["000000001-0.png"]
    assert [row["row_key"] for row in read_table(place.folder).to_pylist()] == ["k1"]


def test_a_charge_is_recorded_with_its_attempt(place: Place) -> None:
    """Failures reach the ledger as rows of failures.parquet."""
    failed = Failed(image_of(3), ImageError("too dark"), 1)
    place.commits.record([Charge(failed, 3, is_final=True)])
    failure = read_contents(place.folder).state.failures["k3", 0]
    assert (failure["attempt"], failure["is_final"]) == (3, True)
    assert (failure["error_type"], failure["message"]) == ("ImageError", "too dark")
    assert place.progress.n_failed == 1


def test_a_disk_that_fills_up_is_noticed_every_so_many_images(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space is looked at once per so many commits."""

    class _Full:
        free = 0

    monkeypatch.setattr("shutil.disk_usage", lambda _: _Full())
    saved = [(one, place.commits.save(one)) for one in made(0)]
    for _ in range(PART_ROWS - 1):
        place.commits.commit(saved)
    place.progress._n_done = 1
    with pytest.raises(StorageError, match=r"need about .* and 0 bytes are free"):
        place.commits.commit(saved)
