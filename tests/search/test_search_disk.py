"""A full disk: one clear line, nothing lost; the same call goes on when there is space again."""

import collections
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys

import optuna
import pytest
from closed_form_world import World
from every_write import drive, processes

from dilnas.errors import DilnasError, RunError
from dilnas.ray_session import ray_session
from dilnas.search import search

PAGE = 4096
"""Bytes of a page of SQLite."""

OPTIONS = {"trials": 8, "rungs": 2, "final_seeds": 0}


def limited(folder, largest):
    """The search of ``every_write``, on a disk that takes no file of more bytes; exit code 2."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        drive(folder, OPTIONS, 0)
    except DilnasError as error:
        (folder / "error.txt").write_text(str(error))
        sys.exit(error.exit_code)


def trials(folder):
    head = json.loads((folder / "run" / "run.json").read_text())
    storage = f"sqlite:///{folder}/run/study.db"
    return optuna.load_study(study_name=head["study"], storage=storage).trials


def worked(folder):
    return collections.Counter((folder / "log.txt").read_text().splitlines())


def lived(target, *arguments):
    """Exit code of ``target`` in a process of its own."""
    process = processes().Process(target=target, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


def test_a_disk_that_is_full_ends_the_search_with_one_error(tmp_path):
    """The tables of the ledger do not fit, its last pages, the report: the error names the file,
    and the next call goes on from there without doing anything again.
    """
    alone = tmp_path / "alone"
    alone.mkdir()
    assert lived(drive, alone, OPTIONS, 0) == 0
    whole = (alone / "run" / "study.db").stat().st_size
    # Times that are a digit longer or shorter make a ledger a page larger or smaller.
    last = whole - 4 * PAGE
    for largest, file in ((40_000, "study.db"), (last, "study.db"), (10**6, "report.html")):
        folder = tmp_path / str(largest)
        folder.mkdir()
        assert lived(limited, folder, largest) == 2
        error = (folder / "error.txt").read_text()
        assert file in error and "\n" not in error
        assert lived(drive, folder, OPTIONS, 0) == 0
        assert [t.params for t in trials(folder)] == [t.params for t in trials(alone)]
        assert {t.state.name for t in trials(folder)} <= {"COMPLETE", "PRUNED"}
        assert max(worked(folder).values()) == 1
        assert (folder / "run" / "report.html").stat().st_size > 10**6


@contextlib.contextmanager
def disk(folder, size):
    """A disk of ``size`` at ``folder``; skips the test where none may be mounted."""
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_workers_fill_fails_no_candidate(tmp_path):
    """A checkpoint that does not fit ends the search, not the candidate: the next would not fit
    either. With a larger disk the same call goes on from the checkpoints that did.
    """
    folder = tmp_path / "disk"
    options = {"trials": 8, "workers": 2, "final_seeds": 0, "out": str(folder / "run")}
    world = World(str(tmp_path / "log.txt"), ballast=600_000)
    with disk(folder, "2m"), ray_session(2):
        with pytest.raises(RunError, match=r"world\.json: cannot be written: No space left"):
            search("smoke", **options, evaluator=world)
        states = [t.state.name for t in trials(folder)]
        assert states and "FAIL" not in states
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        search("smoke", **options, evaluator=world)
        assert {t.state.name for t in trials(folder)} <= {"COMPLETE", "PRUNED"}
        assert len(trials(folder)) == 8
    # What could not be written was worked on again, nothing else: two workers, once.
    assert sum(count - 1 for count in worked(tmp_path).values()) <= 2
