"""Fuzz table reader and journal reader: python tests/table/fuzz_readers.py --seconds 120 --seed 1.

Tables end as rows or as a TableError that names the file, in time, and the same whatever the
chunks; rows that a mutation did not touch are the source's. Of a journal exactly the whole lines
are read. The first input that breaks a rule is kept in a file, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import csv
import faulthandler
import gzip
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.config.reading import ReadingConfig
from batchgen.errors import FolderError, TableChanged, TableError
from batchgen.ledger.contents import read_contents
from batchgen.ledger.journal import EventJson, encode, read_events
from batchgen.ledger.reader import live_tables
from batchgen.ledger.schema import METADATA, schema
from batchgen.storage.folder import JobFolder
from batchgen.table import open_table

LIMIT_S = 5
"""Seconds an input may take."""

Row = tuple[str | None, ...]
"""The columns of `NAMES`, as text."""
NAMES = ("id", "prompt", "negative_prompt", "seed", "note")

WORDS = (
    *(
        "a cat",
        "猫",
        "🐈\u200d⬛",
        "é",
        "e\u0301",
        "“quoted”",
        "RTL \u202e",
        "\ufeff",
        "%s {}",
        "\\n",
    ),
    *("=1+1", "#", "null", "NaN", "1e999", "a,b", "a;b", "a|b", 'say "hi"', "it's", '"', '""'),
)
BREAKS = ("a\nb", "a\r\nb", "\r", "\n\n", "a\tb", '"\n"', "\u2028", "\x85", "\x0b\x0c", "\x1c")
SPECIAL = (
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xd2\xbb"),
    *(
        b'"',
        b'""',
        b"'",
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\\",
        b"{",
        b"}",
    ),
    *(
        b"[" * 3000,
        b'{"a":' * 2000,
        b"9" * 5000,
        b"\\ud800",
        b"1e999",
        b"NaN",
        b"-1",
        b" ",
        b"PAR1",
    ),
    *(b"prompt", b"id", b"seed", b'"prompt": "x"', b'"x": [1]', b"\x1f\x8b", b"x" * 9000),
)
DELIMITERS = b",;\t|\"' :\n\r"


@dataclass(frozen=True, slots=True)
class Written:
    """A table as bytes, with what reading it must give."""

    suffix: str
    content: bytes
    rows: list[Row]
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    ends: tuple[int, ...] = ()
    """Where each row ends in `content`; empty where rows do not follow each other there."""


class Broken(AssertionError):
    """A reader broke a rule."""


class Hung(BaseException):
    """An input took longer than `LIMIT_S`."""


def some_rows(rng: random.Random, *, breaks: bool, only_prompts: bool = False) -> list[Row]:
    """Return rows whose cells hold what formats stumble over."""
    words = WORDS + BREAKS if breaks else WORDS

    def text(n_words: int) -> str:
        return rng.choice(("", " ")).join(rng.choice(words) for _ in range(n_words))

    rows: list[Row] = []
    for index in range(rng.choice((1, 2, 5, 20, 300) if rng.random() < 0.1 else (1, 2, 5, 12))):
        prompt = f"{text(rng.randint(0, 4))}p{index}"
        if only_prompts:
            rows.append((str(index), prompt, None, None, None))
        else:
            negative = text(rng.randint(0, 2))
            seed = rng.choice(("", "0", "7", str(2**63 - 1)))
            row = (f"k{index}", prompt, negative if negative.strip() else None, seed or None)
            rows.append((*row, text(rng.randint(0, 2))))
    return rows


def cells(row: Row) -> list[str]:
    """Return a row as a delimited file holds it."""
    return [cell or "" for cell in row]


def delimited(rng: random.Random, suffix: str) -> Written:
    """Return a .csv or .tsv in any spelling that means the same."""
    is_tsv = suffix == ".tsv"
    rows = some_rows(rng, breaks=not is_tsv)
    delimiter = "\t" if is_tsv else rng.choice(",,,;\t|")
    quote = '"' if is_tsv else rng.choice('"""\'')
    lines, ends = [], [0]
    for row in [NAMES, *rows]:
        line = delimiter.join(cells(row)) + rng.choice(("\n", "\r\n"))
        lines.append(line if is_tsv else quoted(rng, cells(row), delimiter, quote))
        lines.append(rng.choice(("", "", "", "\n", "\r\n")))
    reading = ReadingConfig(
        delimiter=None if is_tsv or delimiter == "," else delimiter,
        quote=quote if quote != '"' else None,
        encoding=rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "gb18030")),
    )
    for start in range(0, len(lines), 2):
        ends.append(ends[-1] + len("".join(lines[start : start + 2]).encode()))
    return spelt(rng, suffix, "".join(lines), rows, reading, tuple(ends[2:]))


