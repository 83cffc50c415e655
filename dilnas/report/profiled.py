"""What ``dilnas profile`` measured of a run's networks: profiles in the run's folder ``profiles``.

dilnas profile runs/NAME#12 --energy --out runs/NAME/profiles
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dilnas.errors import InputError
from dilnas.records import Profile, load_profiles
from dilnas.report.chosen import device_title
from dilnas.report.metrics import Metric
from dilnas.runs import RunDirectory

__all__ = ["Profiled"]

MOST_WORKLOADS = 6
"""That become axes; of more, those with the most networks."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """Measurements by the architecture's key.

    Attributes:
        metrics: an axis for each quantity of each device and workload.
        values: by key, by the metric's name.
        problem: why the folder could not be read; "" where it could.
    """

    metrics: tuple[Metric, ...]
    values: dict[str, dict[str, float]]
    problem: str = ""

    @classmethod
    def of(cls, run: RunDirectory) -> Profiled:
        """Read the folder, if it is there. What is wrong with it is told, and ends no search."""
        folder = run.path / "profiles"
        try:
            profiles = list(load_profiles(folder)) if folder.is_dir() else []
        except InputError as error:
            return cls((), {}, f"The profiles beside the search are left out: {error}")
        by_workload: dict[str, list[Profile]] = {}
        for profile in profiles:
            if profile.environment is not None:
                by_workload.setdefault(_workload(profile), []).append(profile)
        chosen = sorted(by_workload.items(), key=lambda item: -len(item[1]))[:MOST_WORKLOADS]
        metrics: dict[str, Metric] = {}
        values: dict[str, dict[str, float]] = {}
        for place, (workload, group) in enumerate(chosen, 1):
            for profile in group:
                for metric, value in _measured(profile, place, workload):
                    metrics[metric.name] = metric
                    values.setdefault(profile.architecture.key, {})[metric.name] = value
        return cls(tuple(metrics.values()), values)

    def of_key(self, key: str) -> dict[str, float]:
        """What was measured of one network, by the metric's name."""
        return self.values.get(key, {})

    def lines(self, key: str) -> list[str]:
        """The same as texts."""
        labels = {metric.name: metric.label for metric in self.metrics}
        return [f"{labels[name]}: {value:.4g}" for name, value in self.of_key(key).items()]


def _workload(profile: Profile) -> str:
    w = profile.workload
    return f"{device_title(profile)}, {w.height}×{w.width}, batch {w.batch_size}, {w.dtype}"


def _measured(profile: Profile, place: int, workload: str) -> Iterator[tuple[Metric, float]]:
    """(metric, value) of what a profile has; ``place`` tells the workloads apart."""
    if profile.measurement is not None:
        label = f"measured latency of a batch (ms; {workload})"
        yield Metric(name=f"profile{place}_ms", label=label), 1e3 * profile.measurement.median
    peak = profile.memory.allocated_peak_bytes if profile.memory else None
    if peak is not None:
        label = f"measured memory of a batch (MB; {workload})"
        yield Metric(name=f"profile{place}_mb", label=label), peak / 1e6
    if profile.energy is not None:
        label = f"energy of an image (mJ; {workload})"
        yield (
            Metric(name=f"profile{place}_mj", label=label),
            1e3 * profile.energy.joules_per_image,
        )
