"""What the report of a run says, from real files of old and new versions; several runs compared."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dilnas.errors import InputError, RunError
from dilnas.files import write_atomic
from dilnas.records import Energy, load_profiles
from dilnas.report import RunComparison, RunData, write_report
from dilnas.report.document import profile_json
from dilnas.report.importance import importance
from dilnas.report.page import script_json
from dilnas.report.run_rows import choices_of, rungs_of, stages_of
from dilnas.runs import RunDirectory
from dilnas.variants import VARIANTS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "reference" / "older_run"
OLD = Path(__file__).parents[1] / "records" / "old"


def copied(folder: Path, **settings: Any) -> RunDirectory:
    """A run of an older version, elsewhere, with some settings changed."""
    shutil.copytree(EXAMPLE, folder)
    run = RunDirectory(folder)
    run.run_json_path.write_text(json.dumps({**run.run_json(), **settings}))
    return run


def edited(path: Path, change: Any) -> None:
    """A table with each row changed in place."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def test_a_run_of_an_older_version_gives_a_whole_report(tmp_path: Path) -> None:
    """Rungs, stages, image size and choices, which its tables do not hold as such."""
    data = RunData.of(copied(tmp_path / "run"))
    document = data.document()
    assert data.so_far == ""
    assert document["image_size"] == (224, 224)  # of the shipped space of that name and fingerprint
    assert len(document["points"]) == 7 + 17 + 2 + 2  # front, others, rejected, untrained variants
    first = document["points"][0]
    assert first["trial"] == 15 and first["rungs"] == [(2048, 0.715), (6144, 0.808)]
    assert [s["dim"] for s in first["stages"]] == [48, 96, 192, 384]
    assert first["stages"][1]["dilations"] == [1, 3, 5]
    assert len(document["history"]) == 24
    assert "G blocks 3" in data.choices()[0][1]
    json.dumps(document, allow_nan=False)


def test_stages_are_read_from_the_row_or_from_the_architecture() -> None:
    """To the same; a row whose columns do not belong together gives none."""
    tiny = VARIANTS["tiny"]
    row = {"layout": "D2 D2 G6 G2", "dims": "72 144 288 576", "windows": "3 3",
           "dilations": "1,2,3 1,2,3"}  # fmt: skip
    exact = stages_of({}, tiny)
    assert exact[0]["heads"] == 3 and exact[0]["mlp"] == 4.0
    told = [{k: v for k, v in s.items() if k not in ("heads", "mlp")} for s in exact]
    assert [
        {k: v for k, v in s.items() if k not in ("heads", "mlp")} for s in stages_of(row)
    ] == told
    for name, text in (
        ("dims", "72 144"),
        ("windows", "3"),
        ("dims", "72 x 288 576"),
        ("layout", None),
    ):
        assert stages_of({**row, name: text}) == []


def test_the_example_in_docs_is_what_its_page_says() -> None:
    """The committed tables of a search with rungs: 10 on the front, 56 stopped early."""
    data = RunData.of(RunDirectory(ROOT / "docs" / "example"))
    assert data.so_far == ""
    groups = Counter(group for group, _ in data.points())
    assert groups["front"] == 10 and groups["pruned"] == 56
    page = (ROOT / "docs" / "example" / "report.html").read_text(encoding="utf-8")
    assert "10 on the front, 18 more trained to the end, 56 stopped early" in page


def test_rungs_know_their_images_or_those_that_were_planned() -> None:
    """A score that is no number is none; without any plan the rungs are numbered."""
    row = {"rung_scores": "[0.5, NaN]", "rung_images": "[100, 300]"}
    assert rungs_of(row, {}) == [(100, 0.5), (300, None)]
    planned = {"proxy_settings": {"images": [7, 9]}}
    assert rungs_of({"rung_scores": "[0.5, 0.6]"}, planned) == [(7, 0.5), (9, 0.6)]
    assert rungs_of({"rung_scores": "[0.5, 0.6]"}, {}) == [(1, 0.5), (2, 0.6)]
    assert rungs_of({"rung_scores": "oops"}, planned) == []


def test_choices_are_those_of_the_space_where_the_table_has_them() -> None:
    """Nested or odd values are left out."""
    assert choices_of({"choices": '{"dim": 30, "dilations": "1-2", "x": [1]}'}) == {
        "dim": 30, "dilations": "1-2",
    }  # fmt: skip
    assert choices_of({"choices": "[", "layout": "D1 G2"})["G blocks 2"] == 2


def test_a_search_that_goes_on_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    """It says so: trials that wait, or trials that the audit at the end does not know."""
    run = copied(tmp_path / "run")
    edited(run.trials_csv, lambda row: row.update(state="running") if row["trial"] == "3" else None)
    data = RunData.of(run)
    assert "1 trial is in training or waiting" in data.so_far
    assert ("running", 3) in [(group, p.row["trial"]) for group, p in data.points()]
    assert "The search has not ended" in write_report(run).read_text(encoding="utf-8")
    fresh = copied(tmp_path / "fresh")
    fresh.audit_json_path.unlink()
    assert RunData.of(fresh).so_far == ""  # of a version that had no audits
    edited(fresh.trials_csv, lambda row: row.update(choices="{}"))
    assert "has not ended" in RunData.of(fresh).so_far


def test_a_run_without_a_finished_trial_is_one_line_and_no_file(tmp_path: Path) -> None:
    """Before the first table, and with an empty front."""
    (tmp_path / "run" / "trials" / "0").mkdir(parents=True)
    run = RunDirectory(tmp_path / "run")
    run.run_json_path.write_text("{}")
    with pytest.raises(RunError, match=r"nothing to report yet: .* 1 trial has begun"):
        write_report(run)
    run.front_csv.write_text("trial,val_accuracy,gflops\n")
    with pytest.raises(RunError, match="no trial has finished"):
        write_report(run, tmp_path / "out.html")
    assert not run.report_html.exists() and not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"trial,gflops\n1,2,3,4\n\x00"])
