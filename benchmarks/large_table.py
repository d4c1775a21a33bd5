"""Ten million rows: seconds and peak resident memory of `plan`, and of the start of a resume.

    python benchmarks/large_table.py [--rows 10000000] [--files 1000000]

Makes a CSV of ids, prompts and seeds, and a job in which 19 of 20 rows are finished, in a
temporary folder; then times `batchgen plan` on the bare table, and two resumes up to the moment
their first batch is handed over. Every row is validated in `plan` and in the first resume, which
then vouches for the table. There are no image files, so the resumes do not look for them
(`on_missing=trust`), and the disk is taken for one that is large enough.

Commands that look for files or read them have a job of their own, whose `--files` images are empty
files: `run` with nothing left to do, `status` and `verify`.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_LARGE_DISK = """
import collections, shutil
shutil.disk_usage = lambda _: collections.namedtuple("usage", "total used free")(2**60, 0, 2**60)
"""

_RESUME = """
import time, sys
started = time.perf_counter()
from batchgen.runner import stopping
from batchgen.config.names import config_from
from batchgen.executors.local import LocalExecutor
from batchgen.runner.start import run_job
from batchgen.runner import maker
def first(self, batch):
    print("first batch: row", batch.requests[0].row_index, flush=True)
    report()
    sys.stdout.flush()
    import os
    os._exit(0)
def report():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            print(f"{time.perf_counter() - started:.1f} s, {int(line.split()[1]) / 1024:.0f} MiB")
maker.Maker.make = first
config = config_from({"table": sys.argv[1], "name": "job", "output_root": sys.argv[2],
                      "model": "fake", "sampling": {"width": 64, "height": 64},
                      "on_missing": "trust"})
run_job(config, LocalExecutor(), stopping.Stop(None))
"""

_COMMAND = """
import sys, time
started = time.perf_counter()
from batchgen.cli.main import main
code = main(sys.argv[1:])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(f"{time.perf_counter() - started:.1f} s, {int(line.split()[1]) / 1024:.0f} MiB")
sys.exit(code)
"""


def write_table(path: Path, n_rows: int) -> None:
    """Write a CSV of so many rows."""
    with path.open("w") as file:
        file.write("id,prompt,seed\n")
        for first in range(0, n_rows, 10_000):
            file.writelines(
                f"row-{i},a photo of a cat number {i} in the garden,{i}\n"
                for i in range(first, min(first + 10_000, n_rows))
            )


def write_job(table: Path, output_root: Path, n_done: int) -> None:
    """Write a job folder whose first rows are finished, as a clean stop would have left it."""
    import pyarrow as pa

    from batchgen.config.names import config_from
    from batchgen.config.reading import ReadingConfig
    from batchgen.ledger.notes import NOTES, MetadataNotes
    from batchgen.ledger.schema import METADATA, schema
    from batchgen.ledger.seals import atomic_parquet
    from batchgen.ledger.state import LedgerState
    from batchgen.plan.fingerprint import as_hex
    from batchgen.plan.resolution import image_columns
    from batchgen.runner.identity import Job
    from batchgen.table import open_table

    settings = {"width": 64, "height": 64}
    values = {"table": str(table), "name": "job", "output_root": str(output_root), "model": "fake"}
    job = Job.identify(config_from({**values, "sampling": settings}))
    job.folder.create()
    to_schema = schema(METADATA)
    with atomic_parquet(
        job.folder.metadata, to_schema, {NOTES: MetadataNotes.encode(1, LedgerState())}
    ) as file:
        for rows in open_table(table, ReadingConfig()).chunks():
            n = min(rows.settings.num_rows, n_done - rows.first_index)
            if n <= 0:
                break
            columns = image_columns(rows, job.config, job.identity.model_revision)
            index = range(rows.first_index, rows.first_index + n)
            known: dict[str, Any] = {
                "file_name": [job.folder.image_name(i, 0, "png") for i in index],
                "row_key": rows.settings["row_key"].slice(0, n),
                "row_index": list(index),
                "image_index": [0] * n,
                "file_sha256": [hashlib.sha256().hexdigest()] * n,
                "text": rows.settings["prompt"].slice(0, n),
                "fingerprint": [as_hex(value) for value in columns.fingerprint[:n].tolist()],
                "environment": [job.identity.environment] * n,
            }
            arrays = [
                pa.array(known[f.name], f.type) if f.name in known else pa.nulls(n, f.type)
                for f in to_schema
            ]
            file.write_table(pa.Table.from_arrays(arrays, schema=to_schema))


def time_files(root: Path, n_files: int) -> None:
    """Print what commands take that look for so many image files, or read them."""
    from batchgen.storage.folder import JobFolder

    table, output_root = root / "files.csv", root / "files"
    write_table(table, n_files)
    write_job(table, output_root, n_files - 1)
    folder = JobFolder(output_root / "job")
    for number in range(n_files - 1):
        if not number % 10_000:
            (folder.root / folder.image_name(number, 0, "png")).parent.mkdir()
        (folder.root / folder.image_name(number, 0, "png")).touch()
    run = ["run", f"table={table}", "name=job", f"output_root={output_root}", "model=fake",
           "sampling.width=64", "sampling.height=64"]  # fmt: skip
    command(run)
    for arguments in (run, ["status", str(folder.root)], ["verify", str(folder.root)]):
        print(f"{arguments[0]} of {n_files:,} images:", flush=True)
        command(arguments)


def command(arguments: list[str]) -> None:
    """Run a command of batchgen, which prints its time and peak memory."""
    subprocess.run([sys.executable, "-c", _LARGE_DISK + _COMMAND, *arguments], check=True)


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    arguments = parser.parse_args()
    n_rows = arguments.rows
    with tempfile.TemporaryDirectory() as folder:
        table, output_root = Path(folder) / "table.csv", Path(folder) / "outputs"
        started = time.perf_counter()
        write_table(table, n_rows)
        n_done = n_rows * 19 // 20
        print(f"{n_rows:,} rows, {table.stat().st_size / 2**20:,.0f} MiB")
        print("plan:", flush=True)
        command(["plan", f"table={table}", "model=fake", f"output_root={output_root}"])
        write_job(table, output_root, n_done)
        resume = _LARGE_DISK + _RESUME
        for how in ("that validates the table", "that knows it"):
            print(f"resume {how}, over {n_done:,} finished rows, to the first batch:", flush=True)
            subprocess.run([sys.executable, "-c", resume, table, output_root], check=True)
        time_files(Path(folder), arguments.files)
        print(f"(all with preparation: {time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
