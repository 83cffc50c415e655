"""``profile``: the exact cost first, before any device is touched; then what a device shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.measure.latency import DEFAULT, measure_latency
from dilnas.measure.published import published_notes, variant_of
from dilnas.measure.sampling import Progress, Protocol
from dilnas.measure.workload import check_workload, fits, prepare
from dilnas.records import Profile, Workload
from dilnas.runs import resolve

__all__ = ["NOT_RUN", "profile"]

NOT_RUN = "none"
"""Device of a Profile that holds the cost alone."""


def profile(
    spec_or_architecture: str | PurePath | Architecture,
    *,
    device: str | None = None,
    batch_size: int = 1,
    dtype: str = "fp32",
    img_size: int | tuple[int, int] = 224,
    latency: bool = True,
    mode: str = "inference",
    threads: int = 0,
    protocol: Protocol = DEFAULT,
    on_progress: Progress | None = None,
) -> Profile:
    """Cost of an architecture and, with ``latency``, its time and memory on a device.

    Args:
        spec_or_architecture: "tiny", an architecture file, ``RUN#N``, or an Architecture.
        device: "cpu", "cuda", "cuda:N"; None: cuda when there is one, else cpu.
        batch_size: images in a batch.
        dtype: fp32 (TF32 off), tf32, fp16 or bf16.
        img_size: pixels, one side of a square or (height, width); multiples of the stride.
        latency: False gives the exact cost alone: no device, no torch.
        mode: inference, or train (forward and backward).
        threads: CPU threads of torch; 0 leaves them as they are.
        protocol: how samples are taken.
        on_progress: told what is being done, between runs.

    Raises InputError, ArchitectureError or RunError for bad arguments and DeviceError for a
    device that is not there or too small. The caller's torch settings are left as they were.

        >>> profile("tiny", latency=False).cost.params
        17238544
    """
    from dilnas.cost import cost

    name, architecture = _named(spec_or_architecture)
    height, width = _sides(img_size)
    exact = cost(architecture, height, width)
    workload = Workload(
        batch_size=batch_size, height=height, width=width, dtype=dtype,
        device=device or NOT_RUN, mode=mode, threads=threads,
    )  # fmt: skip
    check_workload(workload)
    result = Profile(
        name=name,
        architecture=architecture,
        workload=workload,
        cost=exact,
        notes=published_notes(architecture, exact),
    )
    return _measured(result, device, protocol, on_progress) if latency else result


def _named(spec: str | PurePath | Architecture) -> tuple[str, Architecture]:
    if isinstance(spec, Architecture):
        return variant_of(spec) or spec.key, spec
    if not isinstance(spec, str | PurePath):
        raise InputError(
            "must be a name, a file, RUN#N or an Architecture",
            where="architecture", got=type(spec).__name__,
        )  # fmt: skip
    return resolve(str(spec))


def _sides(img_size: object) -> tuple[int, int]:
    """(height, width); whether the strides allow them is cost's to say."""
    sides = img_size if isinstance(img_size, tuple | list) else (img_size, img_size)
    if len(sides) != 2:
        raise InputError(
            "must be one side or (height, width)", where="--img-size", got=str(img_size)
        )
    return sides[0], sides[1]


def _measured(
    plan: Profile, device: str | None, protocol: Protocol, on_progress: Progress | None
) -> Profile:
    from dilnas.measure.machine import choose_device, environment, settings
    from dilnas.measure.memory import peak_memory

    workload = replace(plan.workload, device=choose_device(device))
    with settings(workload), fits(workload):
        if on_progress is not None:
            on_progress("building the model", 0.0)
        runnable = prepare(plan.architecture, workload, plan.cost)
        measurement = measure_latency(runnable.call, workload, protocol, on_progress=on_progress)
        if on_progress is not None:
            on_progress("peak memory", 1.0)
        memory = peak_memory(runnable.call, workload.device, runnable.resident)
        where = environment(workload.device)
    extra = {**measurement.extra, **memory, **_energy_note(workload)}
    return replace(
        plan,
        workload=workload,
        environment=where,
        measurement=replace(measurement, extra=extra),
    )


def _energy_note(workload: Workload) -> dict[str, object]:
    kind = "CUDA" if workload.device.startswith("cuda") else "CPU"
    return {"energy_j": None, "energy_missing": f"energy is not measured on {kind} yet"}
