"""Where a profile lies: safe names, the same workload in the same place, others elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from drawn_records import profiles
from hypothesis import given, settings

from dilnas.measure import profile as run_profile
from dilnas.predict import load_calibration
from dilnas.records import (
    Environment,
    Profile,
    Workload,
    load_profiles,
    profile_path,
    schema,
)
from dilnas.records.paths import device_slug
from dilnas.variants import variant

FOLDER = Path(__file__).resolve().parents[2] / "profiles"
PLACE = Environment(
    device_name="NVIDIA H200", platform="", python="", torch="", dilnas="", threads=1
)


@given(profiles())
@settings(max_examples=60, deadline=None)
def test_a_path_is_safe_whatever_the_names(profile: Profile) -> None:
    """One folder and a file of lower-case letters, digits and dashes, short enough for any disk."""
    path = profile_path(profile)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*\.json", path)
    assert len(path) < 200


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("NVIDIA H200", "nvidia-h200"),
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-cpu-2-20ghz"),
        ("../../etc", "etc"),
        ("鯤鵬 920", "920"),
        ("鯤鵬", "unnamed"),
    ],
)
def test_a_devices_folder(name: str, folder: str) -> None:
    """What people would write by hand; never a path out of the folder."""
    assert device_slug(name) == folder


def test_a_workload_says_what_differs_from_the_usual() -> None:
    """Batch, image and dtype always."""
    tiny = replace(run_profile("tiny", latency=False), environment=PLACE)
    assert profile_path(tiny) == "nvidia-h200/tiny-b1-224-fp32.json"
    assert profile_path(replace(tiny, environment=None)) == "no-device/tiny-b1-224-fp32.json"
    unusual = Workload(
        batch_size=64, height=800, width=1280, dtype="bf16", mode="train", compile="graph",
        channels_last=True, threads=2,
    )  # fmt: skip
    path = profile_path(replace(tiny, workload=unusual))
    assert path == "nvidia-h200/tiny-b64-800x1280-bf16-train-graph-channels-last-t2.json"


def test_a_measurement_by_another_msda_has_a_file_of_its_own() -> None:
    """Else it would replace the one of what dilnas chooses by itself."""
    tiny = run_profile("tiny", latency=False)
    paths = {
        name: profile_path(replace(tiny, environment=replace(PLACE, facts={"msda_backend": name})))
        for name in ("", "auto", "matmul")
    }
    assert paths[""] == paths["auto"] == "nvidia-h200/tiny-b1-224-fp32.json"
    assert paths["matmul"] == "nvidia-h200/tiny-b1-224-fp32-msda-matmul.json"


def test_the_repositorys_profiles_lie_where_they_belong() -> None:
    """Valid by the schema, read again, each at its own path; no path or user of the machine.

    Calibrations lie beside them, and every figure of theirs follows from its samples.
    """
    files = sorted(path for path in FOLDER.rglob("*.json"))
    assert len(files) >= 20
    for path in files:
        document = json.loads(path.read_text("utf-8"))
        assert not re.search(r"/(home|root|tmp|usr|work)/", path.read_text("utf-8"))
        if "dilnas_calibration" in document:
            assert path == FOLDER / f"{load_calibration(path).name}.json"
            continue
        jsonschema.validate(document, schema("profile"))
        (profile,) = load_profiles(path)
        assert path == FOLDER / profile_path(profile)


def test_networks_that_share_a_name_do_not_share_a_file() -> None:
    """The key tells them apart; a network that is called by its key has it once."""
    other = run_profile(variant("tiny", num_classes=10), latency=False)
    assert profile_path(other) == f"no-device/{other.architecture.key}-b1-224-fp32.json"
    named = replace(other, name="tiny")
    key = other.architecture.key[:8]
    assert profile_path(named) == f"no-device/tiny-{key}-b1-224-fp32.json"