def test_a_damaged_table_is_one_line(tmp_path: Path, damage: bytes) -> None:
    """Bytes that are no text; rows that are too long and hold no front."""
    run = copied(tmp_path / "run", budgets={"gflops": "many"})
    run.front_csv.write_bytes(damage)
    with pytest.raises(RunError, match=r"front\.csv"):
        write_report(run)
    assert not run.report_html.exists()


def test_measured_profiles_beside_a_run_become_axes(tmp_path: Path) -> None:
    """Latency, memory and energy of its networks, by the architecture; a damaged one is told."""
    run = copied(tmp_path / "run")
    (measured,) = load_profiles(OLD / "format-1-measured.json")
    energy = Energy(
        joules_per_image=0.25, joules_per_image_above_idle=None, mean_watts=100.0, idle_watts=None,
        window_joules=(25.0,), window_s=(0.25,), window_images=(100,), counter="a counter",
    )  # fmt: skip
    tiny = replace(measured, architecture=VARIANTS["tiny"], energy=energy)
    write_atomic(run.path / "profiles" / "tiny.json", profile_json(tiny))
    data = RunData.of(run)
    found = {m.label.partition(" (")[0]: m for m in data.metrics() if m.name.startswith("profile")}
    assert {"measured latency of a batch", "energy of an image"} <= set(found)
    (point,) = [p for p in data.document()["points"] if p["trial"] == 0]  # the paper's Tiny
    assert point["values"][found["energy of an image"].name] == 250.0
    assert any("energy of an image (mJ; AMD EPYC" in line for line in point["hover"])
    (run.path / "profiles" / "x.json").write_text("{")
    assert "left out" in RunData.of(run).profiled.problem
    assert "left out" in write_report(run).read_text(encoding="utf-8")


def test_the_rows_are_the_numbers_of_the_page(tmp_path: Path) -> None:
    """A row a point, the same values."""
    data = RunData.of(copied(tmp_path / "run"))
    for row, point in zip(data.rows(), data.document()["points"], strict=True):
        assert row["group"] == point["group"] and row["trial"] == point["trial"]
        assert {n: v for n, v in row.items() if n in point["values"]} == point["values"]


def test_json_in_a_script_cannot_end_it() -> None:
    """Neither an element, nor a comment, nor a line that JavaScript knows and JSON does not."""
    text = script_json({"</script><!--": "\u2028&\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"</script><!--": "\u2028&\u2029"}


# --- which choices matter --------------------------------------------------------------------


def test_the_choice_that_decides_the_accuracy_is_the_most_important() -> None:
    """And shares add up to one."""
    choices = [{"a": i % 4, "b": i % 3, "c": ("x", "y")[i % 2]} for i in range(48)]
    found = importance(choices, [0.5 + 0.1 * one["a"] + 0.001 * one["b"] for one in choices])
    assert found.shares[0][0] == "a" and found.shares[0][1] > 0.4
    assert sum(share for _, share in found.shares) == pytest.approx(1)
    assert "hint" not in found.note


def test_few_trials_say_little_or_nothing_of_importance() -> None:
    """With a warning below 40; nothing below 8, or where nothing varies."""
    choices = [{"a": i % 4} for i in range(12)]
    accuracies = [0.1 * one["a"] for one in choices]
    assert "hint" in importance(choices, accuracies).note
    assert importance(choices[:7], accuracies[:7]).shares == ()
    assert "8 are needed" in importance(choices[:7], accuracies[:7]).note
    assert importance([{"a": 1}] * 9, [0.1] * 9) == importance([{}] * 9, [0.1] * 9)


# --- several runs ----------------------------------------------------------------------------


def test_runs_are_compared_by_one_box(tmp_path: Path) -> None:
    """That of the example by its own corner is what its history says; a farther one widens it."""
    one, other = copied(tmp_path / "one"), copied(tmp_path / "other")
    compared = RunComparison.of([one, other])
    last = float(RunData.of(one).history[-1]["hypervolume"])
    assert compared.hypervolume(compared.runs[0]) == pytest.approx(last, abs=1e-6)
    assert compared.differences() == [] and compared.warnings() == []
    far = copied(tmp_path / "far", reference_point={"error": 1.0, "gflops": 8.0})
    wider = RunComparison.of([one, far])
    assert wider.corner() == 8.0
    assert wider.hypervolume(wider.runs[0]) == wider.hypervolume(wider.runs[1]) > last
    assert [row[0] for row in wider.cells()] == ["one", "far"]


def test_what_makes_runs_not_compare_is_said(tmp_path: Path) -> None:
    """Data, proxy, budgets, image size; each setting that differs, nested ones by name."""
    one = copied(tmp_path / "a" / "run")
    proxy = {**one.run_json()["proxy_settings"], "width": 0.5}
    other = copied(
        tmp_path / "b" / "run", data_fingerprint="00", proxy_settings=proxy, budgets={"gflops": 3},
        image_size=160,
    )  # fmt: skip
    compared = RunComparison.of([one, other])
    assert compared.names == (str(one.path), str(other.path))  # both are called "run"
    said = " ".join(compared.warnings())
    for word in ("data differs", "proxy training differs", "budgets differ", "image size differs"):
        assert word in said
    assert ["proxy_settings.width", "0.25", "0.5"] in compared.differences()


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    """Nor under another name for the same folder."""
    run = copied(tmp_path / "run")
    with pytest.raises(InputError, match="with itself"):
        RunComparison.of([run, RunDirectory(tmp_path / "x" / ".." / "run")])
