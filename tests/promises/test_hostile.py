"""Hostile input does nothing: tables, prompts, models and files that are made to do harm."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import MakeConfig, RunJob, WritePrompts, WriteTable, ledger_row

import batchgen
from batchgen.cli.main import main
from batchgen.errors import BatchgenError, ConfigError, FolderError, ModelError, Refused, TableError
from batchgen.images.image_file import parameters_of
from batchgen.ledger.contents import read_contents
from batchgen.ledger.journal import encode
from batchgen.ledger.notes import NOTES
from batchgen.ledger.repair import repair
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.verification import verify
from batchgen.model.model_files import OTHERS, WEIGHTS, check
from batchgen.storage.folder import JobFolder

NAMES = {
    "up": "../../x",
    "far up": "../" * 40 + "tmp/x",
    "absolute": "/etc/batchgen-x",
    "dots": "..",
    "dot": ".",
    "blank": " \t ",
    "no-break": "\u00a0",
    "long": "k" * 300,
    "longer": "猫" * 5000,
    "control": "a\x01\x07\x1b[31mb\x7f",
    "lines": "a\nb\r\nc",
    "NUL": "a\x00b",
    "reversed": "\u202egnp.exe",
    "image": "image",
    "table_image": "table_image",
    "file_name": "file_name",
    "quotes": "'; DROP TABLE x; --\"",
    "shell": "$(touch x) `touch y` ${oc.env:HOME} ${table}",
    "hidden": ".batchgen/lock",
}
"""What a row or a column may be called by somebody who means harm."""


def files_in(place: Path) -> dict[str, bytes]:
    """Return every file below a folder, with its bytes."""
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def stray(tmp_path: Path, *own: str) -> list[str]:
    """Return the files that are neither the job's nor named."""
    return [name for name in files_in(tmp_path) if name not in own and "outputs/t/" not in name]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a JSON Lines table, which can hold any text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_webui_reads(parameters: str) -> tuple[str, str, dict[str, str]]:
    """Return prompt, negative prompt and settings as AUTOMATIC1111's web UI takes them.

    After `parse_generation_parameters` of modules/infotext_utils.py: the last line is the settings
    where it has at least three, and a line `Negative prompt:` ends the prompt.
    """
    pair = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
    *lines, last = parameters.strip().split("\n")
    if len(pair.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompts: dict[bool, list[str]] = {False: [], True: []}
    is_negative = False
    for text in lines:
        line = text.strip()
        if line.startswith("Negative prompt:"):
            is_negative, line = True, line.removeprefix("Negative prompt:").strip()
        prompts[is_negative].append(line)
    settings = {
        key: json.loads(value) if value.startswith('"') else value
        for key, value in pair.findall(last)
    }
    return "\n".join(prompts[False]), "\n".join(prompts[True]), settings


# Row keys and column names


def test_row_keys_never_become_paths(tmp_path: Path, run_job: RunJob, folder: JobFolder) -> None:
    """Whatever a key says, its image is named by digits and the key is kept to the letter."""
    keys = [key for key in NAMES.values() if key.strip() and "\0" not in key]
    table = write_lines(tmp_path / "t.jsonl", [{"id": key, "prompt": "a cat"} for key in keys])
    assert run_job(table=table).exit_code == 0
    metadata = batchgen.read_metadata(folder.root)
    assert metadata["row_key"].tolist() == keys
    assert all(re.fullmatch(r"images/00000/\d{9}-0\.png", name) for name in metadata["file_name"])
    assert stray(tmp_path, "t.jsonl") == []
    assert verify(folder).is_clean


@pytest.mark.parametrize("key", ["", " \t ", "\u00a0"])
def test_row_key_that_is_blank_is_refused(tmp_path: Path, run_job: RunJob, key: str) -> None:
    """A name that cannot be seen names nothing."""
    table = write_lines(tmp_path / "t.jsonl", [{"id": key, "prompt": "a cat"}])
    with pytest.raises(TableError, match="row 0: column 'id' is empty"):
        run_job(table=table)


def test_carried_columns_keep_their_values_whatever_their_names(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """No column takes the place of one of ours, and none becomes a path."""
    names = [name for name in NAMES.values() if name.strip()]
    row = {name: f"value {n}" for n, name in enumerate(names)}
    table = write_lines(tmp_path / "t.jsonl", [{"prompt": "a cat", **row}])
    assert run_job(table=table).exit_code == 0
    made = pq.read_table(folder.metadata)
    ours = [column.name for column in METADATA]
    assert made.schema.names[: len(ours)] == ours
    theirs = made.select(range(len(ours), made.num_columns)).to_pylist()[0]
    assert sorted(theirs.values()) == sorted(row.values())
    assert made["file_name"].to_pylist() == ["images/00000/000000000-0.png"]
    assert stray(tmp_path, "t.jsonl") == []


def test_column_names_of_a_csv_may_hold_lines(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """A header over two lines is one header, and its cells stay in their rows."""
    table = write_table('id,prompt,"a\nb","table_\r\nimage"\nk,a cat,1,2\n')
    assert run_job(table=table).exit_code == 0
    row = batchgen.read_metadata(folder.root).iloc[0]
    assert (row["a\nb"], row["table_\r\nimage"]) == ("1", "2")


def test_job_with_hostile_columns_is_resumed(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """The second start reads back what the first one wrote under such names."""
    columns = {name: "v" for name in NAMES.values() if name.strip()}
    rows = [{"id": f"k{n}", "prompt": "a cat", **columns} for n in range(4)]
    table = write_lines(tmp_path / "t.jsonl", rows)
    run_job(table=table, limit=2)
    assert run_job(table=table).n_made == 2
    assert len(batchgen.read_metadata(folder.root)) == 4


# Prompts


def test_prompt_of_a_megabyte_is_refused(write_table: WriteTable, run_job: RunJob) -> None:
    """An open quote is likelier than such a prompt, so it takes a word of the user."""
    table = write_table(f"id,prompt\nk,{'cat ' * 250_000}\n")
    with pytest.raises(TableError, match=r"row 0: .*1000000 characters.*max_prompt_chars"):
        run_job(table=table)


@pytest.mark.parametrize("word", ["cat ", "猫"])
def test_prompt_of_a_megabyte_is_made_where_it_is_allowed(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder, word: str
) -> None:
    """The image and the metadata hold every character of it."""
    prompt = word * (1_000_000 // len(word.encode()))
    table = write_table(f"id,prompt\nk,{prompt}\n")
    assert run_job(table=table, reading={"max_prompt_chars": 2_000_000}).exit_code == 0
    text = parameters_of(folder.root / "images/00000/000000000-0.png")
    assert text is not None
    assert text.startswith(prompt.strip())
    assert batchgen.read_metadata(folder.root)["text"].tolist() == [prompt]


def test_prompt_too_long_for_a_jpeg_fails_with_a_sentence(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """EXIF has room for 64 KB; the row is recorded and its neighbour is made."""
    table = write_table(f"id,prompt\nlong,{'cat ' * 250_000}\nshort,a cat\n")
    result = run_job(table=table, images="jpeg", reading={"max_prompt_chars": 2_000_000})
    assert (result.exit_code, result.n_made) == (3, 1)
    [failure] = pq.read_table(folder.failures).to_pylist()
    assert failure["row_key"] == "long"
    assert "EXIF has room for 65,000" in failure["message"]
    assert "images=png" in failure["message"]


CONTROL = "a\x01\x02\x1b[2J\x7f\x85\u2028b"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "jsonl", "parquet"])
@pytest.mark.parametrize("prompt", [f"{CONTROL} cat", "a\x01cat"])
def test_control_characters_stay_in_the_metadata_and_out_of_the_settings(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, suffix: str, prompt: str
) -> None:
    """In every format: the row holds them, the text inside the image has spaces."""
    table = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"prompt": [prompt]}), table)
    elif suffix == "jsonl":
        write_lines(table, [{"prompt": prompt}])
    else:
        header = "" if suffix == "txt" else "prompt\n"
        table.write_bytes(f"{header}{prompt}\n".encode())
    assert run_job(table=table).exit_code == 0
    assert batchgen.read_metadata(folder.root)["text"].tolist() == [prompt]
    text = parameters_of(folder.root / "images/00000/000000000-0.png")
    assert text is not None
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028]", text)
    assert len(text.split("\n")) == 2


