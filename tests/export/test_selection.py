"""Which images are taken: by SQL, by lists of picked ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import RunJob, WritePrompts
from exports import Ask

from batchgen.errors import ConfigError, FolderError
from batchgen.export.gathering import Gathering
from batchgen.export.question import Question
from batchgen.storage.folder import JobFolder


def taken(job: JobFolder, **asked: object) -> list[str]:
    """Return the ids of the images that a question takes."""
    question = Question(folders=[job.root], layout="flat", out=Path("x"), **asked)  # type: ignore[arg-type]
    return [entry.id for entry in Gathering(question).entries()]


def picked(tmp_path: Path, *ids: str) -> Path:
    """Write a list of picked images, as the page of a report gives it."""
    path = tmp_path / "picked.csv"
    path.write_text("id,prompt,seed\n" + "".join(f"{one},x,9007199254740993\n" for one in ids))
    return path


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("note = 'note 2'", ["k2-0", "k2-1"]),
        ("image_index = 1 AND row_index < 2 -- the first ones", ["k0-1", "k1-1"]),
        ("text LIKE '%3' or id = 'k0-0'", ["k0-0", "k3-0", "k3-1"]),
        ("truncated", []),
    ],
)
def test_an_expression_takes_those_for_which_it_is_true(
    pair_job: JobFolder, expression: str, ids: list[str]
) -> None:
    """Over our columns and the table's own; what is unknown is not true."""
    assert taken(pair_job, where=expression) == ids


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("foo = 1", 'Referenced column "foo" not found'),
        ("steps =", "syntax error"),
        ("text::int = 1", "Could not convert string 'prompt 0'"),
        ("1 in (select 1 from read_csv('/etc/passwd'))", "Permission Error"),
    ],
)
def test_what_duckdb_refuses_is_said_with_its_reason(
    pair_job: JobFolder, expression: str, reason: str
) -> None:
    """And with the expression; it reads no other files."""
    with pytest.raises(ConfigError) as refused:
        taken(pair_job, where=expression)
    assert str(refused.value).startswith(f"--where {expression!r}: ")
    assert reason in str(refused.value)


def test_without_duckdb_the_refusal_names_the_install(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"pip install 'batchgen\[sql\]'"):
        ask("flat", where="seed = 1")
    assert ask("flat").n_images == 8


def test_only_and_without_part_a_job_in_two(pair_job: JobFolder, tmp_path: Path) -> None:
    """In the job's order, not that of the list."""
    path = picked(tmp_path, "k2-1", "k0-0")
    assert taken(pair_job, only=path) == ["k0-0", "k2-1"]
    others = ["k0-1", "k1-0", "k1-1", "k2-0", "k3-0", "k3-1"]
    assert taken(pair_job, without=path) == others
    assert taken(pair_job, only=path, where="image_index = 1") == ["k2-1"]


def test_a_picked_image_that_is_not_there_is_named(ask: Ask, tmp_path: Path) -> None:
    """A list for another job must not end as a smaller dataset."""
    path = picked(tmp_path, "k0-0", "k9-0", "k9-1")
    with pytest.raises(ConfigError, match=r"picks 2 images that the folders do not have, .*'k9-0'"):
        ask("flat", only=path)
    assert not ask.out.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"key\na\n", "no column 'id'; it has: key"),
        (b"id\n", "picks no image"),
        (b"id\n\xff\n", "is no CSV in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_list_is_refused(
    ask: Ask, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """With the file's name."""
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"list.csv {reason}|list.csv has {reason}"):
        ask("flat", only=path)


def test_nothing_to_export_is_refused(
    ask: Ask, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """With what left nothing."""
    with pytest.raises(FolderError, match="outputs/t has none with --where"):
        ask("flat", where="seed < 0")
    prompts(1)
    run_job(name="empty", model={"name": "fake", "fail_rows": [0]})
    question = Question(folders=[folder.root.parent / "empty"], layout="flat", out=ask.out)
    from batchgen.export.exporting import export

    with pytest.raises(FolderError, match=r"outputs/empty has none\."):
        export(question)
