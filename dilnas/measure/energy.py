"""Joules an image, from the energy counter of the device read around windows of seconds.

    | settle | idle window | warm-up | window 1        | window 2        | …
             ^      ^      ^         ^                 ^                 ^
             counter steps without   counter steps under load: one's end is the next one's start
             load: idle draw

The counter (NVML: of everything that the GPU has drawn since its driver was loaded) moves in steps,
every 20 to 100 ms by device. So a window begins and ends at a step: the call goes on being run, in
bursts of about 20 ms between two synchronisations, and the counter is read after each burst until
it has moved. What is left is the length of a burst at each end; where that is more than 2 % of a
window, a doubt says so. Sampled power is not used: on data-centre GPUs it covers a part of the time
(arXiv 2312.02741). Idle draw is that of this process with its context and its memory, and is
subtracted in a second figure only.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dilnas.errors import InputError
from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import Device, Look
from dilnas.measure.nvml import GpuReading
from dilnas.measure.sampling import Progress
from dilnas.records import Energy

__all__ = ["measure_energy", "slower_doubts"]

SETTLE_S = 1.0
"""Without load before the idle window: draw and clocks fall within it."""

WARM_UP_S = 1.0
BURST_S = 0.02
MOST_CALLS = 10_000
"""Of a burst."""

POLL_S = 0.01
"""Between two readings of the counter without load."""

STUCK_S = 1.0
"""A counter that has not moved for so long does not move."""

SPREAD = 0.05
"""Of the windows' joules an image, largest less smallest, of the median."""

EDGE_SHARE = 0.02
"""Uncertainty of a window's ends, of its length."""

IDLE_CHANGE = 0.1
"""Second half of the idle window against the first."""

SLOWER = 0.1
"""A batch of the windows against the latency's median."""

FEW_WINDOWS = 3

MODULES = ("GH200",)
"""GPUs whose counter is that of the module, CPU and memory included (ml-energy/zeus #172)."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The counter was seen to have moved at ``at_s``, ``gap_s`` after it was last read."""

    at_s: float
    energy_j: float
    calls: int
    gap_s: float


class _UnknownError(Exception):
    """Why the counter cannot be used, in words."""


def measure_energy(
    call: Callable[[], object],
    images: int,
    device: Device,
    *,
    windows: int = 5,
    window_s: float = 2.0,
    median_s: float | None = None,
    on_progress: Progress | None = None,
) -> Energy | str:
    """Energy of ``call``, which does a batch of ``images``; a string says why it is not known.

    ``windows`` of at least ``window_s`` seconds each, longer by what it takes for the counter to
    move. ``median_s``: the latency of ``call``, where it is known; a doubt says if the windows were
    slower. Raises InputError for numbers that are not positive and what ``call`` raises.
    """
    for name, value in (("images", images), ("windows", windows), ("window_s", window_s)):
        if not (math.isfinite(value) and value > 0):
            raise InputError("must be positive", where=name, got=value)
    first = device.look()
    if why := _why_not(first):
        return why
    told = on_progress if on_progress is not None else lambda _doing, _share: None
    told("energy: idle", 0.0)
    idle_w, idle_doubts = _idle(device, window_s)
    load = _Load(device, call)
    told("energy: warm-up", 0.0)
    load.warm_up()
    looks: list[Look] = [first, device.look()]
    try:
        steps = [load.step()]
        for done in range(windows):
            told(f"energy: window {done + 1}", done / windows)
            load.until(steps[-1].at_s + window_s)
            steps.append(_after(steps[-1], load.step()))
            looks.append(device.look())
    except _UnknownError as unknown:
        return str(unknown)
    doubts = device.doubts(looks) + _counter_doubts(looks, device.environment().device_name)
    found = _energy(steps, images, idle_w, [*doubts, *idle_doubts])
    slower = [] if median_s is None else slower_doubts(found, images, median_s)
    return replace(found, doubts=(*found.doubts, *slower))


def slower_doubts(energy: Energy, images: int, median_s: float) -> list[str]:
    """Whether a batch of ``images`` took longer in the windows than its latency says.

    A GPU that waits for a slowed host draws all the while, and an image costs more.
    """
    batch_s = sum(energy.window_s) * images / sum(energy.window_images)
    if batch_s <= (1 + SLOWER) * median_s:
        return []
    took, median = f"{batch_s * 1e3:.4g} ms", f"{median_s * 1e3:.4g} ms"
    return [f"a batch took {took} in the windows, its latency is {median}: the device has waited"]


def _why_not(look: Look) -> str:
    if isinstance(look, CpuUse):
        return "a CPU has no energy counter that is read here"
    if look.absent:
        return look.absent
    return "NVML does not tell this GPU's energy" if look.energy_j is None else ""


