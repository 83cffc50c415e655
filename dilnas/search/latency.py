"""Latency in a search: predicted for every candidate, measured for the front at the end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import DeviceError
from dilnas.sizes import ImageSize

if TYPE_CHECKING:
    from dilnas.predict import LatencyPredictor
    from dilnas.space_costs import Latency

__all__ = ["FrontLatency"]

SECONDS = 10.0
"""Of measuring one network, at most."""


@dataclass(frozen=True, slots=True)
class FrontLatency:
    """The calibration of a search, if it has one."""

    predictor: LatencyPredictor | None

    @classmethod
    def of(cls, profile: str | None, image_size: ImageSize) -> FrontLatency:
        """Raises InputError where there is no such calibration, or it is of another image."""
        if profile is None:
            return cls(None)
        from dilnas.predict.choosing import predictor_for

        return cls(predictor_for(profile, image_size=image_size))

    @property
    def seconds(self) -> Latency | None:
        """Predicted, of codes of a space; None without a calibration."""
        return None if self.predictor is None else self.predictor.seconds

    def identity(self) -> dict[str, Any] | None:
        """What tells one calibration from another; None without one."""
        if self.predictor is None:
            return None
        found = self.predictor.calibration
        pieces, networks = map(asdict, found.pieces), map(asdict, found.networks)
        samples = json.dumps([*pieces, *networks])
        digest = hashlib.sha256(samples.encode()).hexdigest()
        return {"name": found.name, "samples": digest[:16]}

    def why_not_here(self) -> str:
        """Why this machine cannot measure what was predicted; "" where it can."""
        from dilnas.measure.machine import choose_device, environment

        assert self.predictor is not None
        calibration = self.predictor.calibration
        device = calibration.workload.device
        try:
            here = environment(choose_device(device))
        except DeviceError as error:
            return str(error)
        there = calibration.environment
        other = there.other_device(here)
        return other and f"they are for {other}, this is {here.other_device(there)}"

    def measured(self, architecture: Architecture) -> dict[str, float]:
        """Milliseconds of a batch: "median", and the ends of its 95 % interval.

        Raises DeviceError where the device has not the memory.
        """
        from dilnas.measure import Protocol, measure_latency
        from dilnas.measure.heap import keep_freed_memory
        from dilnas.measure.machine import settings
        from dilnas.measure.part_times import PartTimer
        from dilnas.measure.workload import release

        assert self.predictor is not None
        workload = self.predictor.workload
        keep_freed_memory()  # as it was when it was calibrated
        with settings(workload):
            timer = PartTimer(architecture, workload, whole=True)
            found = measure_latency(timer.call, workload, Protocol().within(SECONDS))
            del timer
            release(workload.device)
        return {
            "median": round(1e3 * found.median, 4),
            "low": round(1e3 * found.extra["median_low_s"], 4),
            "high": round(1e3 * found.extra["median_high_s"], 4),
        }
