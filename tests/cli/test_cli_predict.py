"""``dilnas predict`` and what else takes a calibration: tables, documents, one line for errors."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import dilnas, refused

from dilnas.measure.machine import environment
from dilnas.predict import LatencyPredictor
from dilnas.predict.stored import write_calibration
from dilnas.records import Workload, load_profiles
from dilnas.variants import variant

sys.path.insert(0, str(Path(__file__).parents[1] / "predict"))
from synthetic import calibration

NAME = "formula-1/dilateformer-b8-224-fp32"


@pytest.fixture(scope="module")
def found():
    return calibration(networks=60)


@pytest.fixture
def folder(found, tmp_path):
    """With ``profiles/`` in it."""
    write_calibration(found, tmp_path / "profiles" / f"{NAME}.json")
    return tmp_path


def test_predictions_are_a_row_each_and_one_document(found, folder):
    """The table says how well it predicts; the document has what the library says."""
    done = dilnas("predict", "tiny", "base", "--profile", NAME, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    predictor = LatencyPredictor(found)
    for row, name in zip(document["architectures"], ("tiny", "base"), strict=True):
        said = predictor.predict(variant(name))
        assert row["name"] == name and row["key"] == variant(name).key
        assert row["latency"]["value"] == pytest.approx(said.value, rel=1e-6)
        assert row["images_per_s"] == pytest.approx(8 / said.value, rel=1e-6)
        assert row["training"]["peak_bytes"] > row["inference"]["peak_bytes"]
        assert f"{said.value * 1e3:.2f} ms" in done.stderr
    assert "on 20 networks that were not fitted" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["predict", "tiny"], "--profile"),
        (["predict", "tiny", "--profile", "nothing"], "no calibration of that name"),
        (["predict", "nothing", "--profile", NAME], "nothing"),
        (["predict", "wide.yaml", "--profile", NAME], "outside of what was calibrated"),
        (["predict", "tiny", "--profile", "cut.json"], "not JSON"),
        (["predict", "tiny", "--profile", "changed.json"], "damaged: it does not follow"),
        (["predict", "tiny", "--profile", NAME, "--optimizer", "lion"], "unknown optimizer"),
        (["profile", "tiny", "--profile", NAME], "a calibration of another device"),
        (["profile", "tiny", "--profile", "here.json", "--dtype", "bf16"], "of another batch size"),
        (
            ["profile", "tiny", "--profile", "here.json", "--batch-size", "8", "--dtype", "bf16"],
            "a calibration of another dtype",
        ),
        (["space", "show", "--budget-ms", "5"], "--budget-ms needs a calibration"),
        (["space", "show", "smoke", "--profile", NAME], "a calibration of another image"),
        (["space", "show", "--budget-ms", "0.001", "--profile", NAME], "is that small"),
        (["search", "--budget-ms", "5"], "--budget-ms needs a calibration"),
        (["calibrate", "--time-limit", "1"], "too little time"),
        (["calibrate", "--batch-size", "0"], "--batch-size"),
        (["calibrate", "--dtype", "int4"], "--dtype"),
        (["calibrate", "--space", "nothing"], "unknown search space"),
        (["calibrate", "--img-size", "33"], "33"),
    ],
)
def test_what_is_wrong_is_one_line(found, folder, words, says):
    """Exit code 2, and nothing was measured."""
    tiny = variant("tiny")
    wide = tiny.replace(stages=(replace(tiny.stages[0], dim=36), *tiny.stages[1:]))
    (folder / "wide.yaml").write_text(wide.to_yaml())
    text = (folder / "profiles" / f"{NAME}.json").read_text()
    (folder / "cut.json").write_text(text[: len(text) // 2])
    (folder / "changed.json").write_text(text.replace('"scale": ', '"scale": 1'))
    write_calibration(replace(found, environment=environment("cpu")), folder / "here.json")
    assert says in refused(*words, cwd=folder)


def test_a_space_says_what_share_is_fast_enough_and_what_gflops_tell(folder):
    """Limits, the one that binds, the rank correlation of GFLOPs and latency."""
    words = ["--budget-ms", "120", "--budget-gflops", "9", "--samples", "2000", "--profile", NAME]
    done = dilnas("space", "show", "dilateformer", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "at most 120 ms:" in text and "ms predicted" in text
    assert "GFLOPs against predicted latency: rank correlation 0." in text
    done = dilnas("space", "show", "dilateformer", *words, "--json", cwd=folder)
    report = json.loads(done.stdout)["report"]
    assert {limit["name"] for limit in report["limits"]} == {"gflops", "ms"}
    assert 0 < report["share"] < 1 and report["ranges"]["ms"]["minimum"] > 0
    assert -1 <= report["agreement"][1] <= report["agreement"][0] <= 1


def test_profile_shows_the_prediction_beside_the_measurement(found, folder):
    """By itself where one under profiles/ is for this device and workload, and by name."""
    here = replace(
        found, environment=replace(environment("cpu"), threads=1),
        workload=Workload(batch_size=1, height=224, width=224, threads=1),
    )  # fmt: skip
    write_calibration(here, folder / "profiles" / f"{here.name}.json")
    words = ["tiny", "--device", "cpu", "--threads", "1", "--time-limit", "2", "--no-memory"]
    done = dilnas("profile", *words, "--out", "it.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "predicted" in shown and "of the 90% interval" in shown and here.name in shown
    (profile,) = load_profiles(folder / "it.json")
    (prediction,) = profile.predictions
    assert prediction.value == pytest.approx(
        LatencyPredictor(here).predict(variant("tiny")).value, rel=1e-6
    )
    named = dilnas("profile", *words, "--profile", here.name, cwd=folder)
    assert here.name in " ".join(named.stdout.split())
    # One that is damaged and that nobody named costs a note, not the measurement.
    path = folder / "profiles" / f"{here.name}.json"
    path.write_text(path.read_text().replace('"scale": ', '"scale": 1'))
    damaged = dilnas("profile", *words, cwd=folder)
    assert damaged.returncode == 0 and "latency median" in damaged.stdout
    assert "not predicted: " in damaged.stdout and "damaged" in damaged.stdout
    # Another workload has no prediction, and says nothing of one.
    other = dilnas("profile", *words, "--batch-size", "2", cwd=folder)
    assert other.returncode == 0 and "predicted" not in other.stdout
