"""Which candidate of a run is meant by ``knee``, ``best`` or a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dilnas.errors import ExportError, RunError
from dilnas.runs import RunDirectory

__all__ = ["COST_COLUMNS", "Pick", "best", "knee", "pick_trial"]

COST_COLUMNS = {
    "gflops": "gflops", "mparams": "mparams", "mb": "memory_mb", "ms": "predicted_ms",
}  # fmt: skip
"""Column of front.csv that holds each cost objective."""

MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Pick:
    """One candidate of a run.

    Attributes:
        trial: its number.
        row: what front.csv and trials.csv say of it; empty where they do not name it.
        reason: why it was picked, as half a sentence.
    """

    trial: int
    row: Mapping[str, Any]
    reason: str


def knee(costs: Sequence[float], accuracies: Sequence[float]) -> int:
    """Index of the knee of a front: where more cost stops buying much accuracy.

    With x = log cost and y = 1 - accuracy, each scaled so that the cheapest and the most accurate
    point of the front lie at (0, 1) and (1, 0), the knee is the point farthest from the straight
    line between these ends, on the side of lower cost and lower error: the largest
    (1 - x - y) / sqrt(2). The ends are at distance 0, so a front of two points, or one that bulges
    the wrong way everywhere, gives an end. Equal distances (to 12 decimals): the cheaper point.
    Dominated points are left out first; the order of the points does not matter.

    Args:
        costs: any unit, all positive; scaling them changes nothing.
        accuracies: fractions 0..1, one for each cost.

    Raises ExportError for no point or a cost or accuracy that cannot be used.
    """
    if not costs or len(costs) != len(accuracies):
        raise ExportError("a front must have a point, with a cost and an accuracy each")
    for cost, accuracy in zip(costs, accuracies, strict=True):
        if not (math.isfinite(cost) and cost > 0 and math.isfinite(accuracy)):
            raise ExportError(
                "a front's costs must be positive and its accuracies finite",
                got=f"cost {cost}, accuracy {accuracy}",
            )
    front = _non_dominated(costs, accuracies)
    first, last = front[0], front[-1]
    width = math.log(costs[last]) - math.log(costs[first])
    height = accuracies[last] - accuracies[first]
    if len(front) == 1 or width == 0:
        return first

    def below_line(i: int) -> float:
        x = (math.log(costs[i]) - math.log(costs[first])) / width
        y = (accuracies[last] - accuracies[i]) / height
        return round((1 - x - y) / math.sqrt(2), 12)

    return max(front, key=below_line)  # the first of equals, and the cheapest comes first


def best(costs: Sequence[float], accuracies: Sequence[float]) -> int:
    """Index of the highest accuracy; of equal ones, the cheaper."""
    if not costs or len(costs) != len(accuracies):
        raise ExportError("a front must have a point, with a cost and an accuracy each")
    return min(range(len(costs)), key=lambda i: (-accuracies[i], costs[i]))


def _non_dominated(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Indices by rising cost and strictly rising accuracy."""
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -accuracies[i])):
        if not front or accuracies[i] > accuracies[front[-1]]:
            front.append(i)
    return front


def pick_trial(run: RunDirectory, pick: str) -> Pick:
    """The candidate of ``run`` that ``pick`` names: ``knee``, ``best`` or a trial number.

    Raises ExportError for another word or a front without a trained trial, RunError for a number
    that the run does not have.
    """
    if is_number(pick):
        number = int(pick)
        run.architecture(number)
        return Pick(number, _row_of(run, number), "asked for by number")
    if pick not in {"knee", "best"}:
        raise ExportError("unknown pick", where="--pick", expected="knee | best | N", got=pick)
    column = _cost_column(run)
    rows = [
        row for row in _front_rows(run)
        if isinstance(row.get("trial"), int) and _is_figure(row.get("val_accuracy"))
        and _is_figure(row.get(column))
    ]  # fmt: skip
    if not rows:
        raise ExportError(
            "the run has no finished trial to pick from",
            where=str(run.front_csv), expected="a search that trained a candidate, or --pick N",
        )  # fmt: skip
    rows, accuracy, by = _scored_alike(rows)
    costs = [float(row[column]) for row in rows]
    accuracies = [float(row[accuracy]) for row in rows]
    if pick == "best":
        row = rows[best(costs, accuracies)]
        return Pick(row["trial"], row, f"the most accurate of the front by {by}")
    row = rows[knee(costs, accuracies)]
    reason = f"the knee of the front (log {column} against error) by {by}"
    return Pick(row["trial"], row, reason)


def _scored_alike(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str, str]:
    """Rows that can be compared, the column to compare them by, and its name for people.

    The means of the re-trainings, once every row has one or has failed at it; those that failed
    are then left out. Else the search's own scores.
    """
    final = [row for row in rows if _is_figure(row.get("final_accuracy"))]
    failed = [row for row in rows if row not in final and row.get("final_failed")]
    if final and len(final) + len(failed) == len(rows):
        return final, "final_accuracy", "the means of its re-trainings"
    return rows, "val_accuracy", "the search's scores"


def _front_rows(run: RunDirectory) -> list[dict[str, Any]]:
    if not run.front_csv.is_file():
        raise ExportError(
            "the run has no front yet", where=str(run.front_csv),
            expected="a search that has finished (the same search command goes on), or --pick N",
        )  # fmt: skip
    return run.front_rows()


def _cost_column(run: RunDirectory) -> str:
    """Column of the first cost among the run's objectives; gflops if it names none."""
    objectives = run.run_json().get("objectives")
    for name in objectives if isinstance(objectives, list) else []:
        if name in COST_COLUMNS:
            return COST_COLUMNS[name]
    return "gflops"


def _row_of(run: RunDirectory, number: int) -> dict[str, Any]:
    """The candidate's row of trials.csv with, where it is on the front, that of front.csv."""
    merged: dict[str, Any] = {}
    for path, read in ((run.trials_csv, run.trial_rows), (run.front_csv, run.front_rows)):
        if path.is_file():  # neither is there while a search runs
            for row in read():
                if row.get("trial") == number:
                    merged.update(row)
    return merged


def is_number(text: str) -> bool:
    """Whether ``text`` is a trial number: plain digits, few enough to be one."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def split_run(spec: str, pick: str | None) -> tuple[str, str]:
    """The run's folder and the pick in ``RUN`` or ``RUN#N``; ``knee`` where neither says."""
    folder, mark, number = spec.rpartition("#")
    if not (mark and folder):
        return spec, pick or "knee"
    if not is_number(number):
        raise RunError("a trial number must follow #", where=spec, got=number)
    if pick is not None and pick != number:
        raise ExportError(
            "RUN#N already names the trial", where="--pick", expected=f"{number}, or none", got=pick
        )
    return folder, number
