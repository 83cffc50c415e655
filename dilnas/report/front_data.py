"""What a picture of a front shows, read from a run's CSV files: no drawing, no dependency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dilnas.errors import RunError
from dilnas.runs import RunDirectory
from dilnas.sizes import sides_of, size_text
from dilnas.variants import VARIANTS

__all__ = ["AXES", "FrontPicture", "Point"]

AXES = {
    "gflops": "GFLOPs (one multiply-add counts 1)",
    "mparams": "parameters (10⁶)",
    "memory_mb": "memory of one image (MB)",
    "predicted_ms": "predicted latency of a batch (ms)",
}
"""Costs that can be the horizontal axis: the CSV's column and what is written beside it."""

COST_COLUMNS = {
    "gflops": "gflops", "mparams": "mparams", "mb": "memory_mb", "ms": "predicted_ms",
}  # fmt: skip
"""Column of each cost that may be an objective or a budget."""

BEYOND = 1.25
"""A variant that costs this much more than everything searched is named but not drawn."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One network in the picture: cost in the axis's unit, accuracy 0..1 (None: not trained)."""

    x: float
    accuracy: float | None
    label: str
    row: Row

    @property
    def hover(self) -> list[str]:
        """What is known of it, a line each; plain text, not escaped."""
        lines = [self.label]
        for name, unit, scale in (
            ("val_accuracy", " % validation", 100),
            ("test_accuracy", " % test", 100),
            ("final_accuracy", " % validation, mean of other seeds", 100),
            ("final_std", " points standard deviation of those", 100),
            ("final_test_accuracy", " % test, mean of other seeds", 100),
            ("gflops", " GFLOPs", 1),
            ("mparams", " M parameters", 1),
            ("memory_mb", " MB", 1),
            ("predicted_ms", " ms a batch, predicted", 1),
            ("measured_ms", " ms a batch, measured", 1),
        ):
            value = number(self.row.get(name))
            if value is not None:
                lines.append(f"{value * scale:.4g}{unit}")
        shown = (
            "layout", "dims", "depths", "dilations", "windows", "origin", "state", "reason",
            "images", "final_seeds", "final_failed", "membership",
        )  # fmt: skip
        lines += [f"{name}: {self.row[name]}" for name in shown if self.row.get(name) is not None]
        return lines

    @property
    def final(self) -> tuple[float, float] | None:
        """Mean of its re-trainings and their standard deviation (0 for one), 0..1."""
        mean = number(self.row.get("final_accuracy"))
        return None if mean is None else (mean, number(self.row.get("final_std")) or 0.0)

    @property
    def short(self) -> str:
        """What stands beside its mark: ``#12``, ``#0 tiny`` or ``small``."""
        trial, reference = self.row.get("trial"), self.row.get("reference")
        words = ["" if trial is None else f"#{trial}", "" if reference is None else str(reference)]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPicture:
    """What a picture shows; every trial of the run is in exactly one group or counted as rejected.

    Attributes:
        title: name of the run.
        axis: the cost on the horizontal axis, a column of the CSV files.
        front: non-dominated trials at full fidelity, cheapest first.
        others: the other trials at full fidelity.
        stopped: trials with a score at a lower fidelity: not comparable with the two above.
        failed: trials without a score that can be used; their accuracy is None.
        references: the paper's variants that are not on the front.
        rejected: number of candidates that were over budget and never trained.
        budget: limit of the axis's cost, or None.
        settings: run.json.
    """

    title: str
    axis: str
    front: tuple[Point, ...]
    others: tuple[Point, ...]
    stopped: tuple[Point, ...]
    failed: tuple[Point, ...]
    references: tuple[Point, ...]
    rejected: int
    budget: float | None
    settings: Row

    @classmethod
    def of(cls, run: RunDirectory) -> FrontPicture:
        """Read a run. Raises RunError when its front holds no point that can be drawn."""
        settings = run.run_json()
        axis = _axis(settings.get("objectives"))
        front_rows = run.front_rows()
        trial_rows = run.trial_rows() if run.trials_csv.is_file() else []
        known = {row.get("trial"): row for row in trial_rows}
        members = [{**known.get(r.get("trial"), {}), **_filled(r)} for r in front_rows]
        points = _points(members, axis)
        front = [p for p in points if p.row.get("trial") is not None and p.accuracy is not None]
        if not front:
            raise RunError("the front is empty: no trial has finished", where=str(run.front_csv))
        on_front = {p.row.get("trial") for p in front}
        rest = [row for row in trial_rows if row.get("trial") not in on_front]
        references = [p for p in points if p.row.get("trial") is None]
        return cls(
            title=run.path.resolve().name,
            axis=axis,
            front=tuple(sorted(front, key=lambda p: p.x)),
            **_groups(_points(rest, axis)),
            references=tuple(references or _variants(axis, settings.get("image_size"))),
            rejected=sum(row.get("state") == "rejected" for row in rest),
            budget=_budget(settings.get("budgets"), axis),
            settings=settings,
        )

    @property
    def drawn(self) -> tuple[Point, ...]:
        """References that lie on the axis or near it."""
        return tuple(p for p in self.references if p.x <= BEYOND * self._reach)

    @property
    def beyond(self) -> tuple[Point, ...]:
        """References too far to the right to be drawn: they would squeeze all others."""
        return tuple(p for p in self.references if p.x > BEYOND * self._reach)

    @property
    def _reach(self) -> float:
        searched = (*self.front, *self.others, *self.stopped, *self.failed)
        return max(*(p.x for p in searched), self.budget or 0.0)

    @property
    def retrained(self) -> tuple[Point, ...]:
        """Points with re-trainings: members of the front and references."""
        return tuple(p for p in (*self.front, *self.drawn) if p.final is not None)

    def highest_cost(self) -> float:
        """Right end of what is drawn, in the axis's unit."""
        return max(self._reach, *(p.x for p in self.drawn), 0.0)

    def summary(self) -> str:
        """How many trials are in each group, in a sentence."""
        words = [f"{len(self.front)} on the front"]
        for count, what in (
            (len(self.others), "more trained to the end"),
            (len(self.stopped), "stopped early"),
            (len(self.failed), "failed"),
            (self.rejected, "rejected before training"),
        ):
            words += [f"{count} {what}"] if count else []
        return ", ".join(words) + "."

    def origin(self) -> str:
        """Settings of the search that its scores depend on, in a line."""
        s, budgets = self.settings, self.settings.get("budgets")
        words = [f"{name} {s[name]}" for name in ("space", "data", "proxy", "seed") if name in s]
        if isinstance(budgets, Mapping):
            words += [f"budget {number(value) or 0:g} {name}" for name, value in budgets.items()]
        if "image_size" in s:
            words.append(f"costs at {size_text(sides_of(s['image_size']))} px")
        return ", ".join(words)

    @property
    def axis_label(self) -> str:
        """What is written beside the horizontal axis."""
        return AXES[self.axis]

    def steps(self) -> list[tuple[float, float]]:
        """Corners of the staircase under which every candidate of the search lies."""
        corners: list[tuple[float, float]] = []
        for point in self.front:
            assert point.accuracy is not None
            if corners and point.accuracy <= corners[-1][1]:
                continue  # not on the search's own front: re-training has put it here
            if corners:
                corners.append((point.x, corners[-1][1]))
            corners.append((point.x, point.accuracy))
        return corners


