"""The dataset card: what an export holds, under which licence, and how to make it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from batchgen.config import shell
from batchgen.config.counts import counted
from batchgen.config.job import JobConfig
from batchgen.config.models import FakeModel, ModelConfig, SdxlModel
from batchgen.config.names import config_of_job
from batchgen.config.run_command import run_command
from batchgen.export.gathering import Gathering
from batchgen.export.question import Question
from batchgen.ledger.schema import METADATA

NAME = "README.md"
_SHOWN = 20
"""Commands that a card has at most: a grid can have thousands of points."""
_MEANINGS = {
    **{column.name: column.meaning for column in METADATA},
    "id": "`row_key` and `image_index`, as in `KEY-INDEX`; in a grid `POINT-KEY-INDEX`",
    "point": "the point of the grid, as its folder is called",
    "image": "the picture: `bytes` of its file, and its `path`",
    "file_name": "the picture, relative to this folder",
}


def card(question: Question, gathering: Gathering, counts: str, data_files: Sequence[str]) -> bytes:
    """Return the card of an export, in Markdown.

    Args:
        question: What was asked.
        gathering: The jobs and the columns.
        counts: What is counted, such as "8 images of 4 rows".
        data_files: Patterns of the files that `datasets` reads; empty where it reads none, and
            then no columns go along.

    Raises:
        ConfigError: A job.json does not say how its job was made.
    """
    configs = [config_of_job(job.identity() or {}) for job in gathering.jobs]
    columns = list(_columns(gathering.schema, question)) if data_files else []
    lines = [
        *_front(data_files),
        f"# {', '.join(folder.resolve().name for folder in question.folders)}",
        "",
        f"{counts}, made by batchgen and laid out as `{question.layout}`.",
        "",
        "## Models",
        "",
        *dict.fromkeys(f"- {licence}" for config in configs for licence in _licences(config)),
        "",
        *columns,
        "## How to make it again",
        "",
        *_commands([run_command(config) for config in configs]),
        f"    {_export_command(question)}",
        "",
    ]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _front(data_files: Sequence[str]) -> Iterator[str]:
    """Yield what tells `datasets` and the viewers of hubs which files are read."""
    if not data_files:
        return
    yield from ("---", "configs:", "- config_name: default", "  data_files:")
    yield from (
        "  - split: train",
        "    path:",
        *(f"    - {json.dumps(one)}" for one in data_files),
    )
    yield from ("---", "")


def _columns(schema: pa.Schema, question: Question) -> Iterator[str]:
    yield from ("## Columns", "", "| column | type | meaning |", "|---|---|---|")
    first = {"parquet": "image", "imagefolder": "file_name"}.get(question.layout)
    if first is not None:
        yield f"| `{first}` | | {_MEANINGS[first]} |"
    for field in schema:
        name = " ".join(field.name.replace("|", r"\|").split())
        yield f"| `{name}` | {field.type} | {_MEANINGS.get(field.name, 'of the prompt table')} |"
    yield ""


def _licences(config: JobConfig) -> Iterator[str]:
    """Yield the models of a job and what their weights demand."""
    yield f"`{config.model.name}`: {_licence(config.model)}"
    for name, adapter in config.adapters.items():
        origin = adapter.hub_id or Path(str(adapter.path)).name
        yield f"LoRA `{name}`: the licence of {origin}, which batchgen does not know."


def _licence(model: ModelConfig) -> str:
    if isinstance(model, FakeModel):
        return "has no weights."
    if not isinstance(model, SdxlModel):
        return "comes with batchgen, Apache-2.0."
    if model.path is not None:
        return f"the licence of {Path(model.path).name}, which batchgen does not know."
    if model.hub_id == SdxlModel.hub_id:
        return f"CreativeML Open RAIL++-M, the licence of {model.huggingface_id}."
    return f"the licence of {model.huggingface_id}: see its model card."


def _commands(commands: Sequence[str]) -> Iterator[str]:
    own = list(dict.fromkeys(commands))
    yield from (f"    {command}" for command in own[:_SHOWN])
    if len(own) > _SHOWN:
        yield f"    # and {counted(len(own) - _SHOWN, 'more job')} of the grid"


def _export_command(question: Question) -> str:
    """Return the command; the place is left open."""
    words = ["batchgen", "export", *question.folders, "--to", question.layout, "OUT"]
    for name in ("where", "only", "without"):
        if (value := getattr(question, name)) is not None:
            words += [f"--{name}", value]
    if question.columns is not None:
        words += ["--columns", ",".join(question.columns)]
    return shell.command(*words, *(["--link"] if question.link else []))
