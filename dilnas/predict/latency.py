"""Latency of any architecture from a calibration, one by one or a million at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.predict.calibration import FIT, Calibration, Fit
from dilnas.predict.fitting import PartModel
from dilnas.predict.judging import fitted
from dilnas.predict.parts import Part, parts_of
from dilnas.predict.stored import load_calibration
from dilnas.predict.tables import part_table
from dilnas.records import Prediction, Workload
from dilnas.space import SearchSpace

__all__ = ["LatencyPredictor"]

CHOICES = ("form", "window", "position", "bias")
"""Of a part of one kind and map: only values that were measured are predicted for."""

EXTENTS = ("inputs", "outputs", "heads", "hidden")
"""Of a part of one kind and map: from the smallest that was measured to the largest."""

Place = tuple[str, int, int]
"""Kind, height and width."""


@dataclass(frozen=True, eq=False)
class LatencyPredictor:
    """Seconds of one batch of a calibration's workload."""

    calibration: Calibration

    @classmethod
    def load(cls, name: str) -> LatencyPredictor:
        """From a file, or a name under ``profiles/``. Raises InputError; see load_calibration."""
        return cls(load_calibration(name))

    @property
    def workload(self) -> Workload:
        """What is predicted."""
        return self.calibration.workload

    @property
    def fit(self) -> Fit:
        """How well."""
        assert self.calibration.fit is not None  # load_calibration gives finished ones only
        return self.calibration.fit

    @cached_property
    def _model(self) -> PartModel:
        return fitted(self.calibration)

    def predict(self, architecture: Architecture) -> Prediction:
        """Seconds of a batch, with an interval of the calibration's coverage.

        Raises InputError where a part of it lies outside of what was calibrated.
        """
        found = parts_of(architecture, self.workload.height, self.workload.width)
        for part in dict.fromkeys(found):
            if why := self.why_not(part):
                raise InputError(
                    f"outside of what was calibrated: {part.text}: {why}", where="architecture"
                )
        seconds = self._sum(found)
        low, high = self.interval(np.array([seconds]))
        return Prediction(
            quantity="latency_s", value=seconds, low=float(low[0]), high=float(high[0]),
            coverage=self.fit.coverage, held_out_error=self.fit.error_median,
            source=f"{self.calibration.name}: {self.fit.model}",
        )  # fmt: skip

    def seconds_of(self, architecture: Architecture) -> float:
        """Seconds of a batch; infinite where a part lies outside of what was calibrated."""
        found = parts_of(architecture, self.workload.height, self.workload.width)
        outside = any(self.why_not(part) for part in dict.fromkeys(found))
        return math.inf if outside else self._sum(found)

    def _sum(self, parts: list[Part]) -> float:
        distinct = list(dict.fromkeys(parts))
        times = dict(zip(distinct, self._model.seconds(distinct).tolist(), strict=True))
        return self.fit.scale * sum(float(times[part]) for part in parts)

    def interval(self, seconds: npt.NDArray[np.float64]) -> tuple[Any, Any]:
        """Ends (N,), (N,) of the intervals around predicted seconds (N,)."""
        factor = np.exp(self.fit.reach)
        return seconds / factor, seconds * factor

    def seconds(self, space: SearchSpace, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(N,) seconds of a batch of each code (N, A); infinite outside of what was calibrated."""
        distinct, table = part_table(space, codes, self.workload.height, self.workload.width)
        times = self._model.seconds(distinct)
        outside = [bool(self.why_not(part)) for part in distinct]
        times = np.where(outside, np.inf, times)
        total = np.zeros(len(codes))
        for places, repeats in table:
            # A part that does not occur costs nothing, also where it could not be predicted.
            one = np.where(repeats > 0, times[places], 0.0)
            total += repeats * one
        return np.asarray(self.fit.scale * total)

    def why_not(self, part: Part) -> str:
        """Why ``part`` lies outside of what was calibrated; "" where it does not."""
        seen = self._seen.get(_place(part))
        if seen is None:
            return f"no {part.kind} part of that map was measured"
        for name in CHOICES:
            if (value := getattr(part, name)) not in seen[name]:
                return f"{name} {value or 0!r}, measured: {_listed(seen[name])}"
        for name in EXTENTS:
            value, low, high = getattr(part, name), min(seen[name]), max(seen[name])
            if not low <= value <= high:
                return f"{name} {value}, measured: {low} to {high}"
        if part.dilations:
            most = max(max(d) for d in seen["dilations"])
            groups = [len(d) for d in seen["dilations"]]
            if max(part.dilations) > most:
                return f"dilation {max(part.dilations)}, measured: up to {most}"
            if not min(groups) <= len(part.dilations) <= max(groups):
                return f"{len(part.dilations)} dilations, measured: {min(groups)} to {max(groups)}"
        return ""

    @cached_property
    def _seen(self) -> dict[Place, dict[str, set[Any]]]:
        """Values of every field of the parts that were fitted, by kind and map."""
        fits = self.calibration.by_role(FIT)
        places = {place for network in fits for place in network.parts}
        out: dict[Place, dict[str, set[Any]]] = {}
        for place in sorted(places):
            part = self.calibration.pieces[place]
            mine = out.setdefault(_place(part), {f.name: set() for f in fields(Part)})
            for name, values in mine.items():
                values.add(getattr(part, name))
        return out


def _place(part: Part) -> Place:
    return part.kind, part.height, part.width


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(values)))