def number(value: Any) -> float | None:
    """A finite number of a CSV cell; None for an empty, textual or non-finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _axis(objectives: object) -> str:
    names = objectives if isinstance(objectives, Sequence) else ()
    return next((COST_COLUMNS[name] for name in names if name in COST_COLUMNS), "gflops")


def _budget(budgets: object, axis: str) -> float | None:
    if not isinstance(budgets, Mapping):
        return None
    return next((number(v) for name, v in budgets.items() if COST_COLUMNS.get(name) == axis), None)


def _filled(row: Row) -> Row:
    """The cells in which something stands, and always ``trial``: what it lacks, a trial's row
    tells."""
    return {n: value for n, value in row.items() if value is not None or n == "trial"}


def _groups(points: Sequence[Point]) -> dict[str, tuple[Point, ...]]:
    """Trials that are not on the front, by what became of them."""
    groups: dict[str, list[Point]] = {"others": [], "stopped": [], "failed": []}
    for point in points:
        state = point.row.get("state")
        if state == "failed" or (state == "complete" and point.accuracy is None):
            groups["failed"].append(replace(point, accuracy=None))
        elif state != "rejected" and point.accuracy is not None:
            groups["others" if state == "complete" else "stopped"].append(point)
    return {name: tuple(group) for name, group in groups.items()}


def _points(rows: Iterable[Row], axis: str) -> list[Point]:
    points = []
    for row in rows:
        x = number(row.get(axis))
        if x is not None:
            points.append(Point(x, number(row.get("val_accuracy")), _label(row), row))
    return points


def _label(row: Row) -> str:
    trial, reference = row.get("trial"), row.get("reference")
    name = "" if trial is None else f"trial {trial}"
    if reference is not None:
        name = f"{name} = {reference}" if name else str(reference)
    return name or "unnamed"


def _variants(axis: str, image_size: object) -> list[Point]:
    """The paper's variants, untrained: only where they lie on the cost axis.

    At the search's image size; at 224 x 224 in runs that do not hold it. None on an axis that no
    closed form knows.
    """
    from dilnas.cost import cost

    sides = sides_of(224 if image_size is None else image_size, where="run.json: image_size")
    points = []
    for name, architecture in VARIANTS.items():
        exact = cost(architecture, *sides)
        row = {
            "gflops": exact.flops / 1e9,
            "mparams": exact.params / 1e6,
            "memory_mb": exact.memory_bytes() / 1e6,
            "layout": architecture.layout,
            "reference": name,
        }
        if axis in row:
            points.append(Point(row[axis], None, name, row))  # type: ignore[arg-type]
    return points
