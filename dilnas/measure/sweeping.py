"""``sweep``: one architecture over batch sizes, image sizes, dtypes, modes and ways to run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import PurePath

from dilnas.arch import Architecture
from dilnas.errors import DeviceError
from dilnas.measure.latency import DEFAULT
from dilnas.measure.limits import release
from dilnas.measure.plan import Axes, Parts, plans
from dilnas.measure.sampling import Progress, Protocol
from dilnas.records import DeviceRates, Profile

__all__ = ["sweep"]


def sweep(
    spec: str | PurePath | Architecture,
    *,
    device: str | None = None,
    batch_sizes: Sequence[int] = (1,),
    img_sizes: Sequence[int | tuple[int, int]] = (224,),
    dtypes: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("inference",),
    compiles: Sequence[str] = ("eager",),
    channels_last: bool = False,
    threads: int = 0,
    latency: bool = True,
    memory: bool | None = None,
    energy: bool | None = None,
    breakdown: bool = False,
    counters: bool = False,
    protocol: Protocol = DEFAULT,
    on_profile: Callable[[Profile], None] | None = None,
    on_progress: Progress | None = None,
) -> tuple[Profile, ...]:
    """One Profile a workload, the product of the axes, in their order; batch sizes innermost.

    Args:
        spec: "tiny", an architecture file, ``RUN#N``, or an Architecture.
        device: "cpu", "cuda", "cuda:N"; None: cuda when there is one, else cpu.
        batch_sizes, img_sizes, dtypes, modes, compiles, channels_last, threads: see ``Axes``.
        latency, memory, energy, breakdown, counters: see ``Parts``.
        protocol: how samples are taken.
        on_profile: given each Profile when it is done.
        on_progress: told what is being done, between runs.

    What is known to be wrong beforehand raises InputError, ArchitectureError or RunError before
    anything is measured, and DeviceError if there is no such device. A workload that the device
    cannot do or has no memory for becomes a Profile with a ``failure`` and the sweep goes on; if
    it is the only one, its DeviceError is raised.
    """
    axes = Axes(
        batch_sizes=batch_sizes, img_sizes=img_sizes, dtypes=dtypes, modes=modes,
        compiles=compiles, channels_last=channels_last, threads=threads,
    )  # fmt: skip
    parts = Parts(
        latency=latency, memory=memory, energy=energy, breakdown=breakdown, counters=counters
    )
    planned = plans(spec, axes, parts, device)
    tell = on_profile or (lambda _: None)
    if not latency:
        for plan in planned:
            tell(plan)
        return planned
    return _measured(
        planned, parts, device, protocol, tell=tell, on_progress=on_progress or (lambda *_: None)
    )


def _measured(
    planned: Sequence[Profile],
    parts: Parts,
    device: str | None,
    protocol: Protocol,
    *,
    tell: Callable[[Profile], None],
    on_progress: Progress,
) -> tuple[Profile, ...]:
    from dilnas.measure.machine import choose_device
    from dilnas.measure.workload import models_kept

    where, alone = choose_device(device), len(planned) == 1
    # On a CPU a model that is kept would stand in the resident set of every workload.
    keep = where.startswith("cuda") and not alone
    with models_kept() if keep else nullcontext():
        return _rows(planned, parts, where, protocol, tell=tell, on_progress=on_progress)


def _rows(
    planned: Sequence[Profile],
    parts: Parts,
    where: str,
    protocol: Protocol,
    *,
    tell: Callable[[Profile], None],
    on_progress: Progress,
) -> tuple[Profile, ...]:
    from dilnas.measure.observed import located, observed

    alone = len(planned) == 1
    rates: dict[str, DeviceRates] = {}
    done: list[Profile] = []
    for number, plan in enumerate(planned, 1):
        place = "" if alone else f"{number} of {len(planned)}, "
        if plan.workload.compile == "compile":
            from dilnas.measure.compiled import forget_compiled

            forget_compiled()
        here = located(plan, where)
        result = None
        try:
            result = observed(
                here, parts, protocol, _placed(on_progress, place),
                alone=alone, rates=rates.get(plan.workload.dtype),
            )  # fmt: skip
        except DeviceError as error:
            if alone:
                raise
            failure = str(error)
        # Only here, where the exception and the frames that it held are gone.
        release(where)
        result = result or replace(here, failure=failure)
        if result.breakdown is not None:
            rates.setdefault(plan.workload.dtype, result.breakdown.rates)
        done.append(result)
        tell(result)
    return tuple(done)


def _placed(on_progress: Progress, place: str) -> Progress:
    return lambda doing, share: on_progress(place + doing, share)