@pytest.mark.parametrize("suffix", ["tsv", "txt", "jsonl", "parquet"])
def test_a_nul_is_refused_by_row(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, suffix: str
) -> None:
    """No viewer shows it, and UTF-16 that is read as UTF-8 is full of it."""
    table = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"prompt": ["a dog", "a\x00cat"]}), table)
    elif suffix == "jsonl":
        write_lines(table, [{"prompt": "a dog"}, {"prompt": "a\x00cat"}])
    else:
        header = "" if suffix == "txt" else "prompt\n"
        table.write_bytes(f"{header}a dog\na\x00cat\n".encode())
    with pytest.raises(TableError, match=r"row 1\b"):
        run_job(table=table)
    assert not folder.root.exists()


@pytest.mark.parametrize("column", ["id", "prompt", "negative_prompt", "prompt_2"])
def test_a_nul_is_refused_in_every_text(tmp_path: Path, run_job: RunJob, column: str) -> None:
    """Ids and negative prompts as well."""
    rows = [{"id": "a", "prompt": "a cat", column: "x\x00y"}]
    with pytest.raises(TableError, match=rf"row 0: column '{column}' has .*holds a NUL"):
        run_job(table=write_lines(tmp_path / "t.jsonl", rows))


FORGED = "Steps: 999, Sampler: Evil, CFG scale: 99, Seed: 666, Size: 8x8, Model: evil"
ATTACKS = [
    f"a cat\n{FORGED}",
    f"a cat\r{FORGED}\r",
    f"a cat\nNegative prompt: a dog\n{FORGED}\n\n\n",
    f"a cat\u2028{FORGED}\x85{FORGED}\x0b\x0c\x1c\x1d\x1e",
    f"Negative prompt: a dog\n{FORGED}",
    f"\nNegative prompt: a dog\n{FORGED}",
    f"\x01\nNegative prompt:{FORGED}",
    FORGED,
    f'"{FORGED}',
    f'a cat\\", {FORGED}',
]


