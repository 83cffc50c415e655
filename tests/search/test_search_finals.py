"""Re-training of the front in whole searches: real Optuna storage, real Ray, a known evaluator."""

import collections
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from closed_form_world import World

from dilnas.errors import InputError
from dilnas.ray_session import ray_session
from dilnas.runs import RunDirectory
from dilnas.search import search
from dilnas.search.candidate import Attempt, Session
from dilnas.search.events import Progress, UnitDone
from dilnas.search.finals import FinalScore, final_note, final_times, sent_note
from dilnas.search.ledger import Ledger
from dilnas.search.limits import Limits
from dilnas.search.settings import Settings
from dilnas.search.spend import final_work, gpu_seconds, spend_table

HERE = Path(__file__).parent
RESULTS = ("front.csv", "trials.csv", "audit.json")


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all searches of this module."""
    with ray_session(2):
        yield


def run(folder, **options):
    world = World(
        str(folder / "log.txt"), images=2000, fails=options.pop("fails", ""),
        noise=options.pop("noise", 0.02), falls=options.pop("falls", False),
    )  # fmt: skip
    values = {
        "space": "smoke", "trials": 8, "workers": 2, "out": str(folder / "run"), "final_seeds": 3,
    }  # fmt: skip
    return search(**(values | options), evaluator=world)


def worked(folder):
    """How often each (trial, rung, seed) was really worked on."""
    return collections.Counter((folder / "log.txt").read_text().split("\n")[:-1])


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_front_is_trained_again_with_other_seeds_and_shown_with_its_spread(tmp_path, cluster):
    """Mean, standard deviation and test accuracy of three trainings of each member, none with the
    search's seed; every score of the search stays; progress counts them.
    """
    events = []
    result = run(tmp_path, on_event=events.append)
    members = [
        row for row in RunDirectory(tmp_path / "run").front_rows() if row["trial"] is not None
    ]
    assert len(members) >= 2
    world = World("", images=2000)
    for row in members:
        network = RunDirectory(tmp_path / "run").architecture(row["trial"])
        first, *again = (world.score(network, 2, seed)["accuracy"] for seed in (0, 1, 2, 3))
        assert row["val_accuracy"] == pytest.approx(first)
        assert row["final_accuracy"] == pytest.approx(statistics.fmean(again))
        assert row["final_std"] == pytest.approx(statistics.stdev(again))
        assert row["final_test_accuracy"] == pytest.approx(statistics.fmean(again) - 0.01)
        assert row["final_seeds"] == 3 and row["membership"] in ("clear", "tie", "beaten")
        folders = sorted(
            p.name
            for p in RunDirectory(tmp_path / "run").trial_directory(row["trial"]).iterdir()
            if p.is_dir()
        )
        assert folders == ["seed-1", "seed-2", "seed-3"]
    assert max(worked(tmp_path).values()) == 1
    done = [e for e in events if isinstance(e, UnitDone) and e.seed is not None]
    assert sum(isinstance(e, UnitDone) for e in events) == result.trained
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert last.final_done == last.final_units == len(done)
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert audit == result.audit
    assert {line["target"] for line in audit["lines"]} == {"full fidelity", "re-trained"}


@pytest.mark.slow
def test_more_seeds_later_are_added_and_none_is_trained_twice(tmp_path, cluster):
    """0, then 1, then 3, then 2 again: only what is new is trained; the trials stay as they are."""
    none = run(tmp_path, final_seeds=0)
    assert all(row.get("final_accuracy", "") == "" for row in none.front)
    assert any(row.get("membership") for row in none.front)
    one = run(tmp_path, final_seeds=1)
    assert one.trained > 0 and one.trials[0]["final_scores"] != "[]"
    three = run(tmp_path, final_seeds=3)
    assert three.trained == 2 * one.trained
    assert max(worked(tmp_path).values()) == 1
    again = run(tmp_path, final_seeds=2)
    assert again.trained == 0 and again.front == three.front
    searched = [(row["trial"], row["rung_scores"]) for row in none.trials]
    assert searched == [(row["trial"], row["rung_scores"]) for row in three.trials]
    longer = run(tmp_path, final_seeds=3, trials=10)
    assert sum(row["state"] != "rejected" for row in longer.trials) == 10
    assert max(worked(tmp_path).values()) == 1


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("finals", "does not train again"),
        pytest.param("finals exit", "the worker died", marks=pytest.mark.slow),
    ],
)
def test_a_re_training_that_fails_is_recorded_with_its_reason_and_stops_nothing(
    tmp_path, cluster, fails, reason
):
    """Candidates 1 and 2 raise, or end their worker twice, when trained again: said in their rows,
    not tried once more.
    """
    result = run(tmp_path, fails=fails, trials=4, final_seeds=2)
    lost = {row["on"]: row["units"] for row in result.spend}["lost"]
    assert (lost > 0) == (fails == "finals exit")
    by_number = {row["trial"]: row for row in result.front if row.get("trial", "") != ""}
    failed = {n: row for n, row in by_number.items() if n in (1, 2)}
    assert failed
    for row in failed.values():
        assert reason in row["final_failed"]
        assert row["final_failed"].endswith("for the second time") == (fails == "finals exit")
        assert row["final_accuracy"] == "" and row["final_seeds"] == 0
        assert row["membership"] == ""
    others = [row for n, row in by_number.items() if n not in (1, 2)]
    assert all(row["final_seeds"] == 2 for row in others)
    assert run(tmp_path, fails=fails, trials=4, final_seeds=2).trained == 0


def test_a_time_limit_leaves_a_share_for_the_re_training(tmp_path):
    """Trials end at three quarters of it; where nothing is trained again, they have it all."""
    ledger = Ledger(f"sqlite:///{tmp_path}/study.db", "s", [("a", 2)], "gflops")
    values = {
        "space": "smoke", "budgets": {}, "objectives": ("accuracy", "gflops"), "trials": None,
        "time_limit": 100.0, "seed": 0, "data": "embedded", "proxy": "quick", "sampler": "auto",
        "storage": None,
    }  # fmt: skip
    for seeds, moment, over in ((2, 74, False), (2, 76, True), (0, 76, False), (0, 101, True)):
        settings = Settings.checked(**values, final_seeds=seeds)
        limits = Limits(settings, ledger, lambda moment=moment: moment)
        assert limits.search_over() == over
        assert limits.over() == (moment > 100)


def test_the_time_of_re_trainings_counts_those_that_were_killed_too():
    """Candidate 4: begun at 10 in session 0, killed; again at 32 in session 1, where its worker
    died at 40; the third went from 40 to 55. Candidate 5: begun at 50, goes on at 60.

        session 0: 0 ────10✗  session 1: 30 ──32✗40────55   60 now
    """
    sessions = [Session(at=0.0, gpus=1.0), Session(at=30.0, gpus=2.0)]
    tries = [Attempt(rung=1, at=at, session=s) for at, s in ((10.0, 0), (32.0, 1), (40.0, 1))]
    score = FinalScore(
        seed=7, accuracy=0.5, test_accuracy=0.5, seconds=9.0, images=64, at=55.0
    )  # fmt: skip
    notes = dict([
        sent_note(4, 7, tries), final_note(4, score),
        sent_note(5, 7, [Attempt(rung=1, at=50.0, session=1)]),
    ])  # fmt: skip
    again = final_work(notes, sessions, 60.0)
    found = [(n, w.seconds, w.gpus, w.images, w.lost) for n, w in again]
    assert found == [
        (4, 20.0, 1.0, 0, True), (4, 8.0, 2.0, 0, True), (4, 15.0, 2.0, 64, False),
        (5, 10.0, 2.0, 0, False),
    ]  # fmt: skip
    rows = {row.on: row for row in spend_table([], sessions, 60.0, again)}
    assert (rows["final"].candidates, rows["final"].units, rows["final"].worker_seconds) == (
        2,
        2,
        25,
    )
    assert (rows["lost"].candidates, rows["lost"].units, rows["lost"].worker_seconds) == (1, 2, 28)
    assert rows["total"].gpu_seconds == gpu_seconds([], sessions, 60.0, again) == 20 + 2 * 33
    assert max(final_times(notes)) == 55.0


def test_scores_of_partial_training_enter_no_front_however_high(tmp_path, cluster):
    """All fall from rung to rung by 10 points: those that stopped early have the highest scores.

    They are on no front, have no objectives in the ledger, do not count for the hypervolume, are
    not trained again and are in no pair of the audit.
    """
    result = run(tmp_path, falls=True, final_seeds=1, trials=16)
    states = {row["trial"]: row["state"] for row in result.trials}
    scores = {row["trial"]: row["val_accuracy"] for row in result.trials}
    best = max(scores, key=scores.__getitem__)
    assert states[best] == "pruned"
    members = [row["trial"] for row in result.front if row.get("trial", "") != ""]
    assert members and {states[n] for n in members} == {"complete"}
    assert {r["trial"] for r in result.trials if r["on_front"]} == set(members)
    assert {states[r["trial"]] for r in result.trials if r["final_scores"]} == {"complete"}
    complete = sum(state == "complete" for state in states.values())
    assert {line["candidates"] for line in result.audit["lines"]
            if line["target"] == "full fidelity"} == {complete}  # fmt: skip
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    study = optuna.load_study(
        study_name=head["study"], storage=f"sqlite:///{tmp_path}/run/study.db"
    )
    assert {t.number for t in study.best_trials} <= set(members)
    assert all(t.values is None for t in study.trials if states[t.number] != "complete")
    top = max(scores[n] for n in members)
    assert result.hypervolume < top


@pytest.mark.parametrize("count", [-1, 1001, True, 1.5])
def test_a_number_of_seeds_out_of_range_is_refused(tmp_path, count):
    """One line that names the option; nothing is written."""
    with pytest.raises(InputError, match="--final-seeds"):
        run(tmp_path, final_seeds=count)
    assert not (tmp_path / "run").exists()


def driver(folder):
    """A search of its own process with one worker, that says every end of a re-training."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from closed_form_world import World\n"
        "from dilnas.search import search\n"
        "from dilnas.search.events import UnitDone\n"
        "def show(e):\n"
        "    if isinstance(e, UnitDone) and e.seed is not None: print('final', flush=True)\n"
        "world = World(sys.argv[2] + '/log.txt', pause=0.1, images=2000)\n"
        "r = search(space='smoke', trials=6, workers=1, final_seeds=3, out=sys.argv[2] + '/run',\n"
        "    evaluator=world, on_event=show)\n"
        "sys.exit(130 if r.interrupted else 0)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(HERE), str(folder)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def after_finals(process, count):
    for _ in range(count):
        assert process.stdout.readline() == "final\n"