def quoted(rng: random.Random, row: list[str], delimiter: str, quote: str) -> str:
    """Return one line of CSV in one of the writer's styles."""
    line = io.StringIO()
    styles: list[Any] = [csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
    if not any(
        "\r" in cell for cell in row
    ):  # Python's writer leaves it bare where lines end in \n
        styles.append(csv.QUOTE_MINIMAL)
    csv.writer(
        line,
        delimiter=delimiter,
        quotechar=quote,
        quoting=rng.choice(styles),
        lineterminator=rng.choice(("\n", "\r\n")),
    ).writerow(row)
    return line.getvalue()


def json_lines(rng: random.Random, suffix: str) -> Written:
    """Return a .jsonl or .ndjson in any spelling that means the same."""
    rows = some_rows(rng, breaks=True)
    lines, ends = [], []
    for row in rows:
        given = {name: cell for name, cell in zip(NAMES, row, strict=True) if cell is not None}
        if "seed" in given and rng.random() < 0.5:
            given = {**given, "seed": int(given["seed"])}  # type: ignore[dict-item]
        shuffled = dict(rng.sample(list(given.items()), len(given)))
        spaced = rng.choice(((",", ":"), (", ", ": "), (" ,\t", " : ")))
        line = json.dumps(shuffled, ensure_ascii=rng.random() < 0.5, separators=spaced)
        lines.append(line + rng.choice(("\n", "\r\n", "\n\n", "\n \n")))
        ends.append(len("".join(lines).encode()))
    reading = ReadingConfig(encoding=rng.choice(("utf-8", "utf-8", "utf-8", "utf-16")))
    return spelt(rng, suffix, "".join(lines), rows, reading, tuple(ends))


def text_lines(rng: random.Random, suffix: str) -> Written:
    """Return a .txt, one prompt a line."""
    rows = some_rows(rng, breaks=False, only_prompts=True)
    lines, ends = [], []
    for row in rows:
        lines.append((row[1] or "") + rng.choice(("\n", "\r\n", "\n\n", "\n \t\n")))
        ends.append(len("".join(lines).encode()))
    reading = ReadingConfig(encoding=rng.choice(("utf-8", "utf-8", "utf-16", "gb18030")))
    if rows[0][1] and rows[0][1].startswith("\ufeff"):
        lines.insert(0, "\n")
        ends = [end + 1 for end in ends]
    return spelt(rng, suffix, "".join(lines), rows, reading, tuple(ends))


def spelt(
    rng: random.Random,
    suffix: str,
    text: str,
    rows: list[Row],
    reading: ReadingConfig,
    ends: tuple[int, ...],
) -> Written:
    """Return a text table encoded: with or without a byte order mark, plain or gzipped."""
    content = text.encode(reading.encoding)
    if reading.encoding == "utf-8" and rng.random() < 0.3:
        content, ends = b"\xef\xbb\xbf" + content, tuple(end + 3 for end in ends)
    if reading.encoding != "utf-8":
        ends = ()
    if rng.random() < 0.25:
        cut = rng.randint(0, len(content))
        parts = (content[:cut], content[cut:]) if rng.random() < 0.3 else (content,)
        return Written(f"{suffix}.gz", b"".join(map(gzip.compress, parts)), rows, reading)
    return Written(suffix, content, rows, reading, ends)


def parquet(rng: random.Random, suffix: str) -> Written:
    """Return a Parquet file of any layout."""
    rows = some_rows(rng, breaks=True)
    kind = rng.choice((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())))
    columns: dict[str, Any] = {
        name: pa.array([row[at] for row in rows], pa.string()).cast(kind)
        for at, name in enumerate(NAMES)
    }
    seeds = [None if row[3] is None else int(row[3]) for row in rows]
    columns["seed"] = pa.array(seeds, rng.choice((pa.int64(), pa.uint64())))
    columns["nested"] = pa.array([[1, 2]] * len(rows))
    sink = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        sink,
        row_group_size=rng.choice((1, 3, 1000)),
        compression=rng.choice(("none", "snappy", "zstd", "gzip")),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(("1.0", "2.0")),
    )
    return Written(suffix, sink.getvalue(), rows)


