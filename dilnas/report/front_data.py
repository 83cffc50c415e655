"""What a picture of a front shows, read from a run's CSV files: no drawing, no dependency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dilnas.errors import RunError
from dilnas.runs import RunDirectory
from dilnas.variants import VARIANTS

__all__ = ["AXES", "FrontPicture", "Point"]

AXES = {
    "gflops": "GFLOPs (one multiply-add counts 1)",
    "mparams": "parameters (10⁶)",
    "memory_mb": "memory of one image (MB)",
}
"""Costs that can be the horizontal axis: the CSV's column and what is written beside it."""

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
            ("gflops", " GFLOPs", 1),
            ("mparams", " M parameters", 1),
            ("memory_mb", " MB", 1),
        ):
            value = number(self.row.get(name))
            if value is not None:
                lines.append(f"{value * scale:.4g}{unit}")
        shown = ("layout", "dims", "depths", "dilations", "windows", "origin", "state")
        lines += [f"{name}: {self.row[name]}" for name in shown if self.row.get(name) is not None]
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPicture:
    """The front, the other candidates with a score, and the paper's variants as references."""

    title: str
    axis: str
    front: tuple[Point, ...]
    others: tuple[Point, ...]
    references: tuple[Point, ...]

    @classmethod
    def of(cls, run: RunDirectory) -> FrontPicture:
        """Read a run. Raises RunError when its front holds no point that can be drawn."""
        axis = _axis(run.run_json().get("objectives"))
        front_rows = run.front_rows()
        trial_rows = run.trial_rows() if run.trials_csv.is_file() else []
        front = [p for p in _points(front_rows, axis) if p.row.get("trial") is not None]
        front = sorted((p for p in front if p.accuracy is not None), key=lambda p: p.x)
        if not front:
            raise RunError("the front is empty: no trial has finished", where=str(run.front_csv))
        on_front = {p.row.get("trial") for p in front}
        others = [
            p
            for p in _points(trial_rows, axis)
            if p.accuracy is not None and p.row.get("trial") not in on_front
        ]
        references = [p for p in _points(front_rows, axis) if p.row.get("trial") is None]
        return cls(
            title=run.path.resolve().name,
            axis=axis,
            front=tuple(front),
            others=tuple(others),
            references=tuple(references or _variants(axis)),
        )

    @property
    def axis_label(self) -> str:
        """What is written beside the horizontal axis."""
        return AXES[self.axis]

    def steps(self) -> list[tuple[float, float]]:
        """Corners of the staircase under which every candidate of the search lies."""
        corners: list[tuple[float, float]] = []
        for point in self.front:
            assert point.accuracy is not None
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
    return next((name for name in names if name in AXES), "gflops")


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


def _variants(axis: str) -> list[Point]:
    """The paper's variants at 224 x 224, untrained: only where they lie on the cost axis."""
    from dilnas.cost import cost

    points = []
    for name, architecture in VARIANTS.items():
        exact = cost(architecture)
        row = {
            "gflops": exact.flops / 1e9,
            "mparams": exact.params / 1e6,
            "memory_mb": exact.memory_bytes() / 1e6,
            "layout": architecture.layout,
            "reference": name,
        }
        points.append(Point(row[axis], None, name, row))  # type: ignore[arg-type]
    return points
