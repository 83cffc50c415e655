"""How a command ends: usage errors, bugs, a reader that goes away, a full disk, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_process import dilnas, refused

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("profil",), "profil"),
        (("space", "bogus"), "bogus"),
        (("profile", "--bogus"), "--bogus"),
        (("profile", "--variant"), "--variant"),
        (("search", "--budget-gflops"), "--budget-gflops"),
        (("search", "--budget-gflops", "four"), "--budget-gflops"),
        (("profile", "tiny", "small"), "small"),
        (("export",), "RUN"),
        (("space", "sample", "-n", "0"), "-n"),
        (("--bogus",), "--bogus"),
    ],
)
def test_a_usage_error_is_one_line_that_says_where_help_is(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """Exit code 2, the word at fault, and the help to read."""
    line = refused(*words, cwd=tmp_path)
    assert says in line
    assert line.endswith("--help'")


@pytest.mark.parametrize("words", [("--debug", "profile", "nope"), ("profile", "nope", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """Without it there is none: see every other test here."""
    done = dilnas(*words, cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "ArchitectureError" in done.stderr


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_one_line_that_says_it_is_one(debug: bool, tmp_path: Path) -> None:
    """Exit code 1, the exception, and how to see the rest."""
    words = ["profile", "tiny", "--no-latency", *["--debug"] * debug]
    code = (
        "import dilnas.runs, dilnas.cli\n"
        "def resolve(spec):\n    raise ZeroDivisionError('two\\nlines')\n"
        "dilnas.runs.resolve = resolve\n"
        f"dilnas.cli.main({words!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == debug
    if not debug:
        assert done.stderr.splitlines() == [
            "dilnas: unexpected ZeroDivisionError: two lines (a bug; --debug shows where)"
        ]


@posix
@pytest.mark.parametrize(
    "words",
    ["--help", "space show smoke", "space sample smoke -n 2000", "profile tiny --no-latency"],
)
def test_a_reader_that_goes_away_ends_the_command_quietly(words: str, tmp_path: Path) -> None:
    """``dilnas … | head -1``: no complaint, exit code 0."""
    script = f"set -o pipefail; {sys.executable} -m dilnas {words} | head -c 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
@pytest.mark.parametrize("words", ["space show smoke", "profile tiny --no-latency"])
def test_a_full_disk_is_no_bug(words: str, tmp_path: Path) -> None:
    """One line with the system's reason."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dilnas", *words.split()], stdout=full,
            stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "dilnas: error: cannot write the output: No space left on device"
    ]


@posix
def test_ctrl_c_ends_a_measurement_with_130_and_no_traceback(tmp_path: Path) -> None:
    """What shells expect of an interrupted command; nothing is written."""
    command = [sys.executable, "-m", "dilnas", "profile", "base", "--device", "cpu"]
    # As a terminal starts it: a shell's background job, and all that it starts, ignores SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [*command, "--out", "x.json"], cwd=tmp_path, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        first = process.stderr.readline()  # it has said that it measures
        assert first.startswith("measuring"), first
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
