"""Two drivers on one ledger: from copies of a run directory, or where no lock is passed on."""

import contextlib
import importlib
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time

import optuna
import pytest
from every_write import drive, processes

from dilnas.errors import DilnasError, RunError
from dilnas.search.lease import Lease, held

SLOW = {"trials": 8, "rungs": 3, "pause": 0.5}


@pytest.fixture
def study(tmp_path):
    """An open study; another driver would see it through a storage of its own."""
    return optuna.create_study(storage=f"sqlite:///{tmp_path}/all.db", study_name="s")


@pytest.fixture
def soon(monkeypatch):
    """A lease that beats and runs out faster than a user's."""
    lease = importlib.import_module("dilnas.search.lease")
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)


def told(folder, options, beat):
    """A driver whose one error is kept in a file; its exit code is the error's."""
    lease = importlib.import_module("dilnas.search.lease")
    try:
        drive(folder, options, 0, beat)
    except DilnasError as error:
        (folder / "error.txt").write_text(str(error))
        sys.exit(error.exit_code)
    assert lease.LEASE_SECONDS == 15


def start(folder, options, beat=0.3):
    process = processes().Process(target=told, args=(folder, options, beat))
    process.start()
    return process


def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def suspend(pid, database):
    """Stop a process, as a machine that sleeps, while it is not writing to the database."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            with contextlib.closing(sqlite3.connect(database, timeout=0)) as connection:
                connection.execute("begin immediate")
            return
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)


@pytest.mark.slow
def test_a_copy_of_a_run_is_refused_while_its_search_runs(tmp_path):
    """Two processes, two directories, one ledger: the second ends with one error that names the
    first; when that was killed, the second goes on at once; when it is awake again after it was
    taken for gone, it stops.
    """
    options = SLOW | {"storage": f"sqlite:///{tmp_path}/all.db"}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    first = start(one, options)
    try:
        until((one / "log.txt").exists)
        shutil.copytree(one, two)
        second = start(two, options)
        second.join(60)
        assert second.exitcode == 2
        error = (two / "error.txt").read_text()
        assert f"another search is running in this ledger (process {first.pid} on" in error

        suspend(first.pid, tmp_path / "all.db")
        second = start(two, options)
        lines = len((two / "log.txt").read_text())
        until(lambda: len((two / "log.txt").read_text()) > lines)
        os.kill(first.pid, signal.SIGCONT)
        first.join(60)
        assert first.exitcode == 2
        assert "another search has taken over this ledger" in (one / "error.txt").read_text()
        second.kill()
        second.join()
        began = time.monotonic()
        third = start(two, options)
        lines = len((two / "log.txt").read_text())
        until(lambda: len((two / "log.txt").read_text()) > lines)
        assert time.monotonic() - began < 15
        third.kill()
        third.join()
    finally:
        first.kill()


def test_a_driver_of_another_machine_is_looked_at_for_a_while(study, soon, monkeypatch):
    """One that beats is left alone, one that is silent is taken for gone; a lease that was given
    back is free at once.
    """
    module = importlib.import_module("dilnas.search.lease")
    said = []
    other = Lease(study, "there")
    other._me["machine"] = "another"
    other.take(said.append)
    with pytest.raises(RunError, match="another search is running"):
        Lease(study, "here").take(said.append)
    other._over.set()
    other._thread.join()
    assert len(said) == 1
    began = time.monotonic()
    with held(study, "here", said.append) as lease:
        assert time.monotonic() - began >= 2
        lease.check()
    assert len(said) == 2
    began = time.monotonic()
    with held(study, "here", said.append):
        assert time.monotonic() - began < 2
    assert len(said) == 2 and not module._here - {other._id}
    assert threading.active_count() < 20