def _idle(device: Device, window_s: float) -> tuple[float | None, list[str]]:
    """Watts without work over ``window_s``, and their doubts."""

    def pause() -> int:
        device.sleep(POLL_S)
        return 0

    device.sleep(SETTLE_S)
    try:
        steps = [_next_step(device, pause)]
        for _ in range(2):
            device.sleep(window_s / 2)
            steps.append(_after(steps[-1], _next_step(device, pause)))
    except _UnknownError as unknown:
        return None, [f"idle draw unknown: {unknown}"]
    halves = [_watts(one, other) for one, other in itertools.pairwise(steps)]
    doubts = []
    if abs(halves[1] - halves[0]) > IDLE_CHANGE * halves[0]:
        doubts.append(f"idle draw was still changing: {halves[0]:.0f} W, then {halves[1]:.0f} W")
    return _watts(steps[0], steps[-1]), doubts


def _watts(one: _Step, other: _Step) -> float:
    return (other.energy_j - one.energy_j) / (other.at_s - one.at_s)


def _next_step(device: Device, work: Callable[[], int]) -> _Step:
    """Do ``work`` until the counter moves. Raises _UnknownError where it does not, or goes back."""
    calls, before, begin = 0, device.energy_j(), device.clock()
    read_at = begin
    while True:
        calls += work()
        now = device.energy_j()
        at = device.clock()
        if before is None or now is None:
            raise _UnknownError("the energy counter stopped answering")
        if now < before:
            raise _UnknownError(f"the energy counter went back by {before - now:.1f} J")
        if now > before:
            return _Step(at, now, calls, at - read_at)
        if at - begin > STUCK_S:
            raise _UnknownError(f"the energy counter did not move in {at - begin:.1f} s")
        read_at = at


def _after(one: _Step, other: _Step) -> _Step:
    """``other``; _UnknownError where the counter has gone back meanwhile."""
    if other.energy_j < one.energy_j:
        raise _UnknownError(
            f"the energy counter went back by {one.energy_j - other.energy_j:.1f} J"
        )
    return other


class _Load:
    """The call, run in bursts; counts the calls done since the last step of the counter."""

    def __init__(self, device: Device, call: Callable[[], object]) -> None:
        self.device = device
        self.call = call
        self.calls = 1
        """Calls in a burst."""
        self._done = 0

    def burst(self) -> int:
        """Run it; the number of calls."""
        self.device.run(self.call, self.calls)
        return self.calls

    def warm_up(self) -> None:
        """Run for a while and learn how many calls make a burst."""
        begin = self.device.clock()
        while self.device.clock() - begin < WARM_UP_S:
            each_s = self.device.run(self.call, self.calls).wall_s / self.calls
            fit = BURST_S / each_s if each_s > 0 else MOST_CALLS
            self.calls = min(max(round(fit), 1), MOST_CALLS)

    def until(self, end_s: float) -> None:
        """Run until the device's clock shows ``end_s``."""
        while self.device.clock() < end_s:
            self._done += self.burst()

    def step(self) -> _Step:
        """Run until the counter moves; with the calls since the step before."""
        found = _next_step(self.device, self.burst)
        calls, self._done = self._done + found.calls, 0
        return _Step(found.at_s, found.energy_j, calls, found.gap_s)


def _counter_doubts(looks: Sequence[Look], name: str) -> list[str]:
    """Doubts of what the counter covers."""
    seen = [look for look in looks if isinstance(look, GpuReading)]
    out = []
    if any(look.mig for look in seen):
        out.append("the counter is that of the whole GPU, other MIG slices included")
    if any(look.other_processes for look in seen):
        out.append("what other processes draw on the GPU is counted too")
    if any(module in name for module in MODULES):
        out.append("the counter is that of the module, the CPU and its memory included")
    return out


def _energy(steps: Sequence[_Step], images: int, idle_w: float | None, doubts: list[str]) -> Energy:
    pairs = list(itertools.pairwise(steps))
    joules = tuple(other.energy_j - one.energy_j for one, other in pairs)
    seconds = tuple(other.at_s - one.at_s for one, other in pairs)
    counts = tuple(other.calls * images for _, other in pairs)
    each = [j / count for j, count in zip(joules, counts, strict=True)]
    above, above_doubts = None, []
    if idle_w is not None:
        above = statistics.median(
            (j - idle_w * s) / count for j, s, count in zip(joules, seconds, counts, strict=True)
        )
        if above <= 0:
            above, above_doubts = None, ["the device drew no more under load than without"]
    return Energy(
        joules_per_image=statistics.median(each),
        joules_per_image_above_idle=above,
        mean_watts=sum(joules) / sum(seconds),
        idle_watts=idle_w,
        window_joules=joules,
        window_s=seconds,
        window_images=counts,
        counter="NVML total energy",
        doubts=(*doubts, *_window_doubts(each, pairs), *above_doubts),
    )


def _window_doubts(each: Sequence[float], pairs: Sequence[tuple[_Step, _Step]]) -> list[str]:
    out = []
    if len(pairs) < FEW_WINDOWS:
        out.append(f"few windows: {len(pairs)}")
    if (spread := (max(each) - min(each)) / statistics.median(each)) > SPREAD:
        out.append(f"windows differ by {spread:.1%} in joules an image")
    edge = max(max(one.gap_s, other.gap_s) / (other.at_s - one.at_s) for one, other in pairs)
    if edge > EDGE_SHARE:
        out.append(f"the ends of the windows are known to ±{edge:.1%} of their length only")
    return out
