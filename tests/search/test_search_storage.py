"""A ledger whose database is locked or away: waited for, then one clear error; nothing is lost."""

import collections
import importlib
import json
import sqlite3
import threading
import time

import optuna
import postgres
import pytest
from closed_form_world import World

from dilnas.errors import RunError
from dilnas.ray_session import ray_session
from dilnas.search import search
from dilnas.search.candidate import Figures
from dilnas.search.events import Note, UnitDone
from dilnas.search.ledger import Ledger

AXES = [("dim", 4)]
FIGURES = Figures(gflops=1.0, mparams=1.0, mb=1.0)


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all searches of this module."""
    with ray_session(2):
        yield


@pytest.fixture
def patience(monkeypatch):
    """A search that gives up sooner than a user's does."""
    storage = importlib.import_module("dilnas.search.storage")
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(storage, "SQLITE_SECONDS", 0.5)


@pytest.fixture
def server():
    with postgres.running() as server:
        yield server


class Lock:
    """Another program in the middle of a transaction on an SQLite file."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("begin exclusive")

    def release(self):
        self.connection.close()


def create(ledger, key):
    return ledger.create(code=[1], key=key, layout="D1", origin="nsc", figures=FIGURES, target=0)


def run(folder, on_event=None, **options):
    world = World(str(folder / "log.txt"))
    values = {"space": "smoke", "trials": 6, "workers": 2, "out": str(folder / "run")}
    return search(**(values | options), evaluator=world, on_event=on_event)


def worked(folder):
    return collections.Counter((folder / "log.txt").read_text().splitlines())


def states(folder, url):
    head = json.loads((folder / "run" / "run.json").read_text())
    return [t.state.name for t in optuna.load_study(study_name=head["study"], storage=url).trials]


class At:
    """Calls ``act`` once, when the second unit is done; keeps what the user is told."""

    def __init__(self, act):
        self.act, self.units, self.notes = act, 0, []

    def __call__(self, event):
        if isinstance(event, Note):
            self.notes.append(event.text)
        if isinstance(event, UnitDone):
            self.units += 1
            if self.units == 2:
                self.act()


def test_a_locked_ledger_is_waited_for(tmp_path):
    """Longer than SQLite waits by itself: the user is told, then every write is there, once."""
    said = []
    url = f"sqlite:///{tmp_path}/study.db"
    ledger = Ledger(url, "s", AXES, "gflops", say=said.append)
    create(ledger, "a")
    for write in (lambda: ledger.fail(0, "no reason"), lambda: create(ledger, "b")):
        lock = Lock(tmp_path / "study.db")
        threading.Timer(3, lock.release).start()
        started = time.monotonic()
        write()
        assert time.monotonic() - started > 2
    assert "database is locked; trying for 60 seconds" in said[0]
    assert said[1] == "the ledger answers again"
    read = Ledger(url, "s", AXES, "gflops").candidates
    assert [(c.key, c.state) for c in read] == [("a", "failed"), ("b", "running")]


def test_a_ledger_that_stays_locked_ends_the_search_and_loses_nothing(tmp_path, cluster, patience):
    """One error that names the file; the same call then goes on and no rung is worked on twice."""
    path = tmp_path / "run" / "study.db"
    locks = []
    with pytest.raises(RunError, match=r"study\.db: the ledger cannot be used: database is locked"):
        run(tmp_path, At(lambda: locks.append(Lock(path))))
    locks[0].release()
    result = run(tmp_path)
    assert max(worked(tmp_path).values()) == 1
    assert len(result.trials) == 6
    assert set(states(tmp_path, f"sqlite:///{path}")) <= {"COMPLETE", "PRUNED"}


def test_a_postgresql_that_stops_is_waited_for(tmp_path, cluster, server):
    """It crashes in the middle of a search and is back seconds later: the search ends whole."""

    def crash():
        server.stop()
        threading.Timer(2, server.start).start()

    at = At(crash)
    result = run(tmp_path, at, storage=server.url)
    assert any("trying for 60 seconds" in note for note in at.notes)
    assert "the ledger answers again" in at.notes
    assert len(result.trials) == 6 and max(worked(tmp_path).values()) == 1
    assert set(states(tmp_path, server.url)) <= {"COMPLETE", "PRUNED"}


@pytest.mark.slow
def test_a_postgresql_that_stays_away_ends_the_search(tmp_path, cluster, server, patience):
    """One error; refused as long as it is away; when it is back the same call goes on."""
    with pytest.raises(RunError, match="the ledger cannot be used: connection to server"):
        run(tmp_path, At(server.stop), storage=server.url)
    with pytest.raises(RunError, match="the ledger's storage cannot be used: connection to server"):
        run(tmp_path, storage=server.url)
    server.start()
    result = run(tmp_path, storage=server.url)
    assert len(result.trials) == 6 and max(worked(tmp_path).values()) == 1
    assert set(states(tmp_path, server.url)) <= {"COMPLETE", "PRUNED"}
