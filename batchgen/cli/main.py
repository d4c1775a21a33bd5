"""A command line in, an exit code out; errors of the user are sentences, not tracebacks."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

from tqdm import tqdm

from batchgen.cli.arguments import parser
from batchgen.cli.messages import say
from batchgen.errors import BatchgenError, ExitCode, FolderError
from batchgen.runner.stopping import SIGNALS
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

    From here on, what cannot be written to the standard streams is dropped. Where a command is
    interrupted, the process ends of that signal; `run` ends with 75.
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
        _refuse_lost_place()
        with _interrupting() if options.name == "run" else nullcontext():
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


def _refuse_lost_place() -> None:
    """Raise `FolderError` where the working folder was deleted: no path means anything then."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FolderError("The working folder was deleted. cd to one that is there.") from error


@contextmanager
def _interrupting() -> Iterator[None]:
    """Let the signals that stop a job interrupt what comes before and after it as Ctrl-C does."""
    is_main = threading.current_thread() is threading.main_thread()
    deaf = [one for one in SIGNALS if is_main and signal.getsignal(one) is signal.SIG_DFL]
    for number in deaf:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in deaf:
            signal.signal(number, signal.SIG_DFL)


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of a command; its module is imported only when it is called for."""
    function: Callable[[argparse.Namespace], int] = getattr(
        import_module(f"batchgen.cli.{name}"), name
    )
    return function
