"""The front as table, SVG and HTML, from a run directory's real files."""

from __future__ import annotations

import csv
import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dilnas.errors import RunError
from dilnas.report import front_table, write_front_svg, write_report
from dilnas.report.front_data import FrontPicture
from dilnas.report.front_svg import front_svg, ticks
from dilnas.report.run_data import RunData
from dilnas.runs import RunDirectory

FRONT = [
    "trial",
    "val_accuracy",
    "test_accuracy",
    "gflops",
    "mparams",
    "memory_mb",
    "layout",
    "dims",
    "depths",
    "dilations",
    "windows",
    "key",
    "reference",
    "architecture_file",
]
TRIALS = [
    "trial",
    "state",
    "val_accuracy",
    "gflops",
    "mparams",
    "memory_mb",
    "layout",
    "key",
    "origin",
]
EVIL = "<script>alert('x')</script>&\"[red]"


def write(path: Path, names: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def without_plotly(page: str) -> str:
    """The page but for the library in it."""
    from plotly.offline import get_plotlyjs

    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Three front trials, one of them the paper's Tiny; one other trial, one pruned without score;
    one reference that was not trained; text that must not be obeyed."""
    folder = tmp_path / "run & <b>"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"objectives": ["accuracy", "gflops"]}))
    write(folder / "front.csv", FRONT, [
        {"trial": 3, "val_accuracy": 0.7, "test_accuracy": 0.69, "gflops": 1.0, "layout": EVIL},
        {"trial": 5, "val_accuracy": 0.8, "gflops": 2.0, "layout": "D2 G6"},
        {"trial": 8, "val_accuracy": 0.85, "gflops": 3.177, "reference": "tiny"},
        {"gflops": 4.613, "reference": "small"},
    ])  # fmt: skip
    write(folder / "trials.csv", TRIALS, [
        {"trial": 3, "state": "complete", "val_accuracy": 0.7, "gflops": 1.0},
        {"trial": 4, "state": "complete", "val_accuracy": 0.6, "gflops": 2.5, "origin": EVIL},
        {"trial": 6, "state": "rejected", "gflops": 9.0},
        {"trial": 7, "state": "failed", "val_accuracy": "nan", "gflops": 2.0},
    ])  # fmt: skip
    return RunDirectory(folder)


def test_the_picture_tells_front_others_and_references_apart(run: RunDirectory) -> None:
    """A trial without a finite score is in none of them."""
    picture = FrontPicture.of(run)
    assert [p.label for p in picture.front] == ["trial 3", "trial 5", "trial 8 = tiny"]
    assert [p.label for p in picture.others] == ["trial 4"]
    assert [(p.label, p.accuracy) for p in picture.references] == [("small", None)]
    assert picture.steps() == [(1.0, 0.7), (2.0, 0.7), (2.0, 0.8), (3.177, 0.8), (3.177, 0.85)]


@pytest.fixture
def every_state(run: RunDirectory) -> RunDirectory:
    """A budget, every state that a trial may be in, two variants over the budget."""
    settings = {"objectives": ["accuracy", "mb"], "budgets": {"mb": 40.0}, "space": EVIL, "seed": 7}
    (run.path / "run.json").write_text(json.dumps(settings))
    write(run.front_csv, FRONT, [
        {"trial": 0, "val_accuracy": 0.8, "gflops": 3, "memory_mb": 30, "reference": "tiny"},
        {"gflops": 4.6, "memory_mb": 48, "reference": "small"},
        {"gflops": 9.9, "memory_mb": 90, "reference": "base"},
    ])  # fmt: skip
    states = ["complete", "complete", "pruned", "running", "failed", "rejected", "failed"]
    write(run.trials_csv, [*TRIALS, "reason", "images"], [
        {
            "trial": i, "state": state, "memory_mb": 20 + i, "origin": "gp", "images": 100 + i,
            "reason": EVIL if state == "failed" else "",
            "val_accuracy": "" if state == "rejected" or i == 6 else 0.5 + 0.01 * i,
        }
        for i, state in enumerate(states)
    ])  # fmt: skip
    return run


def test_every_trial_is_in_the_group_of_its_state(every_state: RunDirectory) -> None:
    """Partial scores stand apart; a failed trial has none; rejected ones are counted."""
    picture = FrontPicture.of(every_state)
    assert picture.axis == "memory_mb"
    groups = (picture.front, picture.others, picture.stopped, picture.failed)
    numbers = [[p.row["trial"] for p in group] for group in groups]
    assert numbers == [[0], [1], [2, 3], [4, 6]]
    assert picture.rejected == 1
    assert all(p.accuracy is None for p in picture.failed)
    assert picture.summary() == (
        "1 on the front, 1 more trained to the end, 2 stopped early, 2 failed,"
        " 1 rejected before training."
    )


def test_a_variant_far_over_the_budget_does_not_squeeze_the_picture(
    every_state: RunDirectory,
) -> None:
    """It is named instead; one just over is drawn."""
    picture = FrontPicture.of(every_state)
    assert picture.budget == 40
    assert [p.label for p in picture.drawn] == ["small"]
    assert [p.label for p in picture.beyond] == ["base"]
    assert picture.highest_cost() == 48
    assert "base 90 →" in front_svg(picture)


def test_a_points_hover_text_tells_all_that_both_tables_know(every_state: RunDirectory) -> None:
    """Accuracy, costs, origin, state and images of a front trial; the reason of a failed one."""
    picture = FrontPicture.of(every_state)
    assert {"trial 0 = tiny", "80 % validation", "30 MB", "origin: gp", "images: 100"} <= set(
        picture.front[0].hover
    )
    assert f"reason: {EVIL}" in picture.failed[0].hover


def test_the_report_has_every_trial_in_the_group_of_its_state(every_state: RunDirectory) -> None:
    """Rejected ones too; the paper's variants apart; a failed one has no score."""
    points = RunData.of(every_state).document()["points"]
    assert [(p["group"], p["trial"]) for p in points] == [
        ("front", 0), ("reference", None), ("reference", None), ("complete", 1), ("pruned", 2),
        ("running", 3), ("failed", 4), ("failed", 6), ("rejected", 5),
    ]  # fmt: skip
    assert all("val_accuracy" not in p["values"] for p in points if p["group"] == "failed")
    assert points[6]["reason"] == EVIL


def test_the_svg_is_well_formed_and_inert(run: RunDirectory) -> None:
    """It parses as XML, holds a mark for each point and no script, whatever the files say."""
    path = write_front_svg(run)
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert "script" not in tags
    assert tags.count("circle") == 3 + 1 + 2  # front, others, legend
    assert "run & <b>" in "".join(root.itertext())
    box = [float(v) for v in root.attrib["viewBox"].split()]
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= box[2]
        assert 0 <= float(circle.attrib["cy"]) <= box[3]


def test_the_html_needs_no_network_and_runs_nothing_from_the_files(run: RunDirectory) -> None:
    """plotly lies inside; text from files is escaped; nothing is left beside the file."""
    page = write_report(run).read_text(encoding="utf-8")
    ours = without_plotly(page)
    assert "<script>alert" not in ours
    assert "&lt;script&gt;" in ours
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[^>]*>", ours) == [
        '<link rel="icon" href="data:,">'
    ]
    assert "default-src 'none'" in ours
    assert "prefers-color-scheme: dark" in ours
    names = {entry.name for entry in run.path.iterdir()}
    assert names == {"run.json", "front.csv", "trials.csv", "report.html"}


