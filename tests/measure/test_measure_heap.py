"""Freed memory stays with the process where that was asked for, and only there."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

CODE = """
import resource, sys, torch
from dilnas.measure import heap
from dilnas.measure.machine import environment
if sys.argv[1] == "kept":
    assert heap.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def once():
    torch.empty(40 << 20, dtype=torch.uint8).fill_(1)
for _ in range(6):  # the heap grows until the block fits twice
    once()
before = faults()
for _ in range(5):
    once()
print(faults() - before, "|", environment("cpu").facts["allocator"])
"""


@glibc
@pytest.mark.parametrize(("how", "says"), [("kept", "freed memory is kept"), ("left", "as found")])
def test_a_large_block_is_fetched_anew_unless_freed_memory_is_kept(how: str, says: str) -> None:
    """By page faults of a block of 40 MB that is made and freed five times; the facts say which."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
    )
    faults, _, fact = done.stdout.strip().partition(" | ")
    assert fact.startswith("glibc ") and fact.endswith(says)
    # 40 MB are 10,240 pages of 4 KB, or 20 of 2 MB.
    assert int(faults) < 15 if how == "kept" else int(faults) >= 5 * 20