@pytest.mark.parametrize("column", ["prompt", "negative_prompt", "prompt_2"])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_no_text_of_a_row_passes_for_settings(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, column: str, kind: str
) -> None:
    """A viewer of generated images reads our steps and seed, and the right one as negative."""
    row = {"prompt": "a cat", "negative_prompt": "ugly", "seed": 7}
    table = write_lines(tmp_path / "t.jsonl", [row | {column: attack} for attack in ATTACKS])
    assert run_job(table=table, images=kind).n_made == len(ATTACKS)
    for image in folder.root.glob("images/*/*"):
        prompt, negative, settings = as_webui_reads(parameters_of(image) or "")
        assert (settings["Steps"], settings["Seed"], settings["Size"]) == ("20", "7", "64x64")
        assert (settings["Sampler"], settings["Model"]) == ("Euler", "fake")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028]", prompt + negative)
        assert ("Seed: 666" in prompt) == (column == "prompt")
        assert ("Seed: 666" in negative) == (column == "negative_prompt")


# Models


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        """Take the file to create."""
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def pickled_model(folder: Path, bomb: Path) -> Path:
    """Write a model folder whose weights are pickles that go off."""
    for component, stem in WEIGHTS.items():
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text("{}")
        (folder / component / f"{stem}.fp16.bin").write_bytes(pickle.dumps(Bomb(bomb)))
    for component, names in OTHERS.items():
        (folder / component).mkdir()
        for name in names:
            (folder / component / name).write_text("{}")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    return folder


