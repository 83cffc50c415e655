"""Drivers and workers of real searches, killed with -9 at moments drawn from a seed."""

import collections
import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import optuna
from closed_form_world import World

RUNGS = World("").rungs

PAUSE = 0.1
"""Seconds that a rung takes: long enough that a kill hits one now and then."""

READY = [
    "dilnas.report", "dilnas.search.driver", "optuna.storages._rdb.models", "ray.tune", "torch",
    "killing",
]  # fmt: skip
"""What the drivers find imported: the moments of a kill are then spread over what a driver does."""


def fork_server():
    """A server of forks with what READY names and with this moment's environment: in it Ray says
    how a cluster that this process has started is to be spoken to.
    """
    # One that other tests have started would serve what it was started with.
    forkserver._forkserver._stop()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(READY)
    return context


def drive(folder, options, address):
    """The search in ``folder`` with the workers of the cluster at ``address``."""
    log = os.open(folder / "driver.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # The cluster is known to answer; asking takes as long as all the rest of the start.
    settings = importlib.import_module("dilnas.search.settings")
    assert callable(settings.check_cluster)
    settings.check_cluster = lambda address: None
    search = importlib.import_module("dilnas.search").search
    world = World(str(folder / "log.txt"), pause=PAUSE)
    search("smoke", out=str(folder / "run"), address=address, evaluator=world, **options)


def scores(folder):
    """What the ledger holds by "trial rung", and by "trial rung seed-S" of re-trainings, whose
    rungs have one score together; asked without writing, also of a torn one.
    """
    path = folder / "run" / "study.db"
    found = {}
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger,
    ):
        rows = ledger.execute(
            "select number, value_json from trials join trial_user_attributes using (trial_id)"
            " where key = 'scores'"
        )
        for number, text in rows:
            found |= {f"{number} {rung}": score for rung, score in enumerate(json.loads(text))}
        rows = ledger.execute(
            "select key, value_json from study_user_attributes where key like 'final:%'"
        )
        for key, text in rows:
            _, number, seed = key.split(":")
            if (score := json.loads(text))["accuracy"] is not None:
                found |= {f"{number} {rung} seed-{seed}": score for rung in range(RUNGS)}
    return found


def trials(folder):
    head = json.loads((folder / "run" / "run.json").read_text())
    storage = f"sqlite:///{folder}/run/study.db"
    return optuna.load_study(study_name=head["study"], storage=storage).trials


def worked(folder):
    """Lines of the log: each rung, "trial rung", that was really worked on, in order."""
    log = folder / "log.txt"
    return log.read_text().splitlines() if log.exists() else []


def workers_under(raylet):
    """Ids of the worker processes that ``raylet`` has started, idle ones too."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = (folder / "stat").read_text()
            name, rest = text[text.index("(") + 1 :].rsplit(") ", 1)
            ours = int(rest.split()[1]) == raylet and name.startswith("ray::")
            if ours and name not in ("ray::DashboardA", "ray::RuntimeEnv"):
                found.append(int(folder.name))
    return sorted(found)


@dataclass
class Killer:
    """Kills at random moments until it has killed ``wanted`` times, then lets the search end.

    Attributes:
        recorded: (scores in the ledger, lines in the log) right after each kill.
    """

    folder: Path
    forks: object
    """Context that ``fork_server`` gave."""
    address: str
    raylet: int
    rng: object
    workers: int
    trials: int
    wanted: int
    share: float
    """Of kills that hit the driver; the others hit a worker."""
    final_seeds: int = 1
    hit: collections.Counter = field(default_factory=collections.Counter)
    recorded: list = field(default_factory=list)

    def run(self):
        self.folder.mkdir(exist_ok=True)
        while self.hit.total() < self.wanted:
            if self._life() == 0:
                self.trials += 6  # more of the same search, so that there is something to kill
        process = self._start()
        process.join(300)
        assert process.exitcode == 0, (process.exitcode, self._said())

    def _start(self):
        options = {"trials": self.trials, "workers": self.workers, "final_seeds": self.final_seeds}
        process = self.forks.Process(target=drive, args=(self.folder, options, self.address))
        process.start()
        return process

    def _life(self):
        """One driver, until it is killed or ends by itself; its exit code."""
        process = self._start()
        while process.is_alive() and self.hit.total() < self.wanted:
            driver = self.rng.random() < self.share
            self._await_moment(process)
            if driver:
                process.kill()
                process.join()
                if process.exitcode == -signal.SIGKILL:  # else it had ended by itself
                    self._count("driver")
            elif found := workers_under(self.raylet):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.rng.choice(found), signal.SIGKILL)
                    self._count("worker")
        if process.is_alive():
            process.join(300)
        assert process.exitcode in (0, -signal.SIGKILL), (process.exitcode, self._said())
        return process.exitcode

    def _await_moment(self, process):
        """Some time from now, or soon after some more rungs."""
        more = 0 if self.rng.random() < 0.3 else self.rng.randint(1, 4)
        lines = len(worked(self.folder)) + more
        end = time.monotonic() + 60
        while process.is_alive() and len(worked(self.folder)) < lines:
            assert time.monotonic() < end, f"nothing is worked on: {self._said()}"
            time.sleep(0.01)
        time.sleep(self.rng.uniform(0, 2 * PAUSE if more else 3))

    def _count(self, whom):
        self.hit[whom] += 1
        self.recorded.append((scores(self.folder), len(worked(self.folder))))

    def _said(self):
        return (self.folder / "driver.txt").read_text()[-3000:]

    def check(self):
        """The rules, from the ledger and the log."""
        ended = trials(self.folder)
        states = collections.Counter(t.state.name for t in ended)
        assert not states.keys() - {"COMPLETE", "PRUNED", "FAIL"}, states
        tried = [t for t in ended if "rejected" not in t.user_attrs]
        assert len(tried) == self.trials
        assert [t.number for t in ended] == list(range(len(ended)))
        assert len({t.user_attrs["key"] for t in ended}) == len(ended)
        self._check_nothing_is_lost()
        self._check_failures([t for t in tried if t.state.name == "FAIL"])

    def _check_nothing_is_lost(self):
        """What was in the ledger after a kill is in it still, and was not worked on again."""
        now, log = scores(self.folder), worked(self.folder)
        for before, lines in self.recorded:
            assert before == {rung: now[rung] for rung in before}
            assert not before.keys() & set(log[lines:])
        assert now.keys() <= set(log)
        # Only what a kill interrupted was begun again: by a driver's all that its workers did.
        again = len(log) - len(set(log))
        assert again <= self.hit["worker"] + self.workers * self.hit["driver"]

    def _check_failures(self, failed):
        """Who failed did so with its worker, twice; every second try is in the ledger."""
        second = [t for t in failed if t.user_attrs["reason"].endswith("for the second time")]
        assert second == failed
        lost = [one for t in trials(self.folder) for one in t.user_attrs.get("lost", ())]
        assert all(one["reason"].startswith("the worker died") for one in lost)
        assert len(lost) + len(failed) <= self.hit["worker"] + self.hit["driver"]
        with (self.folder / "run" / "trials.csv").open() as file:
            assert sum(",failed," in line for line in file) == len(failed)


# The drivers are forked by a server that must find this module.
sys.path.insert(0, str(Path(__file__).parent))