SEEDS: dict[str, Callable[[random.Random, str], Written]] = {
    ".csv": delimited,
    ".tsv": delimited,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".txt": text_lines,
    ".parquet": parquet,
}


def cut(rng: random.Random, content: bytes) -> bytes:
    """Take a piece out, mostly the end."""
    start, end = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:start] if rng.random() < 0.6 else content[:start] + content[end:]


def duplicate(rng: random.Random, content: bytes) -> bytes:
    """Repeat a piece."""
    start, end = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:end] + content[start:end] * rng.choice((1, 1, 3)) + content[end:]


def insert_special(rng: random.Random, content: bytes) -> bytes:
    """Put in what parsers look for."""
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(SPECIAL) + content[at:]


def swap_delimiters(rng: random.Random, content: bytes) -> bytes:
    """Turn some of one delimiter into another."""
    old, new = rng.sample(range(len(DELIMITERS)), 2)
    share = rng.choice((0.1, 1))
    return bytes(
        DELIMITERS[new] if byte == DELIMITERS[old] and rng.random() < share else byte
        for byte in content
    )


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    """Flip one to four bits."""
    flipped = bytearray(content)
    for _ in range(rng.randint(1, 4) if content else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def shuffle_lines(rng: random.Random, content: bytes) -> bytes:
    """Put the lines in another order."""
    lines = content.splitlines(keepends=True)
    return b"".join(rng.sample(lines, len(lines)))


MUTATIONS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    cut,
    duplicate,
    insert_special,
    insert_special,
    swap_delimiters,
    flip_bits,
    flip_bits,
    shuffle_lines,
)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Return bytes after one to three mutations; of gzipped ones sometimes what is inside."""
    is_inside = content.startswith(b"\x1f\x8b") and rng.random() < 0.5
    if is_inside:
        content = gzip.decompress(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(MUTATIONS)(rng, content)
    return gzip.compress(content) if is_inside else content


def rows_of(path: Path, reading: ReadingConfig, first_row: int, chunk_rows: int) -> list[Row]:
    """Return the rows of a table from one on; checks that they follow each other."""
    rows: list[Row] = []
    for chunk in open_table(path, reading).chunks(first_row, chunk_rows):
        n_rows = chunk.settings.num_rows
        if chunk.first_index != first_row + len(rows) or not 0 < n_rows <= chunk_rows:
            raise Broken(f"a chunk of {n_rows} rows stands at {chunk.first_index}")
        chunk.settings.validate(full=True)
        chunk.carried.validate(full=True)
        names = ("row_key", "prompt", "negative_prompt", "seed")
        columns = [chunk.settings.column(name).to_pylist() for name in names]
        has_note = "note" in chunk.carried.schema.names
        columns.append(chunk.carried.column("note").to_pylist() if has_note else [None] * n_rows)
        rows += [
            tuple(None if cell is None else str(cell) for cell in row)
            for row in zip(*columns, strict=True)
        ]
    return rows


def outcome(path: Path, reading: ReadingConfig, chunk_rows: int) -> list[Row] | None:
    """Return the rows of a table, None where it is refused by name."""
    try:
        return rows_of(path, reading, 0, chunk_rows)
    except (TableError, TableChanged) as error:
        message = str(error)
        if isinstance(error, TableChanged) or str(path) not in message:
            raise Broken(f"refused with {message!r}") from error
        return None


def check_table(rng: random.Random, folder: Path) -> str:
    """Read one table, mutated or not, and return its format and outcome."""
    suffix = rng.choice(list(SEEDS))
    written = SEEDS[suffix](rng, suffix)
    is_kept = rng.random() < 0.2
    content = written.content if is_kept else mutated(rng, written.content)
    path = folder / f"t{written.suffix}"
    path.write_bytes(content)
    rows = outcome(path, written.reading, 16384)
    check_again(rng, path, written.reading, rows, is_damaged=not is_kept)
    if is_kept and rows != written.rows:
        raise Broken(f"rows are {rows}, and were {written.rows}")
    check_untouched(written, content, rows)
    how = "kept: rows" if is_kept else "refused" if rows is None else "rows"
    return f"{written.suffix[1:]}\t{how}"


def check_again(
    rng: random.Random,
    path: Path,
    reading: ReadingConfig,
    rows: list[Row] | None,
    *,
    is_damaged: bool,
) -> None:
    """Read a table in small chunks, from any row on, and compare with reading it in one go.

    Arrow may see a damage of Parquet at one chunk length and not at another: there rows, where
    they are given, are as many as the file says, and equal.
    """
    is_fickle = is_damaged and path.suffix == ".parquet"
    if rows is None:
        again = outcome(path, reading, 3)
        if again is not None and not (is_fickle and len(again) == n_promised(path)):
            raise Broken(f"refused in one go, and {len(again)} rows in small chunks")
        return
    first = rng.randint(0, len(rows))
    try:
        again = rows_of(path, reading, first, rng.choice((1, 3, 256)))
    except TableError:
        if is_fickle:
            return
        raise
    if again != rows[first:]:
        raise Broken(f"other rows from row {first} on than in one go")
    if path.suffix == ".parquet" and len(rows) != n_promised(path):
        raise Broken(f"{len(rows)} rows of {n_promised(path)}")


def n_promised(path: Path) -> int:
    """Return how many rows a Parquet file says it has."""
    return int(pq.read_metadata(path).num_rows)


def check_untouched(written: Written, content: bytes, rows: list[Row] | None) -> None:
    """Compare the rows in front of the first byte that is another."""
    n_same = n_equal(written.content, content)
    n_rows = sum(end <= n_same for end in written.ends)
    if rows is not None and rows[:n_rows] != written.rows[:n_rows]:
        raise Broken(f"the first {n_rows} rows are {rows[:n_rows]}, not {written.rows[:n_rows]}")


def n_equal(one: bytes, other: bytes) -> int:
    """Return how many bytes two contents have in common from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def some_events(rng: random.Random, sequence: int) -> list[EventJson]:
    """Return the events of a journal, as a start of a job writes them."""
    to_schema = schema(METADATA, pa.schema([("note", pa.string())]))
    text = base64.b64encode(to_schema.serialize().to_pybytes()).decode()
    events: list[EventJson] = [{"type": "schema", "schema": text}]
    for n in range(rng.choice((0, 1, 4, 15))):
        keys = [[f"k{rng.randint(0, 9)}", 0] for _ in range(rng.randint(1, 3))]
        failure = {"row_key": keys[0][0], "image_index": 0, "attempt": n, "message": "猫\n"}
        done = [record(rng, key, f"{sequence}.{n}.{at}") for at, key in enumerate(keys)]
        events += [
            {"type": "start", "keys": keys},
            rng.choice(
                (
                    *[{"type": "done", "rows": done}] * 6,
                    {"type": "void", "keys": keys},
                    {"type": "fail", "failure": failure},
                    {"type": "suspect", "keys": keys, "run_id": "r1", "reason": "SIGSEGV"},
                    {"type": "rung", "size": "64x64", "rung": "halved"},
                    {"type": "forgive"},
                )
            ),
        ]
    return events