def test_pickled_weights_are_refused_and_not_opened(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Opening a pickle runs what is in it: exit 2 before anything is opened."""
    model = pickled_model(workplace / "model", workplace / "boom")
    arguments = ["run", "table=t.csv", "model=sdxl-base", f"model.path={model}", "device=cpu"]
    assert main(arguments) == 2
    assert "pickled weights only" in capsys.readouterr().err
    assert not (workplace / "boom").exists()
    assert not (workplace / "outputs").exists()


@pytest.mark.parametrize(
    "weight_map",
    [
        {"w": "STEM.fp16.bin"},
        {"w": "../../elsewhere.bin"},
        {"w": "/etc/passwd"},
        {"w": 5},
        {"w": ["x"]},
        {"w": None},
    ],
)
def test_index_of_shards_names_tensors_of_its_own_folder_only(
    tmp_path: Path, weight_map: dict[str, Any]
) -> None:
    """An index cannot bring a pickle in, nor a file from elsewhere."""
    model = pickled_model(tmp_path / "model", tmp_path / "boom")
    (tmp_path / "elsewhere.bin").write_bytes(b"x")
    for component, stem in WEIGHTS.items():
        index = model / component / f"{stem}.safetensors.index.fp16.json"
        index.write_text(json.dumps({"weight_map": weight_map}).replace("STEM", stem))
    with pytest.raises(ModelError):
        check(model, "fp16")


def test_endless_nesting_in_a_models_json_is_refused(tmp_path: Path) -> None:
    """The parser's own limit is a sentence, not a traceback."""
    model = pickled_model(tmp_path / "model", tmp_path / "boom")
    (model / "model_index.json").write_text('{"a":' * 100_000)
    with pytest.raises(ModelError, match="model_index"):
        check(model, "fp16")


# Files in the job's folder that are not the job's


@pytest.fixture
def half_done(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> Path:
    """A job of four images of which two are made; return its table."""
    table = prompts(4)
    run_job(limit=2)
    assert len(list(folder.root.glob("images/*/*"))) == 2
    return table


HUGE = {"identity": {"config": ["x" * 1000] * 5000}, "finished": {"n_images": 10**30}}
JOB_JSONS: dict[str, object] = {
    "paths": {"identity": {}, "config": {"output_root": "/etc", "name": "../../x"}, "table": "/"},
    "huge": HUGE,
    "wrong types": {"identity": {"model": 5, "images": []}, "finished": [1, 2]},
    "finished text": {"identity": {}, "finished": {"stamp": "x", "n_images": "../../x"}},
    "finished null": {"identity": {}, "finished": {"stamp": None, "n_images": None}},
    "a list": [1, 2],
    "a text": "../../x",
    "null": None,
    "identity of text": {"identity": "x"},
}


@pytest.mark.parametrize("content", JOB_JSONS.values(), ids=JOB_JSONS)
@pytest.mark.usefixtures("half_done")
def test_job_json_from_elsewhere_decides_nothing(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, content: object
) -> None:
    """It is refused by name or passed over; either way no image is lost, and none comes twice."""
    folder.job_json.write_text(json.dumps(content))
    try:
        run_job()
    except FolderError as error:
        assert str(folder.job_json) in str(error)  # noqa: PT017
        folder.job_json.unlink()
        run_job()
    assert len(batchgen.read_metadata(folder.root)) == 4
    assert stray(tmp_path, "t.csv") == []
    assert verify(folder).is_clean


@pytest.mark.parametrize("content", JOB_JSONS.values(), ids=JOB_JSONS)
@pytest.mark.usefixtures("half_done")
def test_commands_say_a_sentence_about_a_job_json_from_elsewhere(
    folder: JobFolder, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """`repro` and `status` refuse or answer; a traceback would fail the test."""
    folder.job_json.write_text(json.dumps(content))
    assert main(["repro", str(folder.root), "--row", "k0"]) == 2
    assert capsys.readouterr().err.startswith("batchgen: ")
    assert main(["status", str(folder.root)]) == 0


def test_finished_job_json_of_another_job_finishes_nothing(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Copied into a job that has not begun, or is half done, it does not end it."""
    prompts(4)
    assert run_job(name="other").exit_code == 0
    run_job(limit=2)
    shutil.copy(folder.root.with_name("other") / "job.json", folder.job_json)
    assert run_job().n_done == 4
    assert len(batchgen.read_metadata(folder.root)) == 4


def test_metadata_of_another_job_is_seen_as_one_by_verify(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Its rows have no images here; `verify` says so and repair makes them pending."""
    prompts(4)
    assert run_job(name="other").exit_code == 0
    folder.create()
    shutil.copy(folder.root.with_name("other") / "metadata.parquet", folder.metadata)
    assert len(verify(folder).missing) == 4
    repair(folder)
    assert run_job().n_made == 4
    assert verify(folder).is_clean


def forged_metadata(folder: JobFolder, **changed: Any) -> None:
    """Write a metadata.parquet of one row, in the ledger's form, with hostile values."""
    record = ledger_row(0) | changed
    to_schema = schema(METADATA)
    arrays = [pa.array([record.get(field.name)], field.type) for field in to_schema]
    notes = {"covers": 1, "facts": {"failures": [], "suspects": [], "rungs": {}}}
    to_schema = to_schema.with_metadata({NOTES: json.dumps(notes).encode()})
    folder.create()
    pq.write_table(pa.Table.from_arrays(arrays, schema=to_schema), folder.metadata)


@pytest.mark.parametrize("place", ["../../precious.png", "images/../../../precious.png"])
@pytest.mark.parametrize("command", ["verify", "repair"])
def test_rows_with_paths_outside_the_folder_touch_nothing_there(
    tmp_path: Path, folder: JobFolder, place: str, command: str
) -> None:
    """A `file_name` of a forged metadata.parquet cannot move or remove a file elsewhere."""
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    (folder.root / "images").mkdir(parents=True)
    forged_metadata(folder, file_name=place, file_sha256="0" * 64)
    with suppress(FolderError):
        repair(folder) if command == "repair" else verify(folder)
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["images/x/y.png", "../../x", "", f"images/0/{10**12}-0.png"])
def test_start_on_rows_with_foreign_file_names_is_a_sentence(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, name: str
) -> None:
    """Names that we never write are refused by name, or their rows are made again."""
    prompts(2)
    forged_metadata(folder, file_name=name)
    try:
        run_job()
    except Refused as error:
        assert str(folder.root) in str(error)  # noqa: PT017


@pytest.mark.parametrize("notes", ["{}", "[]", "5", '{"covers": "x", "facts": {}}'])
def test_sealed_file_with_foreign_notes_is_refused_by_name(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, notes: str
) -> None:
    """What a Parquet file says of itself is not believed blindly."""
    prompts(2)
    folder.create()
    table = schema(METADATA).with_metadata({NOTES: notes.encode()}).empty_table()
    pq.write_table(table, folder.metadata)
    with pytest.raises(FolderError, match=re.escape(str(folder.metadata))):
        run_job()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "done", "rows": 5},
        {"type": "done", "rows": [{}]},
        {"type": "start", "keys": [["k0"]]},
        {"type": "void", "keys": [[["k0"], 0]]},
        {"type": "fail", "failure": {}},
        {"type": "schema", "schema": "no base64"},
        {"type": "schema", "schema": "AAAA"},
        {"type": "suspect", "keys": 5, "run_id": "r", "reason": ""},
    ],
)
@pytest.mark.usefixtures("half_done")
def test_whole_journal_line_of_another_shape_is_no_traceback(
    run_job: RunJob, folder: JobFolder, event: dict[str, Any]
) -> None:
    """A line of another version, or a forged one, is passed over or refused by name."""
    (folder.journals / "00000090-r.jsonl").write_bytes(encode(event))
    try:
        assert run_job().exit_code == 0
    except FolderError as error:
        assert "00000090-r.jsonl" in str(error)  # noqa: PT017


