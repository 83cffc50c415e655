"""How long a callable takes, with the evidence for and against the numbers.

    CPU    |look|  warm-up  | call | call | call | … |look|
                            ^------^ perf_counter, one sample each

    CUDA   |look|  warm-up  |sync| E0 call E1 |sync| E0 call E1 |sync| … |look|
                                  ^-------^       device time: CUDA events E0, E1
                                 ^--------^       enqueue time: perf_counter, no sync
                                 ^------------^   wall time: perf_counter, synchronised

A look reads what the device tells of itself (``/proc/stat``, NVML); there are more of them between
calls, never within one. A sample on CUDA is device time of one call on an idle device: caches are
warm, as in serving, and L2 is not flushed. Enqueue and wall time stand beside it: a model whose
enqueue time is near its device time is launch-bound, which events alone hide.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from dilnas.measure.device import Device, Look, Run, open_device
from dilnas.measure.doubts import guest_doubts, launch_doubts, sample_doubts
from dilnas.measure.sampling import Progress, Protocol, Sampled, collect, median_interval
from dilnas.records import Measurement, Workload

__all__ = ["DEFAULT", "measure_latency"]

DEFAULT = Protocol()
"""The protocol when none is given."""

_LOOK_EVERY_S = 0.5


def measure_latency(
    call: Callable[[], object],
    workload: Workload,
    protocol: Protocol = DEFAULT,
    *,
    device: Device | None = None,
    on_progress: Progress | None = None,
) -> Measurement:
    """Seconds that one ``call()`` takes on a device: raw samples, "latency_s".

    ``call`` does one batch and returns anything. Of the workload only the device's name matters,
    and only where no ``device`` is given. ``extra`` holds the interval of the median
    (``median_low_s``, ``median_high_s``, 95 %), why sampling stopped, the device's evidence and,
    where the host hands work over, ``enqueue_median_s``, ``wall_median_s`` and
    ``launch_share``: enqueue over device time.
    """
    found = open_device(workload.device) if device is None else device
    runs: list[Run] = []
    looks: list[tuple[int, Look]] = [(0, found.look())]
    """Each with the number of runs before it."""
    looked_at = found.clock()

    def once() -> float:
        nonlocal looked_at
        runs.append(found.run(call))
        if found.clock() - looked_at > _LOOK_EVERY_S:
            looks.append((len(runs), found.look()))
            looked_at = found.clock()
        return runs[-1].device_s

    sampled = collect(once, protocol, clock=found.clock, on_progress=on_progress)
    looks.append((len(runs), found.look()))
    warm = len(runs) - len(sampled.samples)
    seen = _from_sampling(looks, warm)
    interval = median_interval(sampled.samples)
    extra, launch = _enqueued(runs[warm:])
    doubts = sample_doubts(sampled, protocol, interval) + launch + found.doubts(seen)
    doubts += guest_doubts(seen[-1])
    return _measurement(sampled, interval, doubts, {**extra, **found.evidence(seen)})


def _from_sampling(looks: list[tuple[int, Look]], warm: int) -> list[Look]:
    """The last look within the ``warm`` runs of warm-up and all after: a clock that still rose
    while warming up is no doubt."""
    before = max(i for i, (runs, _) in enumerate(looks) if runs <= warm)
    return [look for _, look in looks[before:]]


def _enqueued(runs: list[Run]) -> tuple[dict[str, Any], list[str]]:
    """Host times beside the device's, and the doubt they raise; nothing where there are none."""
    enqueue_s = [run.enqueue_s for run in runs if run.enqueue_s is not None]
    if not enqueue_s:
        return {}, []
    device, enqueue = statistics.median(run.device_s for run in runs), statistics.median(enqueue_s)
    extra = {
        "enqueue_median_s": enqueue,
        "wall_median_s": statistics.median(run.wall_s for run in runs),
        "launch_share": enqueue / device if device > 0 else None,
    }
    return extra, launch_doubts(device, enqueue)


def _measurement(
    sampled: Sampled, interval: tuple[float, float], doubts: list[str], extra: dict[str, Any]
) -> Measurement:
    low, high = interval
    return Measurement(
        quantity="latency_s",
        samples=sampled.samples,
        warmup=sampled.warmup,
        doubts=tuple(doubts),
        extra={
            "median_low_s": low,
            "median_high_s": high,
            "interval_coverage": 0.95,
            "interval_method": "moving-block bootstrap, at least the t interval of 8 blocks",
            "stopped_by": sampled.stopped_by,
            **extra,
        },
    )
