"""Which point of a front a user gets for ``knee`` and ``best``."""

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilnas.errors import ExportError, RunError
from dilnas.export.pick import best, knee, pick_trial, split_run
from dilnas.runs import RunDirectory
from dilnas.variants import VARIANTS

POINTS = st.lists(
    st.tuples(st.floats(0.01, 100), st.floats(0.0, 1.0)), min_size=1, max_size=12
)  # (cost, accuracy)


# Fronts drawn as they look: cost grows to the right (0.5 … 8 G, a factor 2 a column), error down.
#
#   A: an elbow       B: a straight line    C: bulges the wrong way
#   1 *               *                     *   *
#                         *                         *
#       *                     *
#   0       *  *                  *                     *
@pytest.mark.parametrize(
    ("costs", "accuracies", "expected"),
    [
        pytest.param([0.5, 1, 2, 4], [0.50, 0.80, 0.88, 0.90], 1, id="A: the elbow"),
        pytest.param([4, 2, 1, 0.5], [0.90, 0.88, 0.80, 0.50], 2, id="A, rows in another order"),
        pytest.param([1, 2, 4, 8], [0.6, 0.7, 0.8, 0.9], 0, id="B: a straight line, the cheapest"),
        pytest.param([1, 2, 4, 8], [0.50, 0.52, 0.60, 0.90], 0, id="C: the wrong way, an end"),
        pytest.param([3], [0.7], 0, id="one point"),
        pytest.param([1, 9], [0.5, 0.9], 0, id="two points, the cheaper"),
        pytest.param([9, 1], [0.9, 0.5], 1, id="two points in another order"),
        pytest.param([1, 1, 1], [0.5, 0.9, 0.7], 1, id="equal costs, the most accurate"),
        pytest.param([1, 2, 3], [0.7, 0.7, 0.7], 0, id="equal accuracies, the cheapest"),
        pytest.param([1, 1.01, 2, 4], [0.5, 0.1, 0.8, 0.9], 2, id="a dominated point is left out"),
    ],
)
def test_knee_is_where_the_drawing_bends(costs, accuracies, expected):
    """The point farthest from the line between the ends, towards low cost and low error."""
    assert knee(costs, accuracies) == expected


@given(POINTS)
def test_knee_is_never_dominated_and_is_the_farthest_below_the_line(points):
    """No point of the set beats the knee, and none of the front lies farther below the line."""
    costs, accuracies = zip(*points, strict=True)
    i = knee(costs, accuracies)
    assert not any(
        c <= costs[i] and a >= accuracies[i] and (c < costs[i] or a > accuracies[i])
        for c, a in points
    )


@given(POINTS, st.sampled_from([0.25, 2.0, 1024.0]), st.randoms(use_true_random=False))
def test_knee_depends_neither_on_the_unit_nor_on_the_order(points, scale, random):
    """GFLOPs or FLOPs, sorted or not: the same point."""
    costs, accuracies = zip(*points, strict=True)
    chosen = points[knee(costs, accuracies)]
    shuffled = random.sample(points, len(points))
    again = shuffled[knee([c * scale for c, _ in shuffled], [a for _, a in shuffled])]
    if again != chosen:  # only a tie to the 12th decimal may fall differently
        assert math.isclose(_distance(points, again), _distance(points, chosen), abs_tol=1e-9)


def _distance(points, point):
    front = [
        p for p in points
        if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)
    ]  # fmt: skip
    (c0, a0), (c1, a1) = min(front), max(front)
    if c0 == c1:
        return 0.0
    x = math.log(point[0] / c0) / math.log(c1 / c0)
    return 1 - x - (a1 - point[1]) / (a1 - a0)


def test_best_is_the_most_accurate_and_the_cheaper_of_equals():
    """Highest accuracy wins; at equal accuracy the lower cost wins."""
    assert best([1, 4, 2], [0.5, 0.9, 0.7]) == 1
    assert best([4, 1, 2], [0.9, 0.5, 0.9]) == 2


@pytest.mark.parametrize(
    ("costs", "accuracies"),
    [([], []), ([1], []), ([0], [0.5]), ([-1], [0.5]), ([1], [math.nan]), ([math.inf], [0.5])],
)
def test_a_front_that_cannot_be_used_is_refused(costs, accuracies):
    """No point, a cost of 0, a NaN: an error, never an arbitrary point."""
    with pytest.raises(ExportError):
        knee(costs, accuracies)


# --- a run directory on disk ------------------------------------------------------------------

FRONT = [
    # trial, val_accuracy, gflops, memory_mb
    (3, 0.50, 0.5, 10),
    (7, 0.80, 1.0, 400),
    (1, 0.88, 2.0, 500),
    ("", "", 3.2, 20),  # the paper's Tiny, not trained
    (5, 0.90, 4.0, 600),
]


