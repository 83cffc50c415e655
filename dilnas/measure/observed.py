"""One planned workload measured: latency first, every other part beside it, or why it is missing.

    prepare | latency | energy | model freed | memory, in a fresh process | breakdown

What fails after the latency was taken is named in ``Profile.missing``: a measurement that was made
is not lost because a later one could not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dilnas.errors import DeviceError
from dilnas.measure.latency import measure_latency
from dilnas.measure.limits import check_device, fits, release
from dilnas.measure.sampling import Progress, Protocol
from dilnas.records import Breakdown, DeviceRates, Energy, Measurement, Memory, Profile

if TYPE_CHECKING:
    from dilnas.measure.plan import Parts
    from dilnas.measure.workload import Runnable

__all__ = ["located", "observed"]


def located(plan: Profile, device: str) -> Profile:
    """``plan`` with the device that it will run on and that device's environment."""
    from dilnas.measure.machine import environment, settings

    workload = replace(plan.workload, device=device)
    with settings(workload):
        return replace(plan, workload=workload, environment=environment(device))


def observed(
    plan: Profile,
    parts: Parts,
    protocol: Protocol,
    on_progress: Progress,
    *,
    alone: bool,
    rates: DeviceRates | None = None,
) -> Profile:
    """``plan``, whose workload names a device, with what the device shows.

    ``alone``: the only workload, which gets the parts that are left to habit. ``rates``: what the
    device was seen to do, for the breakdown. Raises DeviceError where the workload does not run at
    all. Torch's settings and random state are left as they were.
    """
    from dilnas.measure.machine import settings

    workload = plan.workload
    want_energy = alone if parts.energy is None else parts.energy
    want_memory = alone if parts.memory is None else parts.memory
    missing: dict[str, str] = {}
    with settings(workload), _random_state(workload.device):
        measurement, energy = _timed(
            plan, protocol, on_progress,
            memory_here=parts.memory is None and not alone, want_energy=want_energy,
        )  # fmt: skip
        release(workload.device)
        if isinstance(energy, str):
            missing["energy"] = energy
        memory = _memory(plan, on_progress) if want_memory else None
        if isinstance(memory, str):
            missing["memory"] = memory
        breakdown = (
            _breakdown(plan, measurement.median, rates, on_progress) if parts.breakdown else None
        )
        if isinstance(breakdown, str):
            missing["breakdown"] = breakdown
    return replace(
        plan,
        measurement=measurement,
        energy=None if isinstance(energy, str) else energy,
        memory=None if isinstance(memory, str) else memory,
        breakdown=None if isinstance(breakdown, str) else breakdown,
        missing=missing or None,
    )


def _timed(
    plan: Profile,
    protocol: Protocol,
    on_progress: Progress,
    *,
    memory_here: bool,
    want_energy: bool,
) -> tuple[Measurement, Energy | str | None]:
    """Latency and what needs the same model; the model is gone when this returns."""
    from dilnas.measure.workload import prepare

    workload = plan.workload
    compiling = workload.compile == "compile"
    with fits(workload):
        check_device(workload, plan.cost)  # before a word of progress: a refusal is one line
        on_progress("building and compiling the model" if compiling else "building the model", 0.0)
        runnable = prepare(plan.architecture, workload, plan.cost)
        measurement = measure_latency(runnable.call, workload, protocol, on_progress=on_progress)
    extra = {**measurement.extra, **runnable.extra}
    if memory_here:
        extra |= _memory_here(plan, runnable, on_progress)
    energy = _energy(plan, runnable, measurement.median, on_progress) if want_energy else None
    return replace(measurement, extra=extra), energy


def _memory_here(plan: Profile, runnable: Runnable, on_progress: Progress) -> dict[str, Any]:
    """Peak memory of one more call in this process, among other workloads' remains."""
    from dilnas.measure.memory import peak_memory

    workload = plan.workload
    if workload.compile == "compile" and not workload.device.startswith("cuda"):
        return {}  # the tally sees operators, and a compiled model on a CPU has none
    on_progress("peak memory", 1.0)
    try:
        with fits(workload):
            return peak_memory(runnable.call, workload.device, runnable.resident)
    except DeviceError as error:
        return {"peak_memory_bytes": None, "memory_missing": str(error)}


def _energy(
    plan: Profile, runnable: Runnable, median_s: float, on_progress: Progress
) -> Energy | str:
    from dilnas.measure.device import open_device
    from dilnas.measure.energy import measure_energy

    on_progress("energy", 0.0)
    workload = plan.workload
    try:
        with fits(workload):
            return measure_energy(
                runnable.call, workload.batch_size, open_device(workload.device),
                median_s=median_s, on_progress=on_progress,
            )  # fmt: skip
    except DeviceError as error:
        return str(error)


def _memory(plan: Profile, on_progress: Progress) -> Memory | str:
    from dilnas.measure.memory import measure_memory

    on_progress("memory, in a fresh process", 0.0)
    try:
        return measure_memory(plan.architecture, plan.workload, plan.cost)
    except DeviceError as error:
        return str(error)


def _breakdown(
    plan: Profile, plain_s: float, rates: DeviceRates | None, on_progress: Progress
) -> Breakdown | str:
    from dilnas.measure.breakdown import measure_breakdown

    on_progress("where the time goes", 0.0)
    try:
        with fits(plan.workload):
            return measure_breakdown(
                plan.architecture, plan.workload, plan.cost,
                plain_s=plain_s, rates=rates, on_progress=on_progress,
            )  # fmt: skip
    except DeviceError as error:
        return str(error)


@contextmanager
def _random_state(device: str) -> Iterator[None]:
    """The caller's random state afterwards: a training step may draw from it."""
    import torch

    if not device.startswith("cuda"):
        with torch.random.fork_rng(devices=[]):
            yield
        return
    index = torch.device(device).index
    with torch.random.fork_rng(devices=[torch.cuda.current_device() if index is None else index]):
        yield
