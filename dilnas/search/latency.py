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
    from dilnas.predict.calibration import Calibration
    from dilnas.space import SearchSpace
    from dilnas.space_costs import Latency

__all__ = ["FrontLatency"]

SECONDS = 10.0
"""Of measuring one network, at most."""


@dataclass(frozen=True, slots=True)
class FrontLatency:
    """The calibration of a search in ``space``, if it has one."""

    space: SearchSpace
    predictor: LatencyPredictor | None

    @classmethod
    def of(cls, profile: str | None, space: SearchSpace, image_size: ImageSize) -> FrontLatency:
        """Raises InputError where there is no such calibration, or it is of another image."""
        if profile is None:
            return cls(space, None)
        from dilnas.predict.choosing import predictor_for

        return cls(space, predictor_for(profile, image_size=image_size))

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

    def measured_anchor(self) -> dict[str, float] | None:
        """``measured`` of the network by which the calibration knows its machine, and "then", the
        milliseconds that it took there; None where the space that it is of is not to be had.
        """
        assert self.predictor is not None
        calibration = self.predictor.calibration
        space = _space_of(calibration, self.space)
        if space is None:
            return None
        found = self.measured(space.decode(calibration.anchor))
        return {**found, "then": round(1e3 * calibration.anchor_seconds, 4)}

    def pace(self, anchor: dict[str, float]) -> str:
        """What ``measured_anchor`` says of the machine between then and now."""
        assert self.predictor is not None
        change = anchor["median"] / anchor["then"] - 1
        took = f"its anchor took {anchor['then']:.2f} ms then, {anchor['median']:.2f} ms now"
        if abs(change) <= self.predictor.fit.noise_floor:
            return f"this machine is about as fast as when it was calibrated: {took}"
        word = "slower" if change > 0 else "faster"
        return (
            f"this machine is {abs(change):.0%} {word} than when it was calibrated ({took}): the "
            "measured latencies differ from the predicted ones by about that too"
        )

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


def _space_of(calibration: Calibration, own: SearchSpace) -> SearchSpace | None:
    """The one whose networks were calibrated: the search's own, or a shipped one."""
    from dilnas.space import SearchSpace

    if own.fingerprint == calibration.fingerprint:
        return own
    if calibration.space not in SearchSpace.names():  # of a file of its user's
        return None
    shipped = SearchSpace.load(calibration.space)
    return shipped if shipped.fingerprint == calibration.fingerprint else None