@pytest.mark.slow
def test_a_kill_in_the_middle_of_the_re_training_changes_no_result(tmp_path):
    """Killed after two re-trainings, interrupted after two more, then run to its end: all files of
    results are, to the byte, those of a search that was left alone.
    """
    (tmp_path / "killed").mkdir()
    (tmp_path / "alone").mkdir()
    process = driver(tmp_path / "killed")
    after_finals(process, 2)
    process.kill()
    process.wait()
    process = driver(tmp_path / "killed")
    after_finals(process, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    so_far = rows_of(tmp_path / "killed" / "run" / "front.csv")
    assert any(row["final_accuracy"] for row in so_far)
    for folder in ("killed", "alone"):
        process = driver(tmp_path / folder)
        assert process.wait(300) == 0
    for name in RESULTS:
        one, other = ((tmp_path / f / "run" / name).read_text() for f in ("killed", "alone"))
        assert one == other, name
    final = {row["on"]: row for row in rows_of(tmp_path / "killed" / "run" / "spend.csv")}["final"]
    shown = rows_of(tmp_path / "alone" / "run" / "trials.csv")
    scores = [json.loads(row["final_scores"]) for row in shown if row["final_scores"]]
    assert int(final["units"]) == sum(map(len, scores)) == 3 * len(scores)
    # What was in the air when the driver died may be begun twice, a recorded one never.
    assert sum(count - 1 for count in worked(tmp_path / "killed").values()) <= 2
