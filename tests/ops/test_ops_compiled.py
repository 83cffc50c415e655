"""MSDA's kernels compiled for an H100, without one: what costs speed shows in the machine code."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or platform.machine() != "x86_64",
    reason="needs Triton and its tools",
)

SCRIPT = Path(__file__).with_name("compiling.py")


def compiled(*words: str) -> dict[str, dict[str, int]]:
    """What ``compiling.py`` prints, in a process that does not interpret kernels."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("dtype", "depth", "window"),
    [
        ("bfloat16", 24, 3),
        ("float32", 32, 3),
        pytest.param("bfloat16", 32, 7, marks=pytest.mark.slow),
        pytest.param("float16", 64, 5, marks=pytest.mark.slow),
        pytest.param("float32", 64, 7, marks=pytest.mark.slow),
    ],
)
def test_no_register_is_spilled_and_channels_are_loaded_16_bytes_at_a_time(dtype, depth, window):
    """Of the paper's heads, and wide windows: a thread's numbers stay in registers."""
    found = compiled(dtype, str(depth), "--window", str(window))
    assert set(found) == {"forward", "queries", "keys"}
    for kernel, numbers in found.items():
        assert numbers["stack_bytes"] == 0, (kernel, numbers)
        # What is left are the sums of the forward pass, one number a pixel.
        assert numbers["loads_of_16_bytes"] >= numbers["loads"] / 2, (kernel, numbers)
        assert numbers["registers"] <= 255, (kernel, numbers)
