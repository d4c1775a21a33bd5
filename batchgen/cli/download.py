"""`batchgen download`: fetch the files of a job's model and adapters."""

from __future__ import annotations

import argparse

from batchgen.cli.compose import Composer, with_table
from batchgen.errors import ExitCode
from batchgen.hub.download import all_wanted, listing
from batchgen.hub.download import download as fetch


def download(options: argparse.Namespace) -> int:
    """Fetch the files of a job's model and adapters, or list them."""
    # A download needs no table; any path passes, none is opened.
    config = Composer(options.config_dir).job(with_table(options.overrides))
    for wanted in all_wanted(config.model, config.adapters, options.source, print):
        if options.dry_run:
            print("\n".join(listing(wanted)))
        else:
            print(f"{wanted.hub.name}:", flush=True)
            print(fetch(wanted, print), flush=True)
    return ExitCode.done