def make_run(
    folder: Path, rows=FRONT, objectives=("accuracy", "gflops"), columns=()
) -> RunDirectory:
    """A finished run with four trained candidates and a reference row."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"objectives": list(objectives)}))
    with (folder / "front.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "val_accuracy", "gflops", "memory_mb", *columns])
        writer.writerows(rows)
    for number in (0, 1, 3, 5, 7):
        (folder / "trials" / str(number)).mkdir(parents=True)
        path = folder / "trials" / str(number) / "architecture.yaml"
        path.write_text(VARIANTS["tiny"].to_yaml())
    return RunDirectory.open(folder)


@pytest.mark.parametrize(("pick", "trial"), [("knee", 7), ("best", 5), ("3", 3), ("0", 0)])
def test_a_pick_names_a_trial_of_the_run(tmp_path, pick, trial):
    """knee and best come from the front; a number is any candidate, on the front or not."""
    chosen = pick_trial(make_run(tmp_path / "run"), pick)
    assert chosen.trial == trial
    assert chosen.reason


def test_the_knee_uses_the_cost_that_the_search_optimised(tmp_path):
    """With memory as objective the bend is elsewhere than with GFLOPs."""
    run = make_run(tmp_path / "run", objectives=("accuracy", "mb"))
    assert pick_trial(run, "knee").trial == 3
    assert "memory_mb" in pick_trial(run, "knee").reason


RETRAINED = [
    # trial, val_accuracy, gflops, memory_mb, final_accuracy, final_failed
    (3, 0.50, 0.5, 10, 0.50, ""),
    (7, 0.80, 1.0, 400, 0.60, ""),
    (1, 0.88, 2.0, 500, 0.87, ""),
    (5, 0.90, 4.0, 600, 0.86, ""),
]


@pytest.mark.parametrize(
    ("changed", "best", "knee"),
    [
        pytest.param({}, 1, 3, id="by the means: 5 was lucky, and 7 more so"),
        pytest.param({5: ("", "")}, 5, 7, id="5 not re-trained yet: by the search's scores"),
        pytest.param(
            {1: ("", "it broke")}, 5, 3, id="1 failed at it: left out, the others by means"
        ),
    ],
)
def test_a_pick_goes_by_the_re_trained_means_where_there_are(tmp_path, changed, best, knee):
    """The most accurate of many noisy scores is partly luck; scores and means are never mixed."""
    rows = [(*row[:4], *changed.get(row[0], row[4:])) for row in RETRAINED]
    run = make_run(tmp_path / "run", rows, columns=("final_accuracy", "final_failed"))
    assert pick_trial(run, "best").trial == best
    assert pick_trial(run, "knee").trial == knee
    by = "the search's scores" if changed == {5: ("", "")} else "the means of its re-trainings"
    assert by in pick_trial(run, "best").reason


@pytest.mark.parametrize("pick", ["kneee", "", "-1", "1.5", "KNEE", "²", "9" * 5000])
def test_an_unknown_pick_is_refused_with_the_choices(tmp_path, pick):
    """The error lists knee, best and N."""
    with pytest.raises(ExportError, match=r"knee \| best \| N"):
        pick_trial(make_run(tmp_path / "run"), pick)


def test_a_number_out_of_range_is_refused_with_the_range(tmp_path):
    """Trial 99 of a run with trials 0..7."""
    with pytest.raises(RunError, match=r"0\.\.7"):
        pick_trial(make_run(tmp_path / "run"), "99")


@pytest.mark.parametrize("rows", [[], [("", "", 3.2, 20)]])
def test_a_run_without_finished_trials_is_refused(tmp_path, rows):
    """A front with no row, or with the paper's variant alone, holds nothing to pick."""
    with pytest.raises(ExportError, match="no finished trial"):
        pick_trial(make_run(tmp_path / "run", rows), "best")


def test_a_run_without_front_says_how_to_go_on(tmp_path):
    """A search that was stopped has no front.csv; its candidates can be exported by number."""
    run = make_run(tmp_path / "run")
    run.front_csv.unlink()
    with pytest.raises(ExportError, match="no front yet"):
        pick_trial(run, "knee")
    assert pick_trial(run, "1").trial == 1


def test_the_trial_may_stand_behind_the_run():
    """RUN#N, RUN with a pick, RUN alone."""
    assert split_run("runs/x#12", None) == ("runs/x", "12")
    assert split_run("runs/x", "best") == ("runs/x", "best")
    assert split_run("runs/x", None) == ("runs/x", "knee")
    with pytest.raises(ExportError, match="already names"):
        split_run("runs/x#12", "knee")
    with pytest.raises(RunError):
        split_run("runs/x#last", None)
