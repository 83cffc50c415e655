"""Profiles read back: everything that was written, older versions too; nothing that was edited."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from drawn_records import comparisons, json_values, profiles
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.cost import cost
from dilnas.errors import DilnasError, InputError
from dilnas.measure import profile as run_profile
from dilnas.records import (
    PROFILE_FORMAT,
    Profile,
    comparison_dict,
    comparison_from_dict,
    load_profiles,
    profile_dict,
    profile_from_dict,
)
from dilnas.report.document import comparison_json, profile_json
from dilnas.variants import VARIANTS

OLD = Path(__file__).parent / "old"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """A document of the newest format with a real measurement in it."""
    return profile_dict(profile_from_dict(json.loads((OLD / "format-1-measured.json").read_text())))


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the field at ``path`` ("measurement.samples.3") set."""
    out = copy.deepcopy(document)
    *parents, last = [int(w) if w.isdecimal() else w for w in path.split(".")]
    found: Any = out
    for word in parents:
        found = found[word]
    found[last] = value
    return out


def refusal(document: object) -> str:
    with pytest.raises(DilnasError) as caught:
        profile_from_dict(document, "x.json")
    line = str(caught.value)
    assert "\n" not in line and line.startswith("x.json")
    return line


@given(profiles())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(profile: Profile) -> None:
    """Through a dict and through JSON text, every field of every record included."""
    assert profile_from_dict(profile_dict(profile)) == profile
    assert profile_from_dict(json.loads(profile_json(profile))) == profile


@given(comparisons)
@settings(max_examples=40, deadline=None)
def test_a_comparison_is_read_as_written(comparison: Any) -> None:
    """Through a dict and through JSON text."""
    assert comparison_from_dict(comparison_dict(comparison)) == comparison
    assert comparison_from_dict(json.loads(comparison_json(comparison))) == comparison


def test_a_comparison_with_an_unknown_verdict_or_version_is_refused() -> None:
    """The same rules as for a profile."""
    with pytest.raises(InputError, match="written by a newer dilnas"):
        comparison_from_dict({"dilnas_comparison": 2})
    with pytest.raises(InputError, match="workload: missing field"):
        comparison_from_dict({"dilnas_comparison": 1})


# --- older versions ---------------------------------------------------------------------------


def test_a_measurement_of_format_1_is_read() -> None:
    """Its samples, doubts and readings as they are; the note on energy where it belongs now."""
    file = OLD / "format-1-measured.json"
    stored = json.loads(file.read_text())
    assert stored["dilnas_profile"] == 1
    (profile,) = load_profiles(file)
    m = profile.measurement
    assert m is not None
    assert list(m.samples) == stored["measurement"]["samples"]
    assert m.median == stored["measurement"]["median_s"]
    assert list(m.doubts) == stored["measurement"]["doubts"]
    assert m.extra["peak_memory_bytes"] == 484_568
    assert profile.missing == {"energy": "energy is not measured on CPU yet"}
    assert "energy_missing" not in m.extra and "energy_j" not in m.extra
    assert (profile.memory, profile.energy, profile.breakdown) == (None, None, None)
    assert profile.cost == cost(profile.architecture, 32, 64)


def test_a_cost_of_format_1_is_read() -> None:
    """The paper's Small, its live activations found from the bytes that were written."""
    (profile,) = load_profiles(OLD / "format-1-counted.json")
    assert profile.architecture == VARIANTS["small"]
    assert profile.cost == cost(VARIANTS["small"], 224, 224)
    assert profile.measurement is None


def test_a_file_of_a_newer_version_says_so(measured: dict[str, Any]) -> None:
    """Not what is wrong with it: nobody here can know."""
    line = refusal(changed(measured, "dilnas_profile", PROFILE_FORMAT + 1))
    assert "dilnas_profile: written by a newer dilnas (expected 1..2, got 3)" in line


