"""Whether processes run, and since when, whatever they are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from batchgen.storage.processes import is_running, started_at

NAMED = """
import os, sys
open("/proc/self/comm", "wb").write(os.fsencode(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_process_whose_name_is_no_text_is_seen() -> None:
    """The kernel keeps 15 bytes of a name, and so may cut a character of it."""
    name = "a生成图片的程序"
    with subprocess.Popen(
        [sys.executable, "-c", NAMED, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        content = Path(f"/proc/{process.pid}/stat").read_bytes()
        assert name.encode()[:15] in content
        assert is_running(process.pid)
        assert started_at(process.pid) is not None
        process.communicate()


def test_no_process_has_number_zero_or_a_negative_one() -> None:
    """They mean groups of processes to the kernel."""
    assert not is_running(0)
    assert not is_running(-os.getpid())
