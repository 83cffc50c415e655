"""The real command, killed: what is left of it, and what the same command makes of that."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

TRIALS = 4
COMMAND = (
    sys.executable, "-m", "dilnas", "search", "--space", "smoke", "--proxy", "smoke",
    "--trials", str(TRIALS), "--budget-mparams", "1.4", "--final-seeds", "0",
)  # fmt: skip


def start(run, workers):
    """The command in a process group of its own, as a terminal starts it."""
    log = run.with_suffix(".log").open("a")
    return subprocess.Popen(
        [*COMMAND, "--workers", str(workers), "--out", str(run)],
        stdout=log, stderr=log, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def trials(run):
    head = json.loads((run / "run.json").read_text())
    study = optuna.load_study(study_name=head["study"], storage=f"sqlite:///{run}/study.db")
    return study.trials


def scores(run):
    """The scores that the ledger holds, by (trial, rung)."""
    if not has_trials(run / "study.db"):
        return {}
    with contextlib.suppress(FileNotFoundError, KeyError, optuna.exceptions.OptunaError):
        return {
            (trial.number, rung): score
            for trial in trials(run)
            for rung, score in enumerate(trial.user_attrs.get("scores", ()))
        }
    return {}


def has_trials(path):
    """Whether the ledger is there; asked without writing, while its driver may be creating it."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger,
    ):
        return ledger.execute("select count(*) from trials").fetchone()[0] > 0
    return False


def until(what, seconds=600):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def session_processes(session):
    """Processes of the session that ``start`` began, by id: Ray's too, wherever they moved."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            text = (folder / "stat").read_text()
            name, rest = text[text.index("(") + 1 :].rsplit(") ", 1)
            if int(rest.split()[3]) == session and rest[0] != "Z":
                found[int(folder.name)] = name
    return found


def workers_of(session):
    return [pid for pid, name in session_processes(session).items() if name.startswith("ray::_In")]


def end(process):
    """Kill what a failed test may have left."""
    for pid in session_processes(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def killed(run, workers, how, ready):
    """Run until ``ready``, then kill; returns what the ledger held, when Ray is gone too."""
    process = start(run, workers)
    try:
        until(lambda: ready() or process.poll() is not None)
        if how == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not session_processes(process.pid), 240)
    finally:
        end(process)
    return scores(run)


def finished(run, workers):
    """Run to the end; nothing of it is left over then."""
    process = start(run, workers)
    try:
        assert process.wait(900) == 0, run.with_suffix(".log").read_text()
        until(lambda: not session_processes(process.pid), 240)
    finally:
        end(process)
    return [trial.params for trial in trials(run)]


def check_whole(run):
    """All trials ended, the front is complete, and the curve of each has each image once."""
    assert {trial.state.name for trial in trials(run)} <= {"COMPLETE", "PRUNED", "FAIL"}
    trained = [t for t in trials(run) if "rejected" not in t.user_attrs]
    assert len(trained) == TRIALS
    assert not [t for t in trained if t.state.name == "FAIL"]
    assert sum(t.state.name == "COMPLETE" for t in trained) >= 4
    assert (run / "front.csv").exists() and (run / "report.html").exists()
    assert not (run / ".ray").exists()


@pytest.mark.slow
def test_killed_twice_a_search_goes_on_as_if_it_had_not_been(tmp_path):
    """The driver is killed alone, then its whole group, in the middle of training.

    Ray goes with it. The same command then ends the search: the proposals are those of a search
    that was left alone, recorded scores are kept to the bit (nothing is trained again), no trial
    stays RUNNING.
    """
    run = tmp_path / "run"
    first = killed(run, 1, "driver", lambda: len(scores(run)) >= 2)
    second = killed(run, 1, "group", lambda: len(scores(run)) >= 5)
    assert len(first) >= 2 and len(second) >= 5
    params = finished(run, 1)
    check_whole(run)
    now = scores(run)
    assert {key: now[key] for key in first} == first
    assert {key: now[key] for key in second} == second
    alone = tmp_path / "alone"
    assert finished(alone, 1) == params
    assert {k: s["accuracy"] for k, s in scores(alone).items()} == {
        k: s["accuracy"] for k, s in now.items()
    }


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(tmp_path):
    """A worker that the system kills: its training is begun again, once, and says so."""
    run = tmp_path / "run"
    process = start(run, 1)
    try:
        until(lambda: scores(run) and workers_of(process.pid))
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        assert process.wait(900) == 0
    finally:
        end(process)
    check_whole(run)
    lost = [one["reason"] for t in trials(run) for one in t.user_attrs.get("lost", ())]
    assert len(lost) <= 1 and all("the worker died: killed" in reason for reason in lost)
    text = run.with_suffix(".log").read_text()
    assert "raylet" not in text and "Traceback" not in text
    # The semicolon: the table of what was spent has "lost with a kill, begun again".
    assert text.count("; begun again") == len(lost)


def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path):
    """SIGINT to the group, as a terminal sends it: 130, one hint, no Ray left; then it goes on."""
    run = tmp_path / "run"
    process = start(run, 2)
    try:
        until(lambda: len(scores(run)) >= 1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
        until(lambda: not session_processes(process.pid), 240)
    finally:
        end(process)
    text = run.with_suffix(".log").read_text()
    assert "give the same command to go on" in text and "Traceback" not in text
    before = scores(run)
    finished(run, 2)
    check_whole(run)
    after = scores(run)
    assert {key: after[key] for key in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments(tmp_path, seed):
    """Whatever the driver was doing when it was killed, three times over: the end is whole."""
    rng = random.Random(seed)
    run = tmp_path / "run"
    workers = rng.choice((1, 2))
    kept = {}
    for _ in range(3):
        stop = time.monotonic() + rng.uniform(2, 25)
        how = rng.choice(("driver", "group"))
        found = killed(run, workers, how, lambda stop=stop: time.monotonic() > stop)
        assert {key: found[key] for key in kept} == kept
        kept = found
    finished(run, workers)
    check_whole(run)
    now = scores(run)
    assert {key: now[key] for key in kept} == kept
