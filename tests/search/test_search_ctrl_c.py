"""Ctrl-C in the real command, at its start, at its end, twice: it stops soon and loses nothing."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from test_search_kill import end, session_processes, until

HERE = Path(__file__).parent

COMMAND = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from closed_form_world import World
world = World(sys.argv[2], pause=0.3)
importlib.import_module("dilnas.search.evaluator").TrainingEvaluator = lambda *_: world
from dilnas.cli import main
print("started", flush=True)
main(sys.argv[3:])
"""
"""The command line, with an evaluator that answers at once."""


def start(folder):
    command = ["search", "--space", "smoke", "--trials", "4", "--workers", "2"]
    with (folder / "said.txt").open("a") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(HERE), str(folder / "log.txt"), *command,
             "--out", str(folder / "run")],
            stdout=subprocess.PIPE, stderr=said, start_new_session=True, text=True,
        )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    return process


def interrupt(process):
    """As a terminal does it: to the whole group."""
    os.killpg(process.pid, signal.SIGINT)


def stopped(folder, process):
    """It ends with 130 and without a traceback, and Ray with it."""
    try:
        process.stdout.read()
        assert process.wait(90) == 130, said(folder)
        until(lambda: not session_processes(process.pid), 120)
    finally:
        end(process)
    assert "Traceback" not in said(folder) and "bug" not in said(folder)


def said(folder):
    return (folder / "said.txt").read_text()


def worked(folder):
    log = folder / "log.txt"
    return log.read_text().splitlines() if log.exists() else []


def goes_on(folder, *, again):
    """The same command ends whole; at most ``again`` rungs are worked on twice."""
    process = start(folder)
    try:
        process.stdout.read()
        assert process.wait(300) == 0, said(folder)
    finally:
        end(process)
    head = json.loads((folder / "run" / "run.json").read_text())
    storage = f"sqlite:///{folder}/run/study.db"
    trials = optuna.load_study(study_name=head["study"], storage=storage).trials
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    assert len(trials) == 4
    counts = collections.Counter(worked(folder))
    assert sum(count - 1 for count in counts.values()) <= again
    assert (folder / "run" / "report.html").exists()


@pytest.mark.slow
def test_ctrl_c_while_it_starts(tmp_path):
    """Whether it reads the space, opens the ledger or waits for Ray: it ends, and leaves no Ray."""
    for after in (1.0, 4.0):
        process = start(tmp_path)
        time.sleep(after)
        interrupt(process)
        stopped(tmp_path, process)
    goes_on(tmp_path, again=2)


@pytest.mark.slow
def test_ctrl_c_in_the_finals_and_twice(tmp_path):
    """Two Ctrl-C at once in the search, one while the front is re-trained: then the search ends as
    if there had been none.
    """
    process = start(tmp_path)
    until(lambda: len(worked(tmp_path)) >= 3)
    interrupt(process)
    time.sleep(0.2)
    interrupt(process)
    stopped(tmp_path, process)
    process = start(tmp_path)
    until(lambda: any("seed-" in line for line in worked(tmp_path)))
    interrupt(process)
    stopped(tmp_path, process)
    assert "give the same command to go on" in said(tmp_path)
    goes_on(tmp_path, again=4)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(12))
def test_ctrl_c_at_any_time_while_it_starts(tmp_path, moment):
    """The same at twelve more moments, once and twice."""
    process = start(tmp_path)
    time.sleep(0.7 * moment)
    interrupt(process)
    if moment % 2:
        time.sleep(0.3)
        interrupt(process)
    stopped(tmp_path, process)
    goes_on(tmp_path, again=2)
