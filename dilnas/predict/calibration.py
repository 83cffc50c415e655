"""Calibration: what was measured on a device to predict by, what was fitted to it, how well."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from dilnas.predict.parts import Part
from dilnas.records import Environment, Workload
from dilnas.records.paths import device_slug, workload_slug

__all__ = ["FIT", "HELD_OUT", "ROLES", "Calibration", "Fit", "Timed"]

FIT, HELD_OUT = ROLES = ("fit", "held out")
"""What a network was measured for: to fit; to see how well the fit does, and never fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One network, measured.

    Attributes:
        role: one of ``ROLES``.
        code: in the space.
        at_s: seconds of measuring before it, of all sessions together.
        parts: its parts in order, as places in ``Calibration.pieces``.
        runs_s: seconds of each run: of each part in order, or one number, of the whole.
        anchors_s: the same of the anchor, before each run and after the last.
    """

    role: str
    code: tuple[int, ...]
    at_s: float
    parts: tuple[int, ...]
    runs_s: tuple[tuple[float, ...], ...]
    anchors_s: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> float:
        """Median over the runs of the whole network, as anybody would measure it then."""
        return statistics.median(sum(run) for run in self.runs_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What follows from the samples; errors are relative, of whole networks.

    Attributes:
        model: "roofline", or "roofline and residual".
        residuals: by kind: spread, length-scale and noise of the residual.
        scale: seconds of a network for one second of the sum of its parts.
        coverage: probability that an interval is made to have.
        reach: an interval is the prediction times exp(±reach).
        held_out: networks that were measured and not fitted.
        error_median, error_p90: of them; absolute.
        within_5, within_10: share of them within 5 % and 10 %.
        spearman: rank correlation of predicted and measured, of them.
        steady_error_median, steady_spearman: the same, of measurements in which what the anchor
            shows of the machine is taken out.
        errors: median error of each model in cross-validation over the networks that were fitted,
            steady.
        noise_floor: median difference of two measurements of the same network, the anchor, at any
            two moments.
        drift: how much slower the anchor was in the last third than in the first.
    """

    model: str
    residuals: dict[str, tuple[float, ...]]
    scale: float
    coverage: float
    reach: float
    held_out: int
    error_median: float
    error_p90: float
    within_5: float
    within_10: float
    spearman: float
    steady_error_median: float
    steady_spearman: float
    errors: dict[str, float]
    noise_floor: float
    drift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All of it.

    Attributes:
        space: name of the search space that the networks are of.
        fingerprint: of the space.
        workload: what was run.
        environment: where.
        seed: of the networks that were drawn.
        seconds: that measuring took, of all sessions together.
        anchor: code of the network that was run between all others.
        anchor_parts: its parts in order, as places in ``pieces``.
        pieces: the distinct parts of all networks.
        networks: in the order in which they were measured.
        fit: None before it is finished.
        doubts: what makes it doubtful, a sentence each.
    """

    space: str
    fingerprint: str
    workload: Workload
    environment: Environment
    seed: int
    seconds: float
    anchor: tuple[int, ...]
    anchor_parts: tuple[int, ...]
    pieces: tuple[Part, ...]
    networks: tuple[Timed, ...]
    fit: Fit | None = None
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As ``--profile`` takes it: the same device, space and workload give the same one."""
        device = device_slug(self.environment.device_name)
        return f"{device}/{self.space}-{workload_slug(self.workload)}"

    @property
    def anchor_seconds(self) -> float:
        """Median over all runs of the anchor, whole: the machine as it usually was."""
        runs = [run for network in self.networks for run in network.anchors_s]
        return statistics.median(map(sum, runs))

    def by_role(self, role: str) -> list[Timed]:
        """The networks of one role, in order."""
        return [network for network in self.networks if network.role == role]

    def parts(self, network: Timed) -> list[Part]:
        """Its parts in order."""
        return [self.pieces[place] for place in network.parts]