def record(rng: random.Random, key: list[Any], made: str) -> dict[str, Any]:
    """Return a committed row; `made` tells remakes of an image apart."""
    return {
        "row_key": key[0],
        "row_index": int(key[0][1:]),
        "image_index": key[1],
        "file_name": f"images/00000/{int(key[0][1:]):09d}-0.png",
        "text": rng.choice(WORDS + BREAKS),
        "fingerprint": made,
        "carried": {"note": rng.choice((None, *WORDS, *BREAKS))},
    }


FOREIGN = (
    *(b"", b"{}", b"null", b'{"type":"done","rows":[]}', b"00000000 {}", b"id,prompt", b"\xff\xfe"),
    *(b"5f6d0f2d ", b" ", b"ffffffff " + b"[" * 5000, b"\x00" * 4096, b"x" * 70_000),
    *(encode({"type": "note"})[:-1], encode({})[:-1], encode({"type": None, "keys": 1})[:-1]),
)
"""Lines that no start wrote; the last three are whole, as if a newer version had written them."""


def mutated_journal(rng: random.Random, content: bytes) -> bytes:
    """Return a journal after up to three faults of disk, copying and editors."""
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        fault = rng.choice(("lines", "foreign", "repeat", *["bytes"] * 3))
        lines = content.splitlines(keepends=True)
        if fault == "lines":
            content = shuffle_lines(rng, content)
        elif fault == "foreign":
            lines.insert(rng.randint(0, len(lines)), rng.choice(FOREIGN) + b"\n")
            content = b"".join(lines)
        elif fault == "repeat" and lines:
            lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
            content = b"".join(lines)
        else:
            content = rng.choice((cut, duplicate, insert_special, flip_bits))(rng, content)
    return content


