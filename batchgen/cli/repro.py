"""`batchgen repro`: make an image again and compare the pixels."""

from __future__ import annotations

import argparse

from batchgen.errors import ConfigError, ExitCode
from batchgen.runner.reproduction import original_in_job, original_of_file, reproduce
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import JobFolder


def repro(options: argparse.Namespace) -> int:
    """Make an image again and print how it compares."""
    with reading_errors(options.path):
        is_folder = options.path.is_dir()
        if is_folder and options.row is None:
            raise ConfigError([f"{options.path} is a folder: say which image, --row KEY."])
        original = (
            original_in_job(JobFolder(options.path), options.row, options.image)
            if is_folder
            else original_of_file(options.path)
        )
    comparison = reproduce(original)
    for line in comparison.lines:
        print(line)
    return ExitCode.done if comparison.is_same else ExitCode.not_all_well
