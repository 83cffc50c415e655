"""What a search has spent: every second of every worker once, whatever was killed on the way."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.search.candidate import Figures, Lost, RungScore
from dilnas.search.clock import SearchClock, elapsed
from dilnas.search.ledger import Ledger
from dilnas.search.spend import gpu_seconds, spend_table

AXES = [("a", 1000)]
COST = Figures(gflops=1.5, mparams=2.0, mb=8.0)
RUNGS = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["new", "new", "go on", "end", "end", "end", "fail", "reject", "kill",
                         "lose", "prune"]),
        st.integers(0, 10**6), st.floats(0, 50, allow_nan=False),
    ),
    max_size=40,
)  # fmt: skip


class Story:
    """A search told at random, which keeps its own account of the seconds."""

    def __init__(self):
        self.storage = optuna.storages.InMemoryStorage()
        self.now = 0.0
        self.flying = {}  # number -> (rung, began)
        self.work = []  # (number, seconds, gpus, images, lost)
        self.gpus = 0.0
        self.open(0.0)

    def open(self, gpus):
        self.ledger = Ledger(self.storage, "s", AXES, "gflops")
        self.gpus = gpus
        self.ledger.begin(self.now, gpus)

    def close_unit(self, number, images, *, lost=False):
        rung, began = self.flying.pop(number)
        self.work.append((number, self.now - began, self.gpus, images, lost))
        return rung

    def step(self, what, draw, seconds):
        self.now += seconds
        flying = sorted(self.flying)
        waiting = [c.number for c in self.ledger.candidates if c.waits]
        undone = [
            c.number for c in self.ledger.candidates
            if c.state == "running" and not c.waits and c.number not in self.flying
        ]  # fmt: skip
        number = draw % max(1, len(flying))
        if what == "new":
            new = self.ledger.create(
                code=(0,), key=f"{self.ledger.next_number}", layout="D1", origin="nsc",
                figures=COST, target=0, at=self.now,
            )  # fmt: skip
            self.flying[new.number] = (0, self.now)
        elif what == "reject":
            self.ledger.create(
                code=(0,), key="r", layout="D1", origin="nsc", figures=COST, rejected="too dear"
            )
        elif what == "go on" and (undone or waiting):
            chosen = (undone or waiting)[0]
            rung = max(self.ledger.candidates[chosen].rung + 1, 0)
            self.ledger.send(chosen, rung, self.now)
            self.flying[chosen] = (rung, self.now)
        elif what == "end" and flying:
            images = 10 + draw % 7
            rung = self.close_unit(flying[number], images)
            before = self.ledger.candidates[flying[number]].scores
            so_far = before[-1].images if before else 0
            score = RungScore(accuracy=0.5, seconds=1.0, images=so_far + images, at=self.now)
            self.ledger.score(flying[number], score)
            if rung == RUNGS - 1:
                self.ledger.complete(flying[number])
        elif what == "fail" and flying:
            self.close_unit(flying[number], 0)
            self.ledger.fail(flying[number], "it broke", self.now)
        elif what == "lose" and flying:  # its worker died
            rung = self.close_unit(flying[number], 0, lost=True)
            self.ledger.lose(flying[number], Lost(rung=rung, reason="gone", at=self.now))
        elif what == "kill":
            for one in flying:
                self.close_unit(one, 0, lost=True)
            self.open(float(draw % 3))
        elif what == "prune" and waiting:
            self.ledger.prune(waiting[0], "stopped")

    def expected(self, state):
        """Units, worker-seconds, GPU-seconds, images of the candidates in ``state``."""
        states = {c.number: c.state for c in self.ledger.candidates}
        flying = [
            (n, self.now - began, self.gpus, 0, False) for n, (_, began) in self.flying.items()
        ]
        mine = [
            w for w in self.work + flying
            if (w[4] if state == "lost" else states[w[0]] == state and not w[4])
        ]  # fmt: skip
        return (
            len(mine), sum(w[1] for w in mine), sum(w[1] * w[2] for w in mine),
            sum(w[3] for w in mine),
        )  # fmt: skip


def figures_of(row):
    return (row.units, row.worker_seconds, row.gpu_seconds, row.images)


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_every_second_of_every_worker_is_in_one_row(steps):
    """Rows are what an account kept by hand says; they add up to the total; nothing is forgotten.

    Kills, lost workers and other GPUs in a later session included; read back, it is the same.
    """
    story = Story()
    for step in steps:
        story.step(*step)
    candidates, sessions = story.ledger.candidates, story.ledger.sessions
    *rows, total = spend_table(candidates, sessions, story.now)
    for row in rows:
        if row.on != "final":
            assert figures_of(row) == pytest.approx(story.expected(row.on)), row.on
    for name in ("units", "worker_seconds", "gpu_seconds", "images"):
        assert getattr(total, name) == pytest.approx(sum(getattr(row, name) for row in rows))
    states = [row.candidates for row in rows if row.on not in ("lost", "final")]
    assert total.candidates == sum(states) == len(candidates)
    assert total.gpu_seconds == pytest.approx(gpu_seconds(candidates, sessions, story.now))
    again = Ledger(story.storage, "s", AXES, "gflops")
    assert spend_table(again.candidates, again.sessions, story.now) == [*rows, total]
    assert elapsed(again) <= story.now


def test_the_clock_goes_on_where_the_ledger_last_saw_it(tmp_path):
    """A beat every ten seconds is kept; what was after the last is lost, and no more."""
    time = [1000.0]
    ledger = Ledger(f"sqlite:///{tmp_path}/study.db", "s", AXES, "gflops")
    clock = SearchClock(ledger, lambda: time[0])
    for seconds in (4, 9.9, 13, 19):
        time[0] = 1000 + seconds
        clock.beat()
    assert clock() == 19
    again = Ledger(f"sqlite:///{tmp_path}/study.db", "s", AXES, "gflops")
    assert elapsed(again) == 13
    later = SearchClock(again, lambda: time[0])
    assert later.before == later() == 13
    again.create(code=(0,), key="k", layout="D1", origin="nsc", figures=COST, target=0, at=14.5)
    assert elapsed(again) == 14.5
    time[0] += 5
    later.beat(now=True)
    assert elapsed(Ledger(f"sqlite:///{tmp_path}/study.db", "s", AXES, "gflops")) == 18


def test_a_ledger_that_kept_no_attempts_is_read_as_it_is():
    """Scores without a time count for as long as their training says."""
    storage = optuna.storages.InMemoryStorage()
    ledger = Ledger(storage, "s", AXES, "gflops")
    ledger.create(code=(0,), key="k", layout="D1", origin="nsc", figures=COST, target=0)
    trial = ledger._ids[0]
    old = [{"accuracy": 0.5, "seconds": 3.0, "images": 10},
           {"accuracy": 0.6, "seconds": 7.0, "images": 30}]  # fmt: skip
    storage.set_trial_user_attr(trial, "scores", old)
    storage.set_trial_user_attr(trial, "attempts", [])
    again = Ledger(storage, "s", AXES, "gflops")
    total = spend_table(again.candidates, again.sessions, 0.0)[-1]
    assert figures_of(total) == (2, 7.0, 0.0, 30)