def check_journals(rng: random.Random, folder: Path) -> str:
    """Read a folder of up to three journals, and return the outcome."""
    job = JobFolder(folder)
    job.create()
    committed: dict[tuple[str, int], list[EventJson]] = {}
    n_torn, newer = 0, None
    for sequence in range(1, rng.randint(1, 3) + 1):
        events = some_events(rng, sequence)
        written = {encode(event)[:-1]: event for event in events}
        known = written | {line: json.loads(line[9:]) for line in FOREIGN[-3:]}
        for event in events:
            for row in event.get("rows", ()):
                committed.setdefault((row["row_key"], row["image_index"]), []).append(row)
        content = mutated_journal(rng, b"".join(map(encode, events)))
        path = job.journals / f"{sequence:08d}-r{sequence}.jsonl"
        path.write_bytes(content)
        lines = [line for line in content.split(b"\n") if line in known]
        n_torn += content.count(b"\n") > len(lines)
        if list(read_events(path)) != [known[line] for line in lines]:
            raise Broken(f"{path.name}: other events than whole lines")
        if newer is None and any(line in FOREIGN for line in lines):
            newer = path.name
    if newer is not None:
        check_refused(job, newer)
        return "journals\tnewer: refused"
    n_rows = check_rows(job, committed)
    return f"journals\t{'torn' if n_torn else 'whole'}: {'rows' if n_rows else 'no rows'}"


def check_refused(job: JobFolder, name: str) -> None:
    """Check that a folder is refused for an event of a kind nobody knows, by the journal's name."""
    try:
        read_contents(job)
    except FolderError as error:
        if name in str(error) and "a newer one wrote it" in str(error):
            return
        raise
    raise Broken(f"{name}: an event of an unknown kind was passed over")


def check_rows(job: JobFolder, committed: dict[tuple[str, int], list[EventJson]]) -> int:
    """Compare what is recovered with what was committed; return how many rows that is."""
    contents = read_contents(job)
    n_rows = 0
    for source in contents.journals:
        for key, row in source.unsealed.rows.items() if source.unsealed else ():
            n_rows += 1
            if row not in committed.get(key, ()):
                raise Broken(f"{key} was never committed as {row}")
    for _, table in live_tables(contents):
        for found in table.to_pylist():
            as_committed = committed[found["row_key"], found["image_index"]]
            same = [row for row in as_committed if row["fingerprint"] == found["fingerprint"]]
            if not same or (same[0]["text"], same[0]["carried"]["note"]) != (
                found["text"],
                found["note"],
            ):
                raise Broken(f"{found} was never committed")
    return n_rows


def on_alarm(*_: object) -> None:
    """Interrupt an input that takes too long."""
    raise Hung


def fuzz(rng: random.Random, seconds: float, folder: Path) -> Counter[str]:
    """Check inputs until the time is up; `folder` holds the last one where a rule was broken."""
    outcomes: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, on_alarm)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        check = check_journals if rng.random() < 0.25 else check_table
        faulthandler.dump_traceback_later(4 * LIMIT_S, exit=True)  # where no signal gets through
        signal.alarm(LIMIT_S)
        outcomes[check(rng, folder)] += 1
        signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    return outcomes


def report(outcomes: Counter[str]) -> None:
    """Print how many inputs of each format had which outcome."""
    for line, count in sorted(outcomes.items()):
        kind, how = line.split("\t")
        sys.stdout.write(f"{kind:12} {how:16} {count:8,}\n")
    sys.stdout.write(f"{'all':29} {outcomes.total():8,}\n")


def run(seconds: float, seed: int, folder: Path) -> int:
    """Fuzz, report, and return the exit code."""
    logging.getLogger("batchgen").setLevel(logging.ERROR)  # torn lines are warned of one by one
    try:
        outcomes = fuzz(random.Random(seed), seconds, folder)  # noqa: S311  not a secret
    except (Exception, Hung):
        signal.alarm(0)
        traceback.print_exc(file=sys.stdout)
        return 1
    report(outcomes)
    return 0


def main() -> int:
    """Fuzz in a process of its own, so that a crash of a parser is a finding, too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="batchgen-fuzz-"))
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = run(options.seconds, options.seed, root / "input")
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code == 0:
        shutil.rmtree(root)
        return 0
    kept = [str(path) for path in sorted(root.rglob("*")) if path.is_file()]
    sys.stdout.write(f"seed {options.seed} ended with {code}; the input is {', '.join(kept)}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
