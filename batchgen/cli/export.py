"""`batchgen export`: finished images in the layouts that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path

from batchgen.config.paths import expanded
from batchgen.errors import ExitCode
from batchgen.export.exporting import export as export_images
from batchgen.export.question import Question


def export(options: argparse.Namespace) -> int:
    """Lay out the images of jobs for another tool, and say what came of it."""
    layout, out = options.to
    question = Question(
        folders=options.folders,
        layout=layout,
        out=expanded(Path(out)),
        where=options.where,
        only=options.only,
        without=options.without,
        columns=None if options.columns is None else options.columns.split(","),
        link=options.link,
    )
    print(export_images(question).line())
    return ExitCode.done