def test_the_table_shows_accuracies_in_percent_and_text_as_text(run: RunDirectory) -> None:
    """Columns in which nothing stands are left out."""
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(front_table(run.front_rows()))
    text = captured.get()
    assert "70.00" in text
    assert "3.177" in text
    assert "[red]" in text
    assert "windows" not in text


RETRAINED = [*FRONT, "final_accuracy", "final_std", "final_test_accuracy", "final_failed",
             "membership", "rival", "selected_by"]  # fmt: skip


@pytest.fixture
def retrained(run: RunDirectory) -> RunDirectory:
    """Member 5 ties with 3; 9 came by re-training alone; the trainings of 8 failed; an audit."""
    write(run.front_csv, RETRAINED, [
        {"trial": 3, "val_accuracy": 0.7, "test_accuracy": 0.66, "gflops": 1.0,
         "final_accuracy": 0.68, "final_std": 0.01, "final_test_accuracy": 0.67,
         "membership": "clear", "selected_by": "search"},
        {"trial": 5, "val_accuracy": 0.8, "gflops": 2.0, "final_accuracy": 0.685,
         "membership": "tie", "rival": 3, "selected_by": "search"},
        {"trial": 9, "val_accuracy": 0.79, "gflops": 2.5, "final_accuracy": 0.78,
         "membership": "clear", "selected_by": "re-training"},
        {"trial": 8, "val_accuracy": 0.85, "gflops": 3.177, "final_failed": "it broke"},
    ])  # fmt: skip
    tau = {"tau": 0.5, "low": 0.25, "high": 0.75, "pairs": 9}
    line = {"proxy": "nsc", "target": "full fidelity", "candidates": 12, "overall": tau,
            "near": {"tau": None, "low": None, "high": None, "pairs": 0},
            "verdict": "too few to say", "why": EVIL}  # fmt: skip
    document = {"dilnas_audit": 1, "selection": "12 of 24", "lines": [line]}
    run.audit_json_path.write_text(json.dumps(document))
    return run


