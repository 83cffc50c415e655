"""How many threads a worker computes with: those that it was given, whenever torch comes."""

import os
import subprocess
import sys

import pytest

TORCH_LATER = """
import sys
from dilnas.search.threads import torch_threads
torch_threads({threads})
assert "torch" not in sys.modules, "a worker that trains nothing has waited for torch"
import torch
print(torch.get_num_threads())
"""
TORCH_BEFORE = """
import torch
from dilnas.search.threads import torch_threads
torch_threads({threads})
print(torch.get_num_threads())
"""


CORES = min(2, os.cpu_count() or 1)
"""MKL takes no more than the machine has."""


@pytest.mark.parametrize("program", [TORCH_LATER, TORCH_BEFORE])
@pytest.mark.parametrize(("threads", "inherited"), [(1, "2"), (CORES, "1")])
def test_torch_has_the_threads_of_its_worker_whenever_it_is_imported(program, threads, inherited):
    """Whatever the environment said that the worker was started in."""
    done = subprocess.run(
        [sys.executable, "-c", program.format(threads=threads)],
        env={**os.environ, "OMP_NUM_THREADS": inherited},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(threads)