# Links, locks, devices


@pytest.mark.parametrize(
    "name",
    [
        *("images/00000/000000000-0.png", "job.json", "status.json", "metadata.parquet"),
        "images/00000/.000000000-0.png.tmp",
        ".job.json.tmp",
        ".metadata.parquet.tmp",
        ".batchgen/lock",
        ".batchgen/log.txt",
    ],
)
def test_file_linked_elsewhere_is_not_written_through(
    tmp_path: Path, prompts: WritePrompts, run_job: RunJob, folder: JobFolder, name: str
) -> None:
    """A link in the place of one of our files is replaced or refused, never followed."""
    prompts(2)
    folder.create()
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
    (folder.root / name).symlink_to(precious)
    try:
        run_job()
    except BatchgenError as error:
        assert str(folder.root) in str(error)  # noqa: PT017
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "content", [b"\xff" * 9999, b"{", b"[" * 99_999, b"\x00", b"../../x", b"9"]
)
@pytest.mark.usefixtures("half_done")
def test_lock_of_garbage_is_no_lock(run_job: RunJob, folder: JobFolder, content: bytes) -> None:
    """It names no process, so nobody is at work; what was written over it is a lock again."""
    folder.lock.write_bytes(content)
    assert run_job().exit_code == 0


@pytest.mark.parametrize("name", ["../x", "../../x", "/x", "..", "a/../../x", "x\x00", "x\n"])
def test_name_never_leaves_the_output_folder(
    tmp_path: Path, prompts: WritePrompts, run_job: RunJob, name: str
) -> None:
    """A name is one folder's, below output_root; nothing is made on the way to the refusal."""
    prompts(1)
    with pytest.raises(ConfigError, match="would leave"):
        run_job(name=name)
    assert list(files_in(tmp_path)) == ["t.csv"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt", "csv.gz", "parquet"])
@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "/dev/tty", "/dev/stdin", "folder"])
def test_table_that_is_no_file_is_refused_at_once(
    tmp_path: Path, run_job: RunJob, suffix: str, target: str
) -> None:
    """A pipe would be waited for and a device read for ever; behind a link as well."""
    table = tmp_path / f"t.{suffix}"
    if target == "fifo":
        os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    table.symlink_to(
        target if target.startswith("/") else tmp_path / target.replace("fifo", "pipe")
    )
    with pytest.raises(TableError, match=rf"t\.{suffix} (is|cannot)"):
        run_job(table=table)
    assert not (tmp_path / "outputs").exists()