def test_the_table_shows_re_trained_means_spreads_and_ties(retrained: RunDirectory) -> None:
    """Percent with a standard deviation where there is one; whom a tie is with; a failure as one;
    the test accuracy of the re-trained networks, and not of the search's, where there is one.
    """
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(front_table(retrained.front_rows()))
    rows = [line.split() for line in captured.get().splitlines()]
    assert {"68.00", "±1.00", "67.00", "clear"} <= set(rows[2])
    assert "68.50" in rows[3] and rows[3][-2:] == ["=", "#3"] and "±" not in rows[3]
    assert "failed" in rows[5]


def test_the_pictures_show_re_trainings_beside_the_searchs_own_scores(
    retrained: RunDirectory,
) -> None:
    """A bar for each; the staircase stays that of the search's scores; the scale holds the bars."""
    picture = FrontPicture.of(retrained)
    assert [p.row["trial"] for p in picture.retrained] == [3, 5, 9]
    assert [y for _, y in picture.steps()] == [0.7, 0.7, 0.8, 0.8, 0.85]
    svg = front_svg(picture)
    bars = [p for p in ET.fromstring(svg).iter() if p.attrib.get("class") == "again"]  # noqa: S314
    assert len(bars) == 3 + 1  # and the legend's
    heights = [
        float(v) for bar in bars for v in re.findall(r"[MV][\d.]* ?([\d.]+)", bar.attrib["d"])
    ]
    assert all(0 <= height <= 440 for height in heights)
    points = RunData.of(retrained).document()["points"]
    assert points[0]["spreads"]["final_accuracy"] == (0.01, 0.01)


def test_the_page_holds_the_audit_and_obeys_none_of_it(retrained: RunDirectory) -> None:
    """Tau with its interval, the verdict; a damaged file is one error."""
    page = write_report(retrained).read_text(encoding="utf-8")
    assert "0.50 [0.25, 0.75]" in page and "too few to say" in page and "12 of 24" in page
    assert "<script>alert" not in without_plotly(page)
    retrained.audit_json_path.write_text("[1]")
    with pytest.raises(RunError, match="audit"):
        write_report(retrained)


def test_an_empty_front_is_said_and_nothing_is_written(run: RunDirectory) -> None:
    """One clear error for both pictures."""
    write(run.front_csv, FRONT, [{"gflops": 4.613, "reference": "small"}])
    for picture in (write_report, write_front_svg):
        with pytest.raises(RunError, match="front is empty"):
            picture(run)
    assert not run.report_html.exists()


def test_one_point_is_enough_for_a_picture(run: RunDirectory) -> None:
    """An axis of no extent is widened."""
    write(run.front_csv, FRONT, [{"trial": 1, "val_accuracy": 0.5, "gflops": 3.177}])
    run.trials_csv.unlink()
    (run.path / "run.json").write_text(json.dumps({"objectives": ["accuracy", "mparams"]}))
    with pytest.raises(RunError):  # no parameters in the file, so nothing lies on that axis
        write_front_svg(run)
    (run.path / "run.json").write_text("{}")
    assert "nan" not in write_front_svg(run).read_text(encoding="utf-8")


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_range_in_round_steps(low: float, extent: float) -> None:
    """At most a dozen, evenly spaced, the range between the first and the last."""
    found = ticks(low, low + extent)
    slack = 1e-6 * max(abs(low), extent, 1e-300)
    assert 2 <= len(found) <= 12
    assert found[0] <= low + slack
    assert found[-1] >= low + extent - slack
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