# --- damaged and edited files -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("dilnas_profile", "2", "must be a version number"),
        ("dilnas_profile", True, "must be a version number"),
        ("key", "0" * 16, "key: does not follow from the raw values"),
        ("name", 7, "name: must be a string"),
        ("name", "\ud800", "name: must be Unicode text"),
        ("architecture.stages.0.dim", 13, "architecture.stages[0]"),
        ("architecture", None, "architecture: an architecture must be a mapping"),
        ("workload.batch_size", 0, "workload.batch_size: must be at least 1 (got 0)"),
        ("workload.batch_size", 1.0, "workload.batch_size: must be an integer"),
        ("workload.batch_size", True, "workload.batch_size: must be an integer"),
        ("workload.batch_size", 2, "measurement.images_per_s: does not follow"),
        ("workload.dtype", "fp8", "workload.dtype: unknown choice"),
        ("workload.height", 64, "cost: must be of the workload's image (expected 64 x 64"),
        ("workload.surprise", 1, "workload.surprise: unknown field"),
        ("surprise", 1, "surprise: unknown field"),
        ("cost.flops", 1, "cost.flops: does not follow from the raw values (expected 14381296"),
        ("cost.rows.0.params", 1, "cost.params: does not follow"),
        ("cost.rows.0.params", -1, "cost.rows[0].params: must not be negative"),
        ("cost.rows.0.params", 10**40, "cost.rows[0].params: must be an integer"),
        ("cost.rows.0.operators.softmax", 1, "cost.rows[0].operators: unknown choice"),
        ("measurement.samples.3", -1.0, "measurement.samples[3]: must be positive"),
        ("measurement.samples.3", math.nan, "measurement.samples[3]: must be a finite number"),
        ("measurement.samples.3", "1", "measurement.samples[3]: must be a finite number"),
        ("measurement.samples", [], "measurement.samples: must hold a sample"),
        ("measurement.samples", {}, "measurement.samples: must be a list (got dict)"),
        ("measurement.samples", "abc", "measurement.samples: must be a list (got str)"),
        ("measurement.median_s", 0.001, "measurement.median_s: does not follow"),
        ("measurement.p99_s", None, "measurement.p99_s: does not follow"),
        ("measurement.images_per_s", 1e6, "measurement.images_per_s: does not follow"),
        ("measurement.extra.rss_bytes", math.inf, "extra.rss_bytes: must be a finite number"),
        ("measurement.extra.rss_bytes", 10**400, "extra.rss_bytes: must be a finite number"),
        ("environment.facts", [], "environment.facts: must be an object (got list)"),
        ("missing", {"energy": 3}, "missing.energy: must be a string"),
        ("notes", None, "notes: must be a list"),
        ("memory", {}, "memory.method: missing field"),
    ],
)
def test_an_edited_field_is_named(
    measured: dict[str, Any], path: str, value: object, says: str
) -> None:
    """One line: file, field, rule, and where it helps what was expected."""
    assert says in refusal(changed(measured, path, value))


def test_a_missing_field_is_named(measured: dict[str, Any]) -> None:
    """Whichever it is, at the top, in a record or among the derived figures."""
    for path in ("name", "key", "dilnas_profile", "cost.rows", "measurement.p5_s", "notes",
                 "measurement.images_per_s", "workload.threads", "cost.rows.0.flops"):  # fmt: skip
        document = changed(measured, path, None)
        *parents, last = [int(w) if w.isdecimal() else w for w in path.split(".")]
        found: Any = document
        for word in parents:
            found = found[word]
        del found[last]
        assert f"{last}: missing field" in refusal(document)


def test_energy_windows_are_of_one_length(measured: dict[str, Any]) -> None:
    """Joules, seconds and images of the same windows."""
    energy = {
        "joules_per_image": 1.0, "joules_per_image_above_idle": None, "mean_watts": 9.0,
        "idle_watts": None, "window_joules": [1.0, 2.0], "window_s": [1.0], "window_images": [1],
        "counter": "x", "doubts": [],
    }  # fmt: skip
    assert "must be of one length" in refusal(changed(measured, "energy", energy))


def test_a_value_that_is_nested_without_end_is_refused(measured: dict[str, Any]) -> None:
    """Free-form fields are for readings, not for a stack overflow."""
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "nested too deeply" in refusal(changed(measured, "environment.facts.x", deep))


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_profile_or_one_line(value: Any) -> None:
    """Nothing else ever comes out of reading."""
    for document in (value, {"dilnas_profile": 2, "profile": value}):
        with pytest.raises(DilnasError) as caught:
            profile_from_dict(document)
        assert "\n" not in str(caught.value)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a document."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [path, *(p for key, value in items for p in places(value, (*path, key)))]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_is_a_profile_or_one_line(data: st.DataObject) -> None:
    """One value of a real document, of the newest or the first format, replaced by any JSON."""
    stored = json.loads((OLD / "format-1-measured.json").read_text())
    if data.draw(st.booleans()):
        stored = profile_dict(profile_from_dict(stored))
    path = data.draw(st.sampled_from(places(stored)[1:]))
    found = stored
    for word in path[:-1]:
        found = found[word]
    found[path[-1]] = data.draw(json_values)
    try:
        profile = profile_from_dict(stored, "x.json")
    except DilnasError as error:
        assert "\n" not in str(error)
    else:
        assert profile_from_dict(profile_dict(profile)) == profile


def test_no_missing_reason_is_one_thing() -> None:
    """An empty ``missing`` and None are the same profile."""
    profile = run_profile("tiny", latency=False)
    assert Profile(**{f: getattr(profile, f) for f in ("name", "architecture", "workload", "cost",
                      "notes")}, missing={}) == profile  # fmt: skip