def test_nothing_is_read_back_from_a_forged_journal_name(
    folder: JobFolder, half_done: Path
) -> None:
    """Files beside the journals that are not named by number are none."""
    assert half_done.exists()
    before = len(read_contents(folder).sources)
    for name in ("x-r.jsonl", "-1-r.jsonl", "²-r.jsonl", "1e5-r.jsonl", ".1-r.jsonl"):
        (folder.journals / name).write_bytes(b"\xff")
    assert len(read_contents(folder).sources) == before


def test_refusals_of_a_table_are_one_line(tmp_path: Path, fake_config: MakeConfig) -> None:
    """What Arrow says of a broken file may have lines; what we say has one."""
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": ["a cat"]}), table)
    content = table.read_bytes()
    table.write_bytes(content[:-12] + b"\xff" * 4 + content[-8:])
    with pytest.raises(TableError) as caught:
        batchgen.run(fake_config(table))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["negative_prompt", "scheduler"])
def test_parquet_is_read_from_the_middle_as_from_the_start(
    tmp_path: Path, run_job: RunJob, folder: JobFolder, column: str
) -> None:
    """A resume in the middle of a row group has the texts of its own rows."""
    texts = ["ddim", "euler", "heun"] * 70
    columns = {"prompt": [f"cat {n}" for n in range(210)], column: texts}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    run_job(table=tmp_path / "t.parquet", limit=100)
    assert run_job(table=tmp_path / "t.parquet").exit_code == 0
    assert batchgen.read_metadata(folder.root)[column].tolist() == texts
