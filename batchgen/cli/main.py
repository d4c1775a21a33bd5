"""A command line in, an exit code out; errors of the user are sentences, not tracebacks."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from tqdm import tqdm

from batchgen.cli.arguments import parser
from batchgen.cli.messages import say
from batchgen.errors import BatchgenError, ExitCode
from batchgen.runner.streams import make_streams_a_courtesy


class _TerminalHandler(logging.Handler):
    """Shows warnings without breaking the progress bar; those marked `once` once a process."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if getattr(record, "once", False):
            if text in self._said:
                return
            self._said.add(text)
        tqdm.write(text, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    The streams of the process are made a courtesy. Where a command is interrupted, the process ends
    of that signal; `run` ends with 75.
    """
    make_streams_a_courtesy()
    commands = parser()
    options, rest = commands.parse_known_args(arguments)
    if rest and (rest[0].startswith("-") or "overrides" not in options):
        commands.error(f"{rest[0]} is not understood; see batchgen {options.name} --help")
    if rest:
        options.overrides += rest
    handler = _TerminalHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger("batchgen")
    root.addHandler(handler)
    try:
        return _command(options.name)(options)
    except BatchgenError as error:
        say(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("batchgen: interrupted; what is committed is safe", file=sys.stderr)
        if options.name == "run":
            return ExitCode.stopped
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    finally:
        root.removeHandler(handler)


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of a command; its module is imported only when it is called for."""
    function: Callable[[argparse.Namespace], int] = getattr(
        import_module(f"batchgen.cli.{name}"), name
    )
    return function
