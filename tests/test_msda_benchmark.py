"""The MSDA benchmark, really run on small maps: every level prints a table and leaves its data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "msda.py"
SMALL = ["--device", "cpu", "--img-size", "64", "--batch", "2", "--rounds", "2", "--threads", "1"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, where dilnas is not on the path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-P", str(SCRIPT), *words],
        env=environment,
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_operator_block_and_model_are_compared_with_unfold(tmp_path: Path) -> None:
    """Exact forms agree, ratios and memory are there, and FILE holds what the last line says."""
    out = tmp_path / "found.json"
    words = ["--backends", "sdpa", "portable", "free", "--variants", "tiny", "--out", str(out)]
    done = run(*SMALL, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == found
    assert found["copy_bytes_per_s"] > 0
    cases = {(c["level"], c["name"], c["way"]): c["contenders"] for c in found["cases"]}
    assert len(cases) == 8 + 8 + 2
    for (level, _, way), rows in cases.items():
        assert set(rows) >= {"unfold", "sdpa", "portable"}
        for name in ("sdpa", "portable"):
            assert rows[name]["apart"] < 1e-4
            low, middle, high = rows[name]["speed_up_over"]["unfold"]
            assert 0 < low <= middle <= high
            assert len(rows[name]["seconds"]) == 2
        if level != "operator":
            assert "free" in rows["portable"]["speed_up_over"]
        if way != "forward":
            assert rows["portable"]["memory_bytes"] < rows["unfold"]["memory_bytes"]
    assert "model tiny, training step" in done.stdout


def test_what_cannot_run_or_has_no_time_is_said() -> None:
    """Triton on a CPU gets a line with the reason; after the time limit cases are left out."""
    done = run(*SMALL, "--only", "operator", "--backends", "triton", "--time-limit", "0.01")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["cases"] == []
    assert "left out: operator tiny-s1, forward: the time was over" in done.stdout
    done = run(*SMALL, "--only", "small", "--backends", "triton", "--ways", "forward")
    assert done.returncode == 0, done.stderr
    assert "not run: InputError" in done.stdout


@pytest.mark.parametrize("words", [["--img-size", "50"], ["--rounds", "0"], ["--device", "tpu"]])
def test_a_wrong_command_is_one_line(words: list[str]) -> None:
    """And exit code 2."""
    done = run(*words)
    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
