"""``profile``: the exact cost first, before any device is touched; then what a device shows."""

from __future__ import annotations

from pathlib import PurePath

from dilnas.arch import Architecture
from dilnas.measure.latency import DEFAULT
from dilnas.measure.plan import NOT_RUN
from dilnas.measure.sampling import Progress, Protocol
from dilnas.measure.sweeping import sweep
from dilnas.records import Profile

__all__ = ["NOT_RUN", "profile"]


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
    compile: str = "eager",
    channels_last: bool = False,
    memory: bool | None = None,
    energy: bool | None = None,
    breakdown: bool = False,
    counters: bool = False,
    protocol: Protocol = DEFAULT,
    on_progress: Progress | None = None,
) -> Profile:
    """Cost of an architecture and, with ``latency``, its time, memory and energy on a device.

    Args:
        spec_or_architecture: "tiny", an architecture file, ``RUN#N``, or an Architecture.
        device: "cpu", "cuda", "cuda:N"; None: cuda when there is one, else cpu.
        batch_size: images in a batch.
        dtype: fp32 (TF32 off), tf32, fp16 or bf16.
        img_size: pixels, one side of a square or (height, width); multiples of the stride.
        latency: False gives the exact cost alone: no device, no torch.
        mode: inference, or train (forward and backward).
        threads: CPU threads of torch; 0 leaves them as they are.
        compile: eager, compile (torch.compile) or graph (a CUDA graph).
        channels_last: memory format of images and 4-d weights.
        memory: measure it in a fresh process; None: yes.
        energy: read the device's energy counter; None: yes, a CPU says why it has none.
        breakdown: time by part and by operator.
        counters: run third-party counters beside the closed form; no device needed.
        protocol: how samples are taken.
        on_progress: told what is being done, between runs.

    Raises InputError, ArchitectureError or RunError for bad arguments and DeviceError for a
    device that is not there or too small. The caller's torch settings are left as they were.

        >>> profile("tiny", latency=False).cost.params
        17238544
    """
    (only,) = sweep(
        spec_or_architecture,
        device=device,
        batch_sizes=(batch_size,),
        img_sizes=(img_size,),
        dtypes=(dtype,),
        modes=(mode,),
        compiles=(compile,),
        channels_last=channels_last,
        threads=threads,
        latency=latency,
        memory=memory,
        energy=energy,
        breakdown=breakdown,
        counters=counters,
        protocol=protocol,
        on_progress=on_progress,
    )
    return only
