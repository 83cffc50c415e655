"""``profile_task``: a dense task's exact cost, and the time of its backbone on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.cost import cost, task_cost
from dilnas.measure.latency import DEFAULT, measure_latency
from dilnas.measure.limits import check_device, check_workload, fits, release
from dilnas.measure.plan import NOT_RUN
from dilnas.measure.published import variant_of
from dilnas.measure.sampling import Progress, Protocol
from dilnas.records import Measurement, TaskCost, TaskProfile, Workload
from dilnas.runs import resolve

if TYPE_CHECKING:
    from dilnas.measure.workload import Runnable

__all__ = ["profile_task"]

WORTH_A_NOTE = 0.01
"""Share of global attention's products from which on counters differ visibly."""


def profile_task(
    spec_or_architecture: str | PurePath | Architecture,
    task: str,
    *,
    img_size: tuple[int, int] | None = None,
    device: str | None = None,
    batch_size: int = 1,
    dtype: str = "fp32",
    mode: str = "inference",
    threads: int = 0,
    compile: str = "eager",
    channels_last: bool = False,
    latency: bool = True,
    protocol: Protocol = DEFAULT,
    on_progress: Progress | None = None,
) -> TaskProfile:
    """Cost of backbone, neck and heads and, with ``latency``, the time of the backbone.

    Neck and heads are not run: how long a detector's take depends on what it detects, and one with
    random weights detects nothing that a trained one does.

    Args:
        spec_or_architecture: "tiny", an architecture file, ``RUN#N``, or an Architecture.
        task: "detection" (Mask R-CNN) or "segmentation" (UPerNet).
        img_size: (height, width) in pixels, multiples of the stride; None: 800 x 1280 for
            detection, 512 x 2048 for segmentation.
        device, batch_size, dtype, mode, threads, compile, channels_last: see
            ``dilnas.measure.profile``.
        latency: False gives the exact cost alone: no device, no torch.
        protocol: how samples are taken.
        on_progress: told what is being done, between runs.

    Raises InputError, ArchitectureError or RunError for bad arguments and DeviceError for a device
    that is not there or too small.
    """
    if isinstance(spec_or_architecture, Architecture):
        architecture = spec_or_architecture
        name = variant_of(architecture) or architecture.key
    else:
        name, architecture = resolve(str(spec_or_architecture))
    counted = task_cost(task, architecture, *(img_size or ()))
    workload = Workload(
        batch_size=batch_size, height=counted.height, width=counted.width, dtype=dtype,
        device=device or NOT_RUN, mode=mode, compile=compile, channels_last=channels_last,
        threads=threads,
    )  # fmt: skip
    check_workload(workload)
    plan = TaskProfile(
        name=name, architecture=architecture, workload=workload, cost=counted,
        notes=tuple(_notes(counted, latency)),
    )  # fmt: skip
    return _measured(plan, device, protocol, on_progress or (lambda *_: None)) if latency else plan


def _notes(counted: TaskCost, latency: bool) -> Iterator[str]:
    share = counted.global_matmul / counted.flops
    if share >= WORTH_A_NOTE:
        rest = (counted.flops - counted.global_matmul) / 1e9
        yield (
            f"{counted.global_matmul / 1e9:.1f} GFLOPs ({share:.0%}) are the products in global "
            f"attention at this size; a counter that does not see inside of it prints {rest:.1f}"
        )
    yield from counted.assumptions
    if latency:
        yield "neck and heads were not run: what a detector's take depends on what it detects"


def _measured(
    plan: TaskProfile, device: str | None, protocol: Protocol, on_progress: Progress
) -> TaskProfile:
    from dilnas.measure.machine import choose_device, environment, settings

    workload = replace(plan.workload, device=choose_device(device))
    with settings(workload):
        here = replace(plan, workload=workload, environment=environment(workload.device))
        with fits(workload):
            measurement = _timed(here, protocol, on_progress)
        release(workload.device)
    return replace(here, measurement=measurement)


def _timed(plan: TaskProfile, protocol: Protocol, on_progress: Progress) -> Measurement:
    """Latency of the backbone; the model is gone when this returns."""
    workload = plan.workload
    check_device(workload, cost(plan.architecture, workload.height, workload.width))
    on_progress("building the backbone", 0.0)
    runnable = _runnable(plan.architecture, workload)
    found = measure_latency(runnable.call, workload, protocol, on_progress=on_progress)
    return replace(found, extra={**found.extra, **runnable.extra})


def _runnable(architecture: Architecture, workload: Workload) -> Runnable:
    from dilnas.dense.pyramid import NormedPyramid
    from dilnas.measure.workload import prepare_module

    return prepare_module(
        lambda: NormedPyramid(architecture), architecture.in_chans, workload, several=True
    )
