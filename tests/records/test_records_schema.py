"""The shipped JSON schema is of what is written, field by field; every field has its unit."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest
import typer
from drawn_records import comparisons, profiles
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dilnas import records
from dilnas.arch import Architecture, Stage
from dilnas.cli.profile import profile as profile_command
from dilnas.errors import InputError
from dilnas.predict.calibration import Calibration, Fit, Timed
from dilnas.predict.parts import Part
from dilnas.records import (
    comparison_dict,
    load_profiles,
    profile_dict,
    profile_from_dict,
    profiles_dict,
    schema,
)
from dilnas.records.documents import DERIVED
from dilnas.stage import stage_to_dict

OLD = Path(__file__).parent / "old"
COMMITTED = Path(__file__).parents[2] / "profiles"
SCHEMA = schema()
CHECKED = {
    kind: jsonschema.Draft202012Validator(schema(kind))
    for kind in ("any", "profile", "profiles", "comparison", "task", "calibration")
}
RECORDS = tuple(found for name in records.__all__ if is_dataclass(found := getattr(records, name)))
"""Every record that dilnas.records offers."""

CALIBRATION = {
    "Calibration": Calibration, "CalibrationFit": Fit, "CalibrationPart": Part,
    "CalibrationNetwork": Timed,
}  # fmt: skip
"""Records of ``dilnas.predict``, by their names in the schema."""

app = typer.Typer()
app.command()(profile_command)


def plain(document: object) -> Any:
    """As a reader of the JSON text gets it."""
    return json.loads(json.dumps(document, allow_nan=False))


def valid(document: object, kind: str) -> bool:
    """Whether the schema of that kind takes a document, and with it the schema of any kind."""
    of_kind = CHECKED[kind].is_valid(document)
    assert CHECKED["any"].is_valid(document) >= of_kind
    return of_kind


def test_the_schema_is_a_schema() -> None:
    """Draft 2020-12, and each kind of document has one."""
    for kind, checked in CHECKED.items():
        checked.check_schema(schema(kind))
    with pytest.raises(InputError, match="unknown kind of document"):
        schema("run")


# --- documents ----------------------------------------------------------------------------------


@given(st.lists(profiles(), max_size=2))
@settings(max_examples=25, deadline=None)
def test_any_profile_and_any_list_of_them_is_valid(drawn: list[records.Profile]) -> None:
    """Whatever of it was measured."""
    for profile in drawn:
        CHECKED["profile"].validate(plain(profile_dict(profile)))
    CHECKED["profiles"].validate(plain(profiles_dict(drawn)))


@given(comparisons)
@settings(max_examples=25, deadline=None)
def test_any_comparison_is_valid(comparison: records.Comparison) -> None:
    """With any number of candidates and verdicts."""
    CHECKED["comparison"].validate(plain(comparison_dict(comparison)))
    assert not valid(plain(comparison_dict(comparison)), "profile")


def test_what_the_command_prints_is_valid() -> None:
    """``dilnas profile base --no-latency --json``."""
    done = CliRunner().invoke(app, ["base", "--no-latency", "--json"])
    assert valid(json.loads(done.stdout), "profile"), done


def test_what_the_command_measures_is_valid(tmp_path: Path) -> None:
    """A real measurement of a small network on this CPU, written to a file and printed."""
    network = Architecture(stages=(Stage(dim=12, num_heads=3, msda_depth=1),), num_classes=10)
    (tmp_path / "mine.yaml").write_text(network.to_yaml())
    words = [str(tmp_path / "mine.yaml"), "--device", "cpu", "--img-size", "32x64",
             "--time-limit", "0.3", "--threads", "1", "--json",
             "--out", str(tmp_path / "out.json")]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exception is None, done.exception
    assert valid(json.loads(done.stdout), "profile"), done
    (read,) = load_profiles(tmp_path / "out.json")
    assert plain(profile_dict(read)) == json.loads(done.stdout)
    assert read.measurement is not None and read.measurement.samples


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_what_the_command_prints_of_a_dense_task_is_valid(task: str, tmp_path: Path) -> None:
    """Counted, and with the backbone measured."""
    network = Architecture(stages=(Stage(dim=12, num_heads=3, msda_depth=1),), num_classes=10)
    (tmp_path / "mine.yaml").write_text(network.to_yaml())
    words = [str(tmp_path / "mine.yaml"), "--task", task, "--img-size", "32x64", "--json"]
    measured = ["--device", "cpu", "--time-limit", "0.2", "--threads", "1"]
    for more in (["--no-latency"], measured):
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exception is None, done.exception
        document = json.loads(done.stdout)
        assert valid(document, "task") and not valid(document, "profile")
        assert (document["measurement"] is None) == (more == ["--no-latency"])


def test_what_a_sweep_prints_is_valid() -> None:
    """Two batches and two sizes as one document, which reads back."""
    words = ["tiny", "--no-latency", "--batch-size", "1,8", "--img-size", "224,64x96", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exception is None, done.exception
    document = json.loads(done.stdout)
    assert valid(document, "profiles")
    assert not valid(document, "profile")
    assert len(document["profiles"]) == 4
    read = [profile_from_dict(one) for one in document["profiles"]]
    assert plain(profiles_dict(read)) == document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("surprise", 1), ("dilnas_profile", 1), ("key", "0"), ("workload.batch_size", 0),
        ("workload.dtype", "fp8"), ("measurement.samples", []), ("measurement.samples", [0]),
        ("cost.surprise", 1), ("cost.rows", None), ("measurement", 3), ("architecture.dim", 1),
    ],
)  # fmt: skip
def test_an_edited_document_is_not_valid(path: str, value: object) -> None:
    """No unknown field where a record is closed, no wrong type, no value out of range."""
    (profile,) = load_profiles(OLD / "format-1-measured.json")
    document = plain(profile_dict(profile))
    assert valid(document, "profile")
    *parents, last = path.split(".")
    found = document
    for word in parents:
        found = found[word]
    found[last] = value
    assert not valid(document, "profile")


def test_a_calibration_is_described_whole() -> None:
    """The committed one; not one with a field more, a part of no kind, or a run of no time."""
    text = (COMMITTED / "amd-epyc" / "dilateformer-b8-224-fp32-t2.json").read_text("utf-8")
    assert valid(json.loads(text), "calibration")
    document = json.loads(text)
    document["fit"] = None  # not finished
    assert valid(document, "calibration")
    for path, value in (
        (("more",), 1), (("pieces", 0, "kind"), "neck"), (("networks", 3, "runs_s", 0, 1), 0.0),
        (("networks", 0, "role"), "kept"), (("workload", "batch_size"), "8"),
    ):  # fmt: skip
        document = json.loads(text)
        *parents, last = path
        found = document
        for step in parents:
            found = found[step]
        found[last] = value
        assert not valid(document, "calibration"), path


# --- fields -------------------------------------------------------------------------------------


def derived_fields() -> dict[str, set[str]]:
    """Names of the derived figures of each record, from documents that hold all of them."""
    network = Architecture(stages=(Stage(dim=12, num_heads=3, msda_depth=1),))
    from dilnas.cost import cost, task_cost

    exact, dense = cost(network, 32, 32), task_cost("detection", network, 32, 32)
    row = records.CounterRow(operator="x", counted=1, closed_form=1)
    examples = (
        exact, exact.rows[0], row, records.Measurement(quantity="latency_s", samples=(1.0,)),
        records.CounterReport(counter="x", version="1", convention="", rows=(row,)),
        records.Contender(name="x", spec="x", parameters=1, samples_s=(1.0,)),
        dense, dense.parts[0],
    )  # fmt: skip
    assert {type(example) for example in examples} == set(DERIVED)
    found = {type(x).__name__: set(DERIVED[type(x)](x)) for x in examples}
    found["Measurement"].add("images_per_s")
    return found


def test_every_field_of_every_record_is_in_the_schema_and_nothing_else() -> None:
    """Fields and derived figures; adding one to a record without the schema fails here."""
    derived, marks = derived_fields(), {
        "Profile": {"dilnas_profile", "key"}, "Comparison": {"dilnas_comparison"},
        "TaskProfile": {"dilnas_task_profile", "key"},
    }  # fmt: skip
    for record in RECORDS:
        name = record.__name__
        expected = {f.name for f in fields(record)} | derived.get(name, set())
        expected |= marks.get(name, set())
        described = SCHEMA["$defs"][name]
        assert set(described["properties"]) == expected, name
        assert set(described["required"]) == expected, name
    architecture, stage = SCHEMA["$defs"]["Architecture"], SCHEMA["$defs"]["Stage"]
    network = Architecture(stages=(Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1),))
    assert set(architecture["properties"]) == set(network.to_dict())
    assert set(stage["properties"]) == set(stage_to_dict(network.stages[0]))
    for name, record in CALIBRATION.items():
        expected = {f.name for f in fields(record)}
        expected |= {"dilnas_calibration"} if name == "Calibration" else set()
        described = SCHEMA["$defs"][name]
        assert set(described["properties"]) == set(described["required"]) == expected, name
    known = {record.__name__ for record in RECORDS} | {"Architecture", "Stage", "Profiles"}
    assert set(SCHEMA["$defs"]) == known | set(CALIBRATION)


def test_every_object_of_the_schema_is_closed_and_every_property_described() -> None:
    """The free-form ``facts`` and ``extra`` apart."""
    for name, described in SCHEMA["$defs"].items():
        assert described["additionalProperties"] is False, name
        assert described["description"].endswith("."), name
        for field, rule in described["properties"].items():
            assert rule["description"].endswith((".", "…")), f"{name}.{field}"


UNITS = re.compile(
    r"_(s|ms|bytes|joules|watts|w|mhz|c|mb|per_s|elements|images|bytes_fp32|size)$|^joules_per_image"
)
"""Endings of names that are units."""

COUNTS = {
    "params", "parameters", "flops", "macs", "threads", "warmup", "stage", "seed", "gflops",
    "operators", "by_operator",
}  # fmt: skip
"""Names of counts and indices, which have no unit but themselves."""

WORDS = re.compile(
    r"bytes|seconds?|joules|watts|pixels|multiply-adds|elements|dimensionless|images|runs|unit"
    r"|channels|heads|blocks|outputs|percent|parameters|counts?\b|index|probability|10\^9"
    r"|number of|threads|version",
    re.IGNORECASE,
)
"""What a description of a number says its unit with."""


def is_numeric(kind: Any) -> bool:
    """Whether values of a declared type are or hold numbers: bool, text and records are not."""
    arguments = get_args(kind)
    return any(map(is_numeric, arguments)) if arguments else kind in (int, float)


def numeric_fields() -> list[tuple[type, str]]:
    return [
        (record, name)
        for record in RECORDS
        for name, kind in get_type_hints(record).items()
        if name in {f.name for f in fields(record)} and is_numeric(kind)
    ]


@pytest.mark.parametrize(
    ("record", "name"), numeric_fields(), ids=lambda x: getattr(x, "__name__", x)
)
def test_every_number_has_a_unit_in_its_name_or_docstring(record: type, name: str) -> None:
    """Or is a count; a field that the docstring explains with its unit stands there by name."""
    if UNITS.search(name) or name in COUNTS:
        return
    text = record.__doc__ or ""
    said = re.search(
        rf"^ +(?:\w+, )*{name}(?:, \w+)*:(.*(?:\n {{9,}}.*)*)|``{name}``(.*)", text, re.M
    )
    assert said, f"{record.__name__}.{name} is not in the docstring"
    assert WORDS.search(said[1] or said[2]), f"{record.__name__}.{name}: {said[0]}"


def test_every_number_of_the_schema_says_its_unit() -> None:
    """In the name or in the description."""
    for kind, described in SCHEMA["$defs"].items():
        for name, rule in described["properties"].items():
            types = rule.get("type", [])
            numeric = {"integer", "number"} & set([types] if isinstance(types, str) else types)
            if numeric and not (UNITS.search(name) or name in COUNTS):
                assert WORDS.search(rule["description"]), f"{kind}.{name}"
