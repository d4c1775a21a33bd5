"""The command line: commands, their arguments, and what each is for; runs nothing."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from batchgen.config.paths import expanded

_OVERRIDES = "settings as key=value, such as table=prompts.csv sampling.steps=30"


def parser() -> argparse.ArgumentParser:
    """Return the parser; `name` is the command, the rest is its own."""
    top = argparse.ArgumentParser("batchgen", description="Prompt tables to image datasets.")
    top.add_argument("--version", action="version", version=version("batchgen"))
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="name")
    run = commands.add_parser("run", help="make the images of a table, or go on making them")
    plan = commands.add_parser("plan", help="check everything and count, without making anything")
    tune = commands.add_parser("tune", help="try batch sizes on this device and name the best")
    tune.add_argument("--json", action="store_true", help="for programs")
    download = commands.add_parser("download", help="fetch the files of a job's model and adapters")
    for command in (tune, download):
        command.set_defaults(multirun=False)
    doctor = commands.add_parser("doctor", help="what is wrong with this machine, or with a log")
    doctor.add_argument(
        "--log", type=expanded, metavar="FILE", help="name the known faults in a log"
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    download.add_argument(
        "--from", dest="source", default="modelscope", metavar="HUB|FOLDER",
        help="modelscope, hf, or a folder that holds the files",
    )  # fmt: skip
    download.add_argument("--dry-run", action="store_true", help="list files and sizes and stop")
    for command in (run, plan):
        command.add_argument("-m", "--multirun", action="store_true", help="key=a,b makes a grid")
        command.add_argument("--cfg", action="store_true", help="print the config and stop")
    for command in (run, plan, tune, doctor, download):
        command.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder of your configs")
        command.add_argument("overrides", nargs="*", metavar="key=value", help=_OVERRIDES)
    _add_folder_commands(commands)
    return top


def _add_folder_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that take a job's folder and no overrides."""
    status = commands.add_parser("status", help="how a job is doing, or all of them")
    status.add_argument("folder", nargs="?", type=expanded, help="a job or a grid; all of outputs/")
    status.add_argument("--json", action="store_true", help="for programs")
    verify = commands.add_parser("verify", help="read every byte of a job and say what is wrong")
    verify.add_argument("folder", type=expanded)
    verify.add_argument("--repair", action="store_true", help="repair what can be")
    merge = commands.add_parser("merge", help="make one job of its shards")
    merge.add_argument("folder", type=expanded, help="the folder that the shards are in")
    report = commands.add_parser("report", help="draw contact sheets of a job, or of a grid's jobs")
    report.add_argument("folder", type=expanded, help="a job, a grid, or a folder of them")
    report.add_argument(
        "--columns", type=int, default=8, metavar="N", help="images a line at most, 1 to 12; 8"
    )
    report.add_argument(
        "--font", type=expanded, metavar="FILE", help="a font file that has your letters"
    )
    _add_export(commands)
    repro = commands.add_parser("repro", help="make an image again and compare the pixels")
    repro.add_argument("path", type=expanded, metavar="IMAGE|FOLDER")
    repro.add_argument("--row", metavar="KEY", help="row key, where a job's folder is given")
    repro.add_argument("--image", type=int, default=0, metavar="INDEX", help="image index, 0")


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that lays images out for other tools."""
    export = commands.add_parser("export", help="lay out finished images as other tools read them")
    export.add_argument(
        "folders", nargs="+", type=expanded, metavar="FOLDER", help="a job or a grid"
    )
    export.add_argument(
        "--to", nargs=2, required=True, metavar=("LAYOUT", "OUT"),
        help="webdataset, parquet, imagefolder, flat, ..., and the new folder; docs/export.md",
    )  # fmt: skip
    export.add_argument("--where", metavar="SQL", help='such as "steps = 30 and not truncated"')
    export.add_argument("--only", type=expanded, metavar="CSV", help="no images but those, by id")
    export.add_argument("--without", type=expanded, metavar="CSV", help="not those, by id")
    export.add_argument("--columns", metavar="A,B,...", help="columns that go along; all")
    export.add_argument("--link", action="store_true", help="hard links in the place of copies")
