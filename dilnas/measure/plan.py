"""What is to be measured, checked as a whole before anything is: Profiles that hold the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import PurePath
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.measure.limits import check_workload
from dilnas.measure.published import published_notes, variant_of
from dilnas.records import Profile, Workload
from dilnas.runs import resolve
from dilnas.sizes import sides_of

__all__ = ["MAX_WORKLOADS", "NOT_RUN", "Axes", "Parts", "plans"]

NOT_RUN = "none"
"""Device of a Profile that holds the cost alone."""

MAX_WORKLOADS = 500
"""A larger sweep is a typing mistake: at 20 s each it would take three hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What varies in a sweep; the workloads are the product, batch sizes in the innermost loop.

    Attributes:
        batch_sizes: images in a batch.
        img_sizes: pixels, one side of a square or (height, width).
        dtypes: fp32 (TF32 off), tf32, fp16, bf16.
        modes: inference, train (forward and backward).
        compiles: eager, compile (torch.compile), graph (CUDA graph).
        channels_last: the memory format of every workload.
        threads: CPU threads of torch of every workload; 0 leaves them as they are.
    """

    batch_sizes: Sequence[int] = (1,)
    img_sizes: Sequence[int | tuple[int, int]] = (224,)
    dtypes: Sequence[str] = ("fp32",)
    modes: Sequence[str] = ("inference",)
    compiles: Sequence[str] = ("eager",)
    channels_last: bool = False
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which parts of a Profile are wanted.

    Attributes:
        latency: False gives the exact cost alone: no device, no torch.
        memory: in a fresh process. None: for one workload yes; in a sweep a reading taken in this
            process stands among the measurement's ``extra`` instead.
        energy: from the device's energy counter, or why there is none. None: for one workload.
        breakdown: time by part and by operator.
        counters: third-party counters beside the closed form.
    """

    latency: bool = True
    memory: bool | None = None
    energy: bool | None = None
    breakdown: bool = False
    counters: bool = False


def plans(
    spec: str | PurePath | Architecture, axes: Axes, parts: Parts, device: str | None
) -> tuple[Profile, ...]:
    """One unmeasured Profile a workload, the exact cost computed once an image size.

    No device is touched. Raises InputError, ArchitectureError or RunError for what no device can
    run, with the option at fault.
    """
    from dilnas.cost import cost

    name, architecture = _named(spec)
    sizes = tuple(sides_of(size) for size in _axis("--img-size", axes.img_sizes))
    given = (
        _axis("--img-size", sizes),
        _axis("--mode", axes.modes),
        _axis("compile", axes.compiles),
        _axis("--dtype", axes.dtypes),
        _axis("--batch-size", axes.batch_sizes),
    )
    workloads = _workloads(given, axes, device or NOT_RUN)
    _check_parts(parts, axes)
    costs = {size: cost(architecture, *size) for size in sizes}
    plain = [
        Profile(
            name=name,
            architecture=architecture,
            workload=workload,
            cost=costs[workload.height, workload.width],
            notes=published_notes(architecture, costs[workload.height, workload.width]),
        )
        for workload in workloads
    ]
    return tuple(_counted(plain)) if parts.counters else tuple(plain)


def _workloads(given: tuple[Sequence[Any], ...], axes: Axes, device: str) -> tuple[Workload, ...]:
    """The product, each of it something that some device can run."""
    count = 1
    for values in given:
        count *= len(values)
    if count > MAX_WORKLOADS:
        raise InputError("too many workloads", expected=f"at most {MAX_WORKLOADS}", got=count)
    workloads = tuple(
        Workload(
            batch_size=batch_size, height=height, width=width, dtype=dtype, device=device,
            mode=mode, compile=compiled, channels_last=axes.channels_last, threads=axes.threads,
        )
        for (height, width), mode, compiled, dtype, batch_size in product(*given)
    )  # fmt: skip
    for workload in workloads:
        check_workload(workload)
    return workloads


def _axis(where: str, values: Sequence[Any]) -> Sequence[Any]:
    """``values`` if they are a list without repetition."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError("must be a list", where=where, got=values)
    if not values:
        raise InputError("must not be empty", where=where)
    for i, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:i]):
            shown = "x".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError("named twice", where=where, got=shown)
    return values


def _check_parts(parts: Parts, axes: Axes) -> None:
    if not parts.latency:
        asked = ("memory", parts.memory), ("energy", parts.energy), ("breakdown", parts.breakdown)
        if names := [f"--{name}" for name, wanted in asked if wanted]:
            raise InputError("needs a measurement", where=" and ".join(names), got="--no-latency")
    if parts.breakdown and any(compiled != "eager" for compiled in axes.compiles):
        raise InputError(
            "operators are timed in eager mode only", where="--breakdown",
            got=", ".join(axes.compiles),
        )  # fmt: skip


def _counted(plain: Sequence[Profile]) -> list[Profile]:
    """With the counters' reports: the same for every workload of one image size."""
    from dilnas.count import reconcile

    seen: dict[tuple[int, int], Any] = {}
    out = []
    for profile in plain:
        size = profile.cost.height, profile.cost.width
        if size not in seen:
            seen[size] = reconcile(profile.architecture, *size)
        out.append(replace(profile, counters=seen[size]))
    return out


def _named(spec: str | PurePath | Architecture) -> tuple[str, Architecture]:
    if isinstance(spec, Architecture):
        return variant_of(spec) or spec.key, spec
    if not isinstance(spec, str | PurePath):
        raise InputError(
            "must be a name, a file, RUN#N or an Architecture",
            where="architecture", got=type(spec).__name__,
        )  # fmt: skip
    return resolve(str(spec))
