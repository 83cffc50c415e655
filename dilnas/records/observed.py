"""What was observed on a device: raw samples and readings, a unit in every name."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Energy", "Measurement", "Memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was observed: raw samples, everything else derived from them.

    Attributes:
        quantity: what was sampled ("latency_s": seconds for one batch).
        samples: the raw values in the quantity's unit, in the order taken, warm-up left out.
        warmup: number of runs before the first sample.
        doubts: what makes the samples doubtful, a sentence each; empty if nothing is known.
        extra: other readings of the same run by name, with the unit in the name
            ("peak_memory_bytes", "rss_bytes").
    """

    quantity: str
    samples: tuple[float, ...]
    warmup: int = 0
    doubts: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median of the samples, in the quantity's unit."""
        return statistics.median(self.samples)

    def percentile(self, percent: float) -> float:
        """Linearly interpolated percentile of the samples, in the quantity's unit."""
        ordered = sorted(self.samples)
        position = (len(ordered) - 1) * percent / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of one workload in a process of its own; all sizes in bytes, None where not told.

    Exactly additive parts of the tensors, then what an allocator and the system say of the whole:

        weights + input + activation_peak = tensor_peak <= allocated_peak <= reserved_peak
        allocated_peak - tensor_peak = workspace          process - reserved = context

    Attributes:
        method: how the numbers were taken, in words.
        weights_bytes: parameters and buffers.
        input_bytes: the batch of images.
        activation_peak_bytes: most that tensors made during the call held at once (gradients of
            the weights included in a training step).
        workspace_bytes: what the allocator handed out beyond tensors at its peak.
        context_bytes: what the process holds besides the allocator's memory (CUDA context and
            libraries; on a CPU the interpreter and its libraries before the model is built).
        allocated_peak_bytes: the allocator's peak of what was handed out.
        reserved_peak_bytes: the allocator's peak of what it took from the device; None on a CPU.
        device_process_bytes: what NVML counts for the process; None on a CPU.
        resident_set_peak_bytes: largest resident set of the process.
        closed_form_bytes: what the closed form says that the tensors hold; exact, not observed.
        doubts: what makes the readings doubtful, a sentence each.
    """

    method: str
    weights_bytes: int
    input_bytes: int
    activation_peak_bytes: int | None = None
    workspace_bytes: int | None = None
    context_bytes: int | None = None
    allocated_peak_bytes: int | None = None
    reserved_peak_bytes: int | None = None
    device_process_bytes: int | None = None
    resident_set_peak_bytes: int | None = None
    closed_form_bytes: int | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of one workload, from a counter read around windows of seconds.

    Attributes:
        joules_per_image: median over the windows, everything that the device drew.
        joules_per_image_above_idle: the same with the idle draw subtracted; None if idle is not
            known. A second figure, never the first.
        mean_watts: energy of all windows over their time.
        idle_watts: draw of the same device without work, before the windows; None if not known.
        window_joules: the counter's difference over each window.
        window_s: length of each window.
        window_images: images of each window.
        counter: what was read ("NVML total energy").
        doubts: what makes the readings doubtful, a sentence each.
    """

    joules_per_image: float
    joules_per_image_above_idle: float | None
    mean_watts: float
    idle_watts: float | None
    window_joules: tuple[float, ...]
    window_s: tuple[float, ...]
    window_images: tuple[int, ...]
    counter: str
    doubts: tuple[str, ...] = ()
