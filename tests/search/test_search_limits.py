"""One budget for all sessions of a search: time, GPU-hours, candidates; real Ray and Optuna."""

import csv
import json
import math

import pytest
import ray
from closed_form_world import World

from dilnas.errors import InputError
from dilnas.ray_session import QUIET
from dilnas.runs import RunDirectory
from dilnas.search import search
from dilnas.search.events import Note
from dilnas.search.ledger import Ledger
from dilnas.space import SearchSpace


@pytest.fixture(scope="module")
def cluster():
    """Ray with two CPU cores and two GPUs that nobody looks for; its address."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        ray.init(
            address="local", num_cpus=2, num_gpus=2, include_dashboard=False,
            log_to_driver=False, _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def run(folder, **options):
    said = []
    values = {"space": "smoke", "workers": 2, "sampler": "random", "out": str(folder / "run")}
    result = search(**(values | options), evaluator=World(str(folder / "log.txt")),
                    on_event=said.append)  # fmt: skip
    return result, [event.text for event in said if isinstance(event, Note)]


def ledger(folder):
    head = json.loads((folder / "run" / "run.json").read_text())
    axes = [(axis.name, len(axis)) for axis in SearchSpace.load("smoke").axes]
    return Ledger(f"sqlite:///{folder}/run/study.db", head["study"], axes, "gflops")


def test_the_time_of_all_sessions_counts(tmp_path, cluster):
    """A search that has had its time does nothing; with more time it goes on; with less it ends."""
    first, _ = run(tmp_path, trials=3)
    assert 0 < first.seconds < 900
    ledger(tmp_path).note("elapsed_s", 1000.0)
    late, said = run(tmp_path, trials=8, time_limit=900)
    assert late.trained == 0 and late.seconds == pytest.approx(1000, abs=0.5)
    assert said[-1].endswith("has finished; raise --time-limit to go on")
    more, _ = run(tmp_path, trials=8, time_limit=4000)
    assert sum(row["state"] != "rejected" for row in more.trials) == 8
    assert more.seconds > 1000
    assert run(tmp_path, trials=8, time_limit=4000)[0].trained == 0
    fewer, said = run(tmp_path, trials=4)
    assert fewer.trained == 0 and said[-1].endswith("raise --trials to go on")


def test_paused_candidates_of_a_search_that_is_out_of_time_are_told_so(tmp_path, cluster):
    """Interrupted, then given less time than it has had: all end, none is trained."""
    stop = World(str(tmp_path / "log.txt"), fails="start")
    with pytest.raises(Exception, match="no worker can start"):
        search(space="smoke", workers=2, trials=4, out=str(tmp_path / "run"), evaluator=stop)
    before = [c.state for c in ledger(tmp_path).candidates]
    assert "running" in before
    ledger(tmp_path).note("elapsed_s", 100.0)
    result, _ = run(tmp_path, trials=4, sampler="auto", time_limit=50)
    assert result.trained == 0
    assert {row["state"] for row in result.trials} == {"pruned"}
    assert all("before rung 0" in row["reason"] for row in result.trials)
    lost = next(row for row in result.spend if row["on"] == "lost")
    assert lost["units"] == before.count("running")


def test_gpu_hours_are_those_of_all_workers_and_sessions(tmp_path, cluster):
    """Units of one GPU each: the search ends by itself, again at once, and goes on with more."""
    values = {"gpus_per_trial": 1, "address": cluster}
    first, _ = run(tmp_path, **values, gpu_hours=1 / 3600)
    spent = first.spend[-1]
    assert spent["on"] == "total" and first.trained > 0
    assert spent["gpu_seconds"] == pytest.approx(spent["worker_seconds"])
    assert spent["gpu_seconds"] >= 0.6
    again, said = run(tmp_path, **values, gpu_hours=1 / 3600)
    assert again.trained == 0 and "raise --gpu-hours" in said[-1]
    assert again.spend == first.spend
    more, _ = run(tmp_path, **values, gpu_hours=(spent["gpu_seconds"] + 1) / 3600)
    assert more.trained > 0
    assert more.spend[-1]["gpu_seconds"] > spent["gpu_seconds"]


def test_gpu_hours_without_gpus_are_refused(tmp_path):
    """A limit that nothing comes nearer to is one clear error."""
    with pytest.raises(InputError, match="--gpu-hours"):
        run(tmp_path, gpu_hours=1.0)
    for value in (0, -1.0, math.nan):
        with pytest.raises(InputError, match="--gpu-hours"):
            run(tmp_path, gpu_hours=value, gpus_per_trial=1, address="127.0.0.1:9")
    assert not (tmp_path / "run").exists()


def test_the_run_directory_says_what_was_spent_and_how_the_front_grew(tmp_path, cluster):
    """spend.csv adds up; history.csv has a row a complete candidate, and never goes down."""
    result, _ = run(tmp_path, trials=10, budget_gflops=0.0115)
    directory = RunDirectory(tmp_path / "run")
    with directory.spend_csv.open() as file:
        *rows, total = list(csv.DictReader(file))
    for column in ("units", "worker_seconds", "gpu_seconds", "images"):
        assert float(total[column]) == pytest.approx(sum(float(row[column]) for row in rows))
    assert int(total["candidates"]) == len(result.trials)
    assert int(total["units"]) == result.trained
    final = next(row for row in rows if row["on"] == "final")
    searched = int(total["images"]) - int(final["images"])
    assert searched == sum(row["images"] or 0 for row in result.trials)
    assert {row["on"]: int(row["candidates"]) for row in rows}["rejected"] == sum(
        row["state"] == "rejected" for row in result.trials
    )
    with directory.history_csv.open() as file:
        grown = list(csv.DictReader(file))
    complete = {row["trial"] for row in result.trials if row["state"] == "complete"}
    assert {int(row["trial"]) for row in grown} == complete
    volumes = [float(row["hypervolume"]) for row in grown]
    assert volumes == sorted(volumes) and volumes[-1] == pytest.approx(result.hypervolume)
    seconds = [float(row["seconds"]) for row in grown]
    assert seconds == sorted(seconds) and seconds[-1] <= result.seconds
    started = [int(row["started"]) for row in grown]
    assert started == sorted(started) and 1 <= started[0] <= started[-1] <= 10
