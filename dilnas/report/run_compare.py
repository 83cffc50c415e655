"""Several runs side by side: their fronts in one picture, one hypervolume, what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dilnas.errors import InputError, RunError
from dilnas.files import write_atomic
from dilnas.report.footnotes import printable
from dilnas.report.front_data import COST_COLUMNS, number
from dilnas.report.page import chart_page, html_table, section, warnings_html
from dilnas.report.run_data import RunData
from dilnas.runs import RunDirectory

__all__ = ["RunComparison"]

TITLES = ("run", "front", "to the end", "best val %", "hypervolume", "worker hours", "images")

UNTOLD = ("dilnas_run", "study", "storage", "reference_point", "versions")
"""Fields of run.json that say nothing of what was searched."""

SAME_SCORES = {
    "data": ("data", "data_fingerprint"),
    "proxy training": ("proxy", "proxy_settings"),
}
"""Fields that must be equal for accuracies to compare, by what they are."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs or more.

    Attributes:
        names: of the runs, all different.
        runs: what they hold.
    """

    names: tuple[str, ...]
    runs: tuple[RunData, ...]

    @classmethod
    def of(cls, runs: Sequence[RunDirectory]) -> RunComparison:
        """Read the runs. Raises RunError as ``RunData.of`` does, InputError for one given twice."""
        places = [run.path.resolve() for run in runs]
        if len(set(places)) < len(places):
            twice = next(str(run.path) for run in runs if places.count(run.path.resolve()) > 1)
            raise InputError("a run cannot be compared with itself", where=twice)
        read = tuple(RunData.of(run) for run in runs)
        names = [data.picture.title for data in read]
        if len(set(names)) < len(names):
            names = [str(run.path) for run in runs]
        return cls(tuple(names), read)

    @property
    def axis(self) -> str:
        """The cost that they are compared by, a column of their tables: the objective of all, or
        GFLOPs where the objectives differ.
        """
        axes = {data.picture.axis for data in self.runs}
        return axes.pop() if len(axes) == 1 else "gflops"

    def corner(self) -> float:
        """Cost at the far end of the common box: the largest of the runs' reference points, or of
        what they trained where they have none on this axis.
        """
        found = []
        for data in self.runs:
            point = data.picture.settings.get("reference_point")
            costs = point if isinstance(point, Mapping) else {}
            known = [number(v) for name, v in costs.items() if COST_COLUMNS.get(name) == self.axis]
            found += [value for value in known if value is not None] or self._costs(data)
        return max(found)

    def _costs(self, data: RunData) -> list[float]:
        costs = [number(point.row.get(self.axis)) for point in data.finished()]
        return [cost for cost in costs if cost is not None]

    def hypervolume(self, data: RunData) -> float:
        """Share of the common box, up to error 1 and ``corner``, that a run's trials dominate."""
        import numpy as np

        from dilnas.cost import hypervolume

        corner = self.corner()
        points = [
            (1.0 - point.accuracy, cost / corner)
            for point in data.finished()
            if point.accuracy is not None and (cost := number(point.row.get(self.axis))) is not None
        ]
        return float(hypervolume(np.array(points).reshape(-1, 2), np.ones(2)))

    def cells(self) -> list[list[str]]:
        """A row of texts for each run, in the order of ``TITLES``."""
        rows = []
        for name, data in zip(self.names, self.runs, strict=True):
            finished = [p.accuracy for p in data.finished() if p.accuracy is not None]
            spent = next((row for row in data.spend if row.get("on") == "total"), {})
            seconds, images = number(spent.get("worker_seconds")), number(spent.get("images"))
            rows.append(
                [
                    name, str(len(data.picture.front)), str(len(finished)),
                    f"{100 * max(finished):.2f}", f"{self.hypervolume(data):.4f}",
                    "–" if seconds is None else f"{seconds / 3600:.3f}",
                    "–" if images is None else f"{images:,.0f}",
                ]
            )  # fmt: skip
        return rows

    def differences(self) -> list[list[str]]:
        """Each setting that is not the same in all runs, with its value in each."""
        flat = [_flat(data.picture.settings) for data in self.runs]
        names = dict.fromkeys(name for one in flat for name in one)
        rows = [[name, *(one.get(name, "–") for one in flat)] for name in names]
        return [row for row in rows if len(set(row[1:])) > 1]

    def warnings(self) -> list[str]:
        """Why numbers of these runs do not compare, a sentence each."""
        settings = [data.picture.settings for data in self.runs]
        said = []
        for what, fields in SAME_SCORES.items():
            if _differ(settings, fields):
                said.append(f"The {what} differs: the accuracies do not compare.")
        if len({data.image_size for data in self.runs} - {None}) > 1:
            said.append("The image size differs: the costs do not compare.")
        if _differ(settings, ("budgets",)):
            said.append("The budgets differ: the common box reaches to the largest, which favours"
                        " the run that was allowed more.")  # fmt: skip
        if len({data.picture.axis for data in self.runs}) > 1:
            said.append("The objectives differ: the runs are compared by GFLOPs.")
        said += [f"{n}: {d.so_far}" for n, d in zip(self.names, self.runs, strict=True) if d.so_far]
        return said

    def table(self) -> Table:
        """The table for a terminal."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for title in TITLES:
            table.add_column(title, justify="left" if title == "run" else "right")
        for row in self.cells():
            table.add_row(*(Text(printable(text)) for text in row))
        return table

    def html(self) -> str:
        """The page."""
        documents = [data.document() for data in self.runs]
        metrics = {one["name"]: one for document in documents for one in document["metrics"]}
        data = {
            "x": self.axis,
            "y": "val_accuracy",
            "metrics": list(metrics.values()),
            "runs": [
                {"name": name, "points": document["points"]}
                for name, document in zip(self.names, documents, strict=True)
            ],
        }
        names = escape(" and ".join(self.names))
        warned = warnings_html(self.warnings())
        table = html_table(TITLES, self.cells(), [title != "run" for title in TITLES])
        rows = self.differences()
        apart = html_table(("setting", *self.names), rows, [False] * (1 + len(self.names)))
        same = "<p>The runs have the same settings.</p>"
        body = (
            f"<h1>{names}</h1>{warned}"
            + section("Fronts", _CHART)
            + section("Figures", f'<div class="wide">{table}</div>', HYPERVOLUME)
            + section("What differs", f'<div class="wide">{apart}</div>' if rows else same)
        )
        return chart_page(title=f"{names}: compared", body=body, data=data, script="comparison.js")

    def write(self, out: Path) -> Path:
        """Write the page. Raises RunError where it cannot be."""
        write_atomic(out, self.html(), kind=RunError)
        return out


_CHART = """<div class="controls"><label>across <select id="x-axis"></select></label>
<label>up <select id="y-axis"></select></label></div><div id="fronts" class="chart"></div>
<p class="dim">Large marks and lines: the trials that no other of their run beats on these axes.
Hover or tap a point to see its architecture.</p>"""

HYPERVOLUME = (
    "hypervolume: share of one common box, from no error and no cost to error 1 and the largest"
    " reference cost of the runs, that the trials trained to the end dominate."
)


def _differ(settings: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> bool:
    """Whether any of the fields is not the same in all runs that have it."""
    for field in fields:
        values = [json.dumps(one[field], sort_keys=True) for one in settings if field in one]
        if len(set(values)) > 1:
            return True
    return False


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings as texts, nested ones under names with dots."""
    out: dict[str, str] = {}
    for name, value in settings.items():
        if not before and name in UNTOLD:
            continue
        if isinstance(value, Mapping):
            out |= _flat(value, f"{before}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value)
            out[f"{before}{name}"] = shown
    return out
