"""All that the report of a run shows, as plain JSON-able data: no drawing, no HTML.

run directory -> FrontPicture -> RunData.document() -> report.js draws it
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, RunError
from dilnas.report.audit import read_audit
from dilnas.report.front_data import FrontPicture, Point, number
from dilnas.report.metrics import METRICS, Metric
from dilnas.report.profiled import Profiled
from dilnas.report.run_rows import choices_of, rungs_of, stages_of
from dilnas.runs import RunDirectory, read_table
from dilnas.sizes import sides_of
from dilnas.variants import VARIANTS

__all__ = ["RunData"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """One run, read once.

    Attributes:
        run: its directory.
        picture: its trials in groups.
        trials: rows of trials.csv.
        front: rows of front.csv.
        spend, history: rows of spend.csv and history.csv; empty where the run has none.
        profiled: what was measured of its networks beside the search.
    """

    run: RunDirectory
    picture: FrontPicture
    trials: list[dict[str, Any]]
    front: list[dict[str, Any]]
    spend: list[dict[str, Any]]
    history: list[dict[str, Any]]
    profiled: Profiled

    @classmethod
    def of(cls, run: RunDirectory) -> RunData:
        """Read a run; also one that goes on. Raises RunError where no trial was trained to the end
        yet.
        """
        if not run.front_csv.is_file():
            run.run_json()
            begun = len(run.trial_numbers())
            raise RunError(
                "nothing to report yet: a search writes its tables ten seconds after it began, and"
                f" {begun} {'trial has' if begun == 1 else 'trials have'} begun",
                where=str(run.path),
            )  # fmt: skip
        return cls(
            run=run,
            picture=FrontPicture.of(run),
            trials=run.trial_rows() if run.trials_csv.is_file() else [],
            front=run.front_rows(),
            spend=read_table(run.spend_csv) if run.spend_csv.is_file() else [],
            history=read_table(run.history_csv) if run.history_csv.is_file() else [],
            profiled=Profiled.of(run),
        )

    @property
    def so_far(self) -> str:
        """That the search has not ended, and when its tables were written; "" where it has.

        It writes the audit at its end, of as many trials as were trained to the end by then.
        """
        waiting = sum(row.get("state") == "running" for row in self.trials)
        audited = self._audited()
        finished = sum(row.get("state") == "complete" for row in self.trials)
        if not self.trials or (not waiting and audited in (None, finished)):
            return ""
        at = datetime.fromtimestamp(self.run.trials_csv.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        are = "trial is" if waiting == 1 else "trials are"
        more = f": {waiting} {are} in training or waiting" if waiting else ""
        return f"The search has not ended{more}. This is what there was on {at}."

    def _audited(self) -> int | None:
        """Trials trained to the end that the audit knows of, 0 without one; None where that says
        nothing: the run is of a version without audits.
        """
        if self.run.audit_json_path.is_file():
            count = read_audit(self.run).get("complete")
            return count if isinstance(count, int) else None
        return 0 if any("choices" in row for row in self.trials) else None

    def points(self) -> list[tuple[str, Point]]:
        """(group, point) of everything: each trial in the group of its state, the front and the
        paper's variants in one of their own.
        """
        p = self.picture
        rejected = [row for row in self.trials if row.get("state") == "rejected"]
        found = [("front", one) for one in p.front]
        found += [("reference", one) for one in p.references]
        found += [("complete", one) for one in p.others]
        found += [
            ("running" if one.row.get("state") == "running" else "pruned", one) for one in p.stopped
        ]
        found += [("failed", one) for one in p.failed]
        for row in rejected:
            cost = number(row.get(p.axis))
            if cost is not None:
                found.append(("rejected", Point(cost, None, f"trial {row.get('trial')}", row)))
        return found

    def metrics(self) -> list[Metric]:
        """What can be an axis: every metric that some point has."""
        rows = [self._row(point) for _, point in self.points()]
        known = (*METRICS, *self.profiled.metrics)
        return [m for m in known if any(number(row.get(m.name)) is not None for row in rows)]

    def rows(self) -> list[dict[str, Any]]:
        """One row a point, with its group: what the CSV and Parquet files hold."""
        names = [metric.name for metric in self.metrics()]
        rows = [self._row(point) for _, point in self.points()]
        texts = ("layout", "dims", "depths", "dilations", "windows", "origin", "reason", "key",
                 "membership", "reference")  # fmt: skip
        for spread in ("final_std", "final_test_std", "measured_low_ms", "measured_high_ms"):
            names += [spread] if any(row.get(spread) is not None for row in rows) else []
        return [
            {
                "run": self.picture.title,
                "group": group,
                "trial": point.row.get("trial"),
                **{name: number(row.get(name)) for name in names},
                **{name: _text(row.get(name)) for name in texts},
            }
            for (group, point), row in zip(self.points(), rows, strict=True)
        ]

    def document(self) -> dict[str, Any]:
        """What the page draws, without NaN."""
        picture, metrics = self.picture, self.metrics()
        return {
            "name": picture.title,
            "export": f"dilnas export {shlex.quote(str(self.run.path))} --pick ",
            "x": picture.axis,
            "y": "val_accuracy",
            "metrics": [metric.to_dict() for metric in metrics],
            "budgets": self._budgets(),
            "image_size": self.image_size,
            "points": [self._described(group, point, metrics) for group, point in self.points()],
            "history": [
                {n: number(row.get(n)) for n in ("started", "complete", "seconds", "hypervolume")}
                for row in self.history
            ],
        }

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the costs are for; None where nothing says them.

        Runs of older versions do not; then the shipped space of that name does, if it is the same.

        Raises InputError where run.json holds another kind of value.
        """
        from dilnas.space import SearchSpace

        settings = self.picture.settings
        size, name = settings.get("image_size"), settings.get("space")
        if size is not None:
            return sides_of(size, where="run.json: image_size")
        if name not in SearchSpace.names():
            return None
        space = SearchSpace.load(name)
        known = space.fingerprint == settings.get("space_fingerprint")
        return sides_of(space.image_size) if known else None

    def _budgets(self) -> dict[str, float]:
        from dilnas.report.front_data import COST_COLUMNS

        given = self.picture.settings.get("budgets")
        limits = given.items() if isinstance(given, Mapping) else ()
        found = {COST_COLUMNS[name]: number(v) for name, v in limits if name in COST_COLUMNS}
        return {name: value for name, value in found.items() if value is not None}

    def _row(self, point: Point) -> Mapping[str, Any]:
        """The point's cells, with what was measured beside the search; no score of failed ones."""
        more = self.profiled.of_key(str(point.row.get("key")))
        accuracy = {} if point.accuracy is not None else {"val_accuracy": None}
        return {**point.row, **more, **accuracy}

    def _described(self, group: str, point: Point, metrics: Sequence[Metric]) -> dict[str, Any]:
        row = self._row(point)
        values = {m.name: number(row.get(m.name)) for m in metrics}
        spreads = {m.name: m.spread(row) for m in metrics}
        trial = point.row.get("trial")
        return {
            "group": group,
            "trial": trial if isinstance(trial, int) else None,
            "name": point.label,
            "short": point.short,
            "values": {name: value for name, value in values.items() if value is not None},
            "spreads": {name: ends for name, ends in spreads.items() if ends is not None},
            "hover": [*point.hover, *self.profiled.lines(str(point.row.get("key")))],
            "stages": stages_of(point.row, self._architecture(group, point)),
            "rungs": rungs_of(point.row, self.picture.settings),
            "origin": _text(point.row.get("origin")) or "",
            "reason": _text(point.row.get("reason")) or "",
        }

    def _architecture(self, group: str, point: Point) -> Architecture | None:
        """Of the front and of the paper's variants, which are few; others are read from the row."""
        name, trial = point.row.get("reference"), point.row.get("trial")
        if isinstance(name, str) and name in VARIANTS:
            return VARIANTS[name]
        if group != "front" or not isinstance(trial, int):
            return None
        if not self.run.architecture_path(trial).is_file():
            return None
        try:
            return self.run.architecture(trial)
        except ArchitectureError:  # damaged: the row still says most of it
            return None

    def finished(self) -> list[Point]:
        """Trials that were trained to the end, the front first."""
        return [*self.picture.front, *self.picture.others]

    def choices(self) -> list[tuple[Point, dict[str, float | str]]]:
        """What was chosen for each trial that was trained to the end, the front first."""
        return [(point, choices_of(point.row)) for point in self.finished()]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
