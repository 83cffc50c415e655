"""The command line as a user meets it: a process of its own, with a fixed terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TERMINAL = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
DROPPED = ("FORCE_COLOR", "DILNAS_DEBUG", "TERMINAL_WIDTH", "PYTHONPATH")


def dilnas(*words: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """``python -m dilnas WORDS`` in the folder ``cwd``."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    return subprocess.run(
        [sys.executable, "-m", "dilnas", *words],
        cwd=cwd, env={**kept, **TERMINAL, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False,
    )  # fmt: skip


def refused(*words: str, cwd: Path) -> str:
    """The one line on stderr of a command that must end with exit code 2 and say no more."""
    done = dilnas(*words, cwd=cwd)
    assert done.returncode == 2, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr[-2000:]
    assert lines[0].startswith("dilnas: error: ")
    assert lines[0].isprintable()
    return lines[0]
