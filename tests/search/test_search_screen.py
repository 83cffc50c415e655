"""What a search shows: plain lines where nobody watches, a table that fits where one does."""

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from dilnas.cli.search_accounts import growth, spend_table
from dilnas.cli.search_screen import Screen, fitting
from dilnas.search.events import Note, Progress, UnitDone
from dilnas.space import SearchSpace
from dilnas.space_report import Budgets, presearch_report


def unit(number, reason=""):
    return UnitDone(
        number=number, rung=0, rungs=2, accuracy=None if reason else 0.5, gflops=1.25,
        mparams=3.5, layout="D2 D2 G6 G2", seconds=4.0, origin="gp", reason=reason,
    )  # fmt: skip


def progress(**changes):
    values = {
        "trials": 24, "started": 12, "complete": 5, "pruned": 0, "failed": 1, "rejected": 2,
        "paused": 3, "running": ((11, 0), (12, 0)), "images_per_s": 640.0, "eta_s": 100.0,
        "elapsed_s": 90.0, "hypervolume": 0.25,
        "front": [
            {"trial": 3, "val_accuracy": 0.7, "gflops": 1.2, "mparams": 4.0, "layout": "D2 G2",
             "dims": "48 96", "dilations": "1,2,3"},
        ],
    }  # fmt: skip
    return Progress(**(values | changes))


def shown(events, *, terminal=False, width=100):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, height=30)
    with Screen(console) as screen:
        for event in events:
            screen.show(event)
    return out.getvalue()


def test_a_plain_line_says_what_ended_and_how_far_the_search_is():
    """One line a unit, with the count and the time left; a failure has its reason."""
    first, second = shown([unit(7), progress(), unit(8, "it broke"), progress()]).splitlines()
    line = "trial 7 rung 1/2 50.00% 1.250 GFLOPs 3.50 MParams 4.0 s D2 D2 G6 G2 12/24, ETA 1:40"
    assert " ".join(first.split()) == line
    assert "failed: it broke" in second


def test_every_eighth_plain_line_is_followed_by_the_whole_state():
    """Done, running, rejected, failed, images/s, ETA, front and hypervolume are there too."""
    lines = shown([e for n in range(8) for e in (unit(n), progress())]).splitlines()
    assert len(lines) == 9
    for fact in ("12 of 24", "5 done", "2 running", "2 rejected", "1 failed", "640 images/s",
                 "ETA 1:40", "1 on the front", "hypervolume 0.2500"):  # fmt: skip
        assert fact in lines[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_the_live_table_fits_its_terminal_and_holds_every_fact(width):
    """No line is wider than the terminal, and no label is lost on a narrow one."""
    text = shown([progress(pruned=2)], terminal=True, width=width)
    for label in ("candidates", "done", "running", "rejected", "failed", "images/s", "ETA",
                  "hypervolume", "0.2500", "12/24", "1:40", "#3"):  # fmt: skip
        assert label in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
    assert all(len(line) <= width for line in plain.splitlines())


@pytest.mark.parametrize("eta", [None, math.inf])
def test_a_time_left_that_nobody_knows_is_a_dash(eta):
    """Before the first rung, and where GPU-hours alone end the search."""
    assert shown([unit(7), progress(eta_s=eta)]).rstrip().endswith("12/24, ETA –")
    assert "–" in shown([progress(eta_s=eta)], terminal=True)


def test_a_re_training_is_a_line_with_its_seed_and_what_is_left_of_all():
    """Not "rung 2/2" of a trial that has long ended; the live table counts and shows them."""
    done = replace(unit(7), seed=2, accuracy=0.81)
    now = progress(final_units=8, final_done=3)
    line = " ".join(shown([done, now]).split())
    assert line.startswith("trial 7 seed 2 81.00%") and line.endswith("re-trained 3/8, ETA 1:40")
    now.front[0]["final_accuracy"] = 0.6875
    live = shown([now], terminal=True, width=100)
    assert "3/8" in live and "68.75" in live


def test_a_note_with_brackets_is_printed_as_it_is():
    """A path such as [red] is no markup."""
    assert shown([Note("going on with runs/[red]x")]) == "going on with runs/[red]x\n"


def test_the_report_before_a_search_is_short_and_says_what_fits():
    """Distinct architectures, the share within the budgets, which of several binds, the costs."""
    space = SearchSpace.load("smoke")
    report = presearch_report(space, Budgets(gflops=0.011, mparams=0.5))
    lines = shown([Note("", detail=report)]).splitlines()
    assert lines[0] == "space   smoke: 96 distinct architectures"
    assert lines[1] == (
        "budget  at most 0.011 GFLOPs, 0.5 M parameters: 25.0% fit (all counted); M parameters bind"
    )
    assert lines[2] == "cost    0.00743 to 0.0116 GFLOPs, half below 0.00897"
    assert len(lines) == 5


def test_the_report_before_a_search_says_that_costs_are_of_those_drawn():
    """A search finds networks that are cheaper than any of a sample: no contradiction then."""
    report = presearch_report(SearchSpace.load("dilateformer"), Budgets(gflops=4.0), samples=2000)
    line = shown([Note("", detail=report)]).splitlines()[2]
    assert line.endswith(f"(of 2,000 drawn; the cheapest of all {report.cheapest.gflops:.3g})")
    assert report.cheapest.gflops < report.ranges["gflops"].minimum


def test_a_narrow_console_gets_fewer_columns():
    """Dims and dilations are left out where there is no room."""
    rows = [{"trial": 1, "dims": "1 2", "layout": "D1"}]
    assert fitting(rows, 140) == rows
    assert fitting(rows, 80) == [{"trial": 1, "layout": "D1"}]


def row(on, candidates, units, seconds, *, gpus=0, images=0):
    return {
        "on": on, "candidates": candidates, "units": units, "worker_seconds": seconds,
        "gpu_seconds": gpus * seconds, "images": images,
    }  # fmt: skip


def printed(renderable):
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_what_was_spent_is_a_short_table():
    """Rows with something in them and the total; GPU time where there were GPUs."""
    rows = [row("complete", 3, 6, 60.0, images=6000), row("failed", 0, 0, 0.0),
            row("rejected", 2, 0, 0.0), row("total", 5, 6, 60.0, images=6000)]  # fmt: skip
    lines = printed(spend_table(rows, 3661.0))
    assert lines[0] == "spent in 1:01:01 candidates trainings worker time images"
    assert lines[2:] == [
        "trained to the end 3 6 1:00 6,000", "rejected 2 0 0:00 0", "in all 5 6 1:00 6,000",
    ]  # fmt: skip
    lines = printed(spend_table([row("total", 1, 1, 10.0, gpus=0.5)], 20.0))
    assert (
        lines[0].endswith("worker time GPU time images") and lines[-1] == "in all 1 1 0:10 0:05 0"
    )


def test_how_the_front_grew_is_one_line():
    """Bars, then up to four values with the number of candidates at the time."""
    rows = [{"started": n + 1, "hypervolume": n / 100} for n in range(41)]
    line = growth(rows)
    assert line.startswith("hypervolume ▁") and "█ 0.0900 after 10 candidates, " in line
    assert line.endswith("0.4000 after 41") and line.count("after") == 4 and len(line) < 140
    assert growth(rows[:1]) == "hypervolume ▁ 0.0000 after 1 candidate"
