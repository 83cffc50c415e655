"""A search under a latency: predicted for every candidate, measured for the front at the end."""

import csv
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from closed_form_world import World

from dilnas.errors import BudgetError, InputError, RunError
from dilnas.measure.machine import environment
from dilnas.predict import LatencyPredictor
from dilnas.predict.stored import write_calibration
from dilnas.ray_session import ray_session
from dilnas.search import search
from dilnas.search.events import Note
from dilnas.search.latency import FrontLatency
from dilnas.space import SearchSpace

sys.path.insert(0, str(Path(__file__).parents[1] / "predict"))
from synthetic import calibration

SMOKE = SearchSpace.load("smoke")


@pytest.fixture(scope="module")
def cluster():
    with ray_session(2):
        yield


@pytest.fixture(scope="module")
def found():
    return calibration(space="smoke", networks=80)


def written(found, folder, name="it.json"):
    write_calibration(found, folder / name)
    return str(folder / name)


def run(folder, profile, **options):
    world = World(str(folder / "log.txt"))
    notes = []
    values = {"space": "smoke", "trials": 10, "workers": 2, "out": str(folder / "run")}
    values |= {"profile": profile, "final_seeds": 0, "evaluator": world}
    result = search(
        **(values | options),
        on_event=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    return result, notes


def rows(folder, name):
    with (folder / "run" / name).open() as file:
        return list(csv.DictReader(file))


def half(found):
    """A budget that about half of the space meets, in ms."""
    seconds = LatencyPredictor(found).seconds(SMOKE, SMOKE.enumerate())
    return 1e3 * float(np.median(seconds[np.isfinite(seconds)]))


def test_nothing_above_the_budget_is_trained_and_latency_is_an_objective(tmp_path, cluster, found):
    """On another device than the calibration's: predicted, and it says why it was not measured."""
    budget = half(found)
    result, notes = run(
        tmp_path, written(found, tmp_path), budget_ms=budget, objectives=("accuracy", "ms")
    )
    trained = [row for row in rows(tmp_path, "trials.csv") if row["state"] != "rejected"]
    assert len(trained) == 10
    assert all(0 < float(row["predicted_ms"]) <= budget for row in trained)
    front = [row for row in rows(tmp_path, "front.csv") if row["trial"]]
    costs = [float(row["predicted_ms"]) for row in front]
    assert costs == sorted(costs) and len(costs) == len(set(costs))
    assert not any(row["measured_ms"] for row in front)
    assert any("predicted only: they are for Formula 1, this is" in note for note in notes)
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    assert head["objectives"] == ["accuracy", "ms"] and head["calibration"]["name"] == found.name
    assert result.hypervolume > 0


def test_where_the_device_is_there_the_front_is_measured(tmp_path, cluster, found, monkeypatch):
    """Predicted and measured side by side, the paper's variants too where they can be predicted."""
    monkeypatch.setattr(importlib.import_module("dilnas.search.latency"), "SECONDS", 0.5)
    here = replace(found, environment=environment("cpu"))
    _, notes = run(tmp_path, written(here, tmp_path), budget_gflops=0.009)
    front = [row for row in rows(tmp_path, "front.csv") if row["trial"]]
    assert front
    for row in front:
        low, middle, high = (float(row[f"measured_{x}ms"]) for x in ("low_", "", "high_"))
        assert 0 < low <= middle <= high
        assert float(row["predicted_ms"]) > 0
    assert "measuring the latency of the front" in notes
    # The calibration is of no real machine: this one has another pace, and that is said.
    (pace,) = (note for note in notes if note.startswith("this machine is "))
    then = 1e3 * found.anchor_seconds
    assert f"its anchor took {then:.2f} ms then" in pace and ("faster" in pace or "slower" in pace)
    # The same command again measures nothing and changes nothing.
    again, _ = run(tmp_path, written(here, tmp_path), budget_gflops=0.009)
    assert [row for row in rows(tmp_path, "front.csv") if row["trial"]] == front
    assert again.trained == 0


def test_a_machine_that_is_as_fast_as_it_was_is_not_called_another(found):
    """Only a change beyond the difference of any two moments is one; its size and sign are said."""
    latency = FrontLatency(SMOKE, LatencyPredictor(found))
    noise = found.fit.noise_floor

    def said(change):
        return latency.pace({"median": 100 * (1 + change), "then": 100.0})

    assert "about as fast" in said(0.9 * noise) and "about as fast" in said(-0.9 * noise)
    assert "is 20% slower than when it was calibrated" in said(max(0.2, 2 * noise))
    assert "its anchor took 100.00 ms then, 75.00 ms now" in said(-0.25)
    assert "is 25% faster" in said(-0.25)


def test_the_anchor_is_run_where_its_space_is_known(found, monkeypatch):
    """The search's own space or a shipped one; of a file that is not here nothing is guessed."""
    monkeypatch.setattr(importlib.import_module("dilnas.search.latency"), "SECONDS", 0.5)
    elsewhere = FrontLatency(SearchSpace.load("dilateformer"), LatencyPredictor(found))
    assert elsewhere.measured_anchor()["then"] == pytest.approx(1e3 * found.anchor_seconds, 1e-3)
    other = replace(found, space="theirs", fingerprint="0" * 16)
    assert FrontLatency(SMOKE, LatencyPredictor(other)).measured_anchor() is None


def test_a_run_is_not_gone_on_with_by_another_calibration(tmp_path, cluster, found):
    """The samples differ: the run directory is refused in one line. Nor without one, also where
    latency is neither budget nor objective: its columns would end half way.
    """
    run(tmp_path, written(found, tmp_path), trials=4)
    other = written(calibration(space="smoke", networks=80, seed=1), tmp_path, "other.json")
    for profile in (other, None):
        with pytest.raises(RunError, match="holds another search: calibration differs"):
            run(tmp_path, profile, trials=4)


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"budget_ms": 5.0}, InputError, "--budget-ms needs a calibration"),
        ({"objectives": ("accuracy", "ms")}, InputError, "needs a calibration"),
        ({"budget_ms": 5.0, "profile": "nothing"}, InputError, "no calibration of that name"),
        ({"budget_ms": -1.0, "profile": "it"}, InputError, "--budget-ms"),
        ({"budget_ms": 1e-6, "profile": "it"}, BudgetError, "--budget-ms"),
        ({"space": "dilateformer", "budget_ms": 5.0, "profile": "it"}, InputError, "another image"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tmp_path, found, options, kind, why):
    """One line, and nothing is left."""
    (tmp_path / "profiles").mkdir()
    path = written(found, tmp_path / "profiles")
    if options.get("profile") == "it":
        options = options | {"profile": path}
    with pytest.raises(kind, match=why) as error:
        search(**({"space": "smoke", "out": str(tmp_path / "run")} | options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
