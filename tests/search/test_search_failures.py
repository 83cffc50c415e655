"""Candidates that hang or run out of memory, and machines on which nothing can be trained."""

import re
import time
from pathlib import Path

import optuna
import pytest
from closed_form_world import World
from hypothesis import given
from hypothesis import strategies as st

from dilnas.errors import InputError, RunError
from dilnas.ray_session import ray_session
from dilnas.search import search
from dilnas.search.candidate import Figures, RungScore
from dilnas.search.failures import SameFailure, reason_of, ruins_worker
from dilnas.search.ledger import Ledger
from dilnas.search.timeouts import FACTOR, SHORTEST, UNKNOWN, TimeOut
from dilnas.search.unit import Unit


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all searches of this module."""
    with ray_session(2):
        yield


def run(folder, fails, **options):
    values = {"space": "smoke", "trials": 6, "workers": 2, "out": str(folder / "run")}
    world = World(str(folder / "log.txt"), fails=fails)
    return search(**(values | options), evaluator=world)


def reasons(result):
    return {row["trial"]: row["reason"] for row in result.trials if row["state"] == "failed"}


def test_a_hang_costs_its_candidate_and_stops_nothing(tmp_path, cluster):
    """In native code that holds the GIL, and in a process that is stopped: both are killed.

    The candidates have failed with the reason, the others are trained, the seconds are counted, and
    no worker that hangs is left.
    """
    result = run(tmp_path, "hang", trial_timeout=3)
    assert reasons(result) == {1: "timed out after 3 s", 2: "timed out after 3 s"}
    assert {row["state"] for row in result.trials} <= {"failed", "complete", "pruned"}
    spent = {row["on"]: row for row in result.spend}
    assert spent["failed"]["units"] == 2 and spent["failed"]["worker_seconds"] >= 6
    assert spent["lost"]["units"] == 0
    for number in (1, 2):
        assert gone(int((tmp_path / f"log.txt.{number}").read_text()))


def gone(pid, seconds=30):
    """Whether the process ends within that time."""
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.2)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("GPU memory", r"out of GPU memory: Tried to allocate \d.00 GiB\. GPU 0 has a total "
         r"capacity of 79.10 GiB of which 1.50 GiB"),
        pytest.param("host memory", "out of host memory", marks=pytest.mark.slow),
        ("torch's host memory", r"out of host memory: can't allocate memory: you tried.*"),
        pytest.param(
            "lost GPU", "the worker lost its GPU: RuntimeError: CUDA error: an illegal memory "
            r"access was encountered.*; for the second time", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_memory_that_runs_out_fails_its_candidate_with_the_reason(tmp_path, cluster, fails, reason):
    """On the GPU, on the host, and a GPU that is lost to its process; the others are trained."""
    result = run(tmp_path, fails)
    told = reasons(result)
    assert set(told) == {1, 2}
    for text in told.values():
        assert re.fullmatch(reason, text), text
    assert sum(row["state"] in ("complete", "pruned") for row in result.trials) == 4
    failed = next(row for row in result.spend if row["on"] == "failed")
    assert failed["candidates"] == 2


def test_a_process_that_has_lost_its_gpu_trains_nothing_more(cluster):
    """The errors after which each later training would fail too are told from others."""
    assert ruins_worker(RuntimeError("CUDA error: device-side assert triggered"))
    assert ruins_worker(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    assert not ruins_worker(ValueError("no"))
    assert not ruins_worker(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert reason_of(ValueError("a\n  b")) == "ValueError: a b"
    assert reason_of(MemoryError()) == "out of host memory"


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("all raise", "this one does not train"),
        pytest.param("all GPU memory", "out of GPU memory", marks=pytest.mark.slow),
        pytest.param("all nan", "diverged", marks=pytest.mark.slow),
    ],
)
def test_a_machine_on_which_all_fail_ends_the_search(tmp_path, cluster, fails, reason):
    """After five equal failures and no success: one error with the reason, not a burnt budget.

    When what was wrong has been put right, the same command goes on.
    """
    with pytest.raises(RunError, match=f"5 candidates failed in the same way.*{reason}"):
        run(tmp_path, fails, trials=40)
    result = run(tmp_path, "", trials=12)
    assert len(reasons(result)) in (5, 6, 7)  # two workers: others may have failed meanwhile
    assert sum(row["state"] in ("complete", "pruned") for row in result.trials) >= 5


def test_failures_that_differ_or_follow_a_success_end_nothing():
    """Numbers in a reason do not matter, other words do."""
    same = SameFailure()
    for size in range(4):
        same.add(f"out of GPU memory: Tried to allocate {size}.25 GiB")
    same.check()
    same.add("ValueError: no")
    for _ in range(3):
        same.add("ValueError: no")
    same.check()
    same.add("ValueError: no")
    with pytest.raises(RunError, match="5 candidates failed in the same way"):
        same.check()


def test_a_time_out_that_is_none_is_refused(tmp_path):
    """Nothing is written."""
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--trial-timeout"):
            run(tmp_path, "", trial_timeout=value)
    assert not (tmp_path / "run").exists()


def told(took):
    """A ledger of candidates, each (GFLOPs, seconds of its rungs)."""
    ledger = Ledger(optuna.storages.InMemoryStorage(), "s", [("a", 9)], "gflops")
    for gflops, seconds in took:
        now = 0.0
        one = ledger.create(
            code=(0,), key=f"{ledger.next_number}", layout="D", origin="gp", target=0, at=now,
            figures=Figures(gflops=gflops, mparams=1.0, mb=1.0),
        )  # fmt: skip
        for rung, more in enumerate(seconds):
            if rung:
                ledger.send(one.number, rung, now)
            now += more
            ledger.score(one.number, RungScore(accuracy=0.5, seconds=now, images=9, at=now))
    return ledger


def limit(ledger, number, rung, fixed=None, *, final=False):
    unit = Unit(number=number, rung=rung, architecture={}, directory="", seed=0, final=final)
    return TimeOut(ledger, lambda: 1e6, fixed)(unit)


def test_the_time_out_comes_from_like_trainings():
    """Ten times the longest to that rung, in proportion to the FLOPs of a cheaper one."""
    ledger = told([(1.0, [100.0, 400.0]), (2.0, [150.0]), (4.0, [])])
    assert limit(ledger, 3 - 1, 0) == 10 * 4 * 100
    assert limit(ledger, 0, 0) == 10 * 150
    assert limit(ledger, 1, 1) == 10 * 2 * 400
    assert limit(told([(1.0, [100.0]), (1.0, [])]), 0, 1) == 100 * 100
    assert limit(told([(1.0, [0.5]), (1.0, [])]), 1, 0) == SHORTEST
    assert limit(told([(1.0, [])]), 0, 0) == UNKNOWN
    assert limit(ledger, 2, 0, fixed=7.0) == 7.0
    assert limit(ledger, 0, 1, final=True) == 10 * (150 + 400)
    # A time of the user's is for a rung; a re-training goes through both.
    assert limit(ledger, 0, 1, fixed=7.0, final=True) == 14.0


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=8), st.floats(1.0, 0.99 * FACTOR))
def test_nothing_like_the_others_is_killed(seconds, slower):
    """A training as long as the longest of its kind, on a machine almost ten times slower."""
    ledger = told([(1.0, [each]) for each in seconds] + [(1.0, [])])
    allowed = limit(ledger, len(seconds), 0)
    assert allowed >= SHORTEST and allowed > max(seconds) * slower
