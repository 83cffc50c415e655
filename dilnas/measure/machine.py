"""The device: which one, what it is, and the global switches of torch that change a measurement."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dilnas import __version__
from dilnas.errors import DeviceError
from dilnas.measure import heap
from dilnas.measure.cpu import CpuUse, affinity_cores, cpu_model, cpu_name
from dilnas.measure.nvml import Gpu
from dilnas.records import Environment, Workload

if TYPE_CHECKING:
    import torch

__all__ = ["choose_device", "environment", "gpu_of", "settings"]


def choose_device(device: str | None) -> str:
    """``device`` if this machine has it, else DeviceError; None: cuda when there is one, else cpu.

    Takes "cpu", "cuda" and "cuda:N".
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise DeviceError(
            "unknown device", where="--device", expected="cpu | cuda | cuda:N", got=device
        )
    if kind == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no GPU or driver was found" if built else "this torch was built without CUDA"
        raise DeviceError(f"there is no CUDA device here: {why}", where="--device", got=device)
    if index and int(index) >= (count := torch.cuda.device_count()):
        raise DeviceError(
            "no such CUDA device", where="--device", expected=f"cuda:0..{count - 1}", got=device
        )
    return device


def gpu_of(device: torch.device) -> Gpu:
    """NVML's view of a CUDA device, matched by UUID."""
    import torch

    # "ffc79498-8ff3-…", without NVML's prefix; a torch built for ROCm may have none.
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return Gpu(absent="torch tells no UUID of this GPU") if uuid is None else Gpu.of(str(uuid))


def environment(device: str) -> Environment:
    """Where a measurement on ``device`` ("cpu", "cuda", "cuda:N") is made."""
    import torch

    from dilnas.ops import ENVIRONMENT_VARIABLE

    facts = _cuda_facts(torch.device(device)) if device.startswith("cuda") else _cpu_facts()
    name = facts.pop("name")
    return Environment(
        device_name=name,
        platform=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        dilnas=__version__,
        threads=torch.get_num_threads(),
        facts={**facts, "msda_backend": os.environ.get(ENVIRONMENT_VARIABLE) or "auto"},
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_facts() -> dict[str, Any]:
    import torch

    onednn: Any = torch.backends.mkldnn
    now = CpuUse.now()
    return {
        "name": cpu_name(),
        "cpu_model": cpu_model(),
        "cores": now.cores,
        "affinity_cores": affinity_cores(),
        "affinity": list(now.affinity),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": onednn.is_available(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "allocator": heap.described(),
        "clock": "not fixed",
        "governor": now.governor or "not readable",
        "scaling_driver": now.scaling_driver,
        "turbo": now.turbo,
        "load_average_1min": now.load_1min,
    }


def _cuda_facts(device: torch.device) -> dict[str, Any]:
    """Called within ``settings``, so that the precisions are those of the measurement."""
    import torch

    props: Any = torch.cuda.get_device_properties(device)
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    gpu = gpu_of(device)
    reading = gpu.read()
    return {
        "name": props.name,
        "compute_capability": f"{props.major}.{props.minor}",
        "multiprocessors": props.multi_processor_count,
        "memory_bytes": props.total_memory,
        "l2_bytes": getattr(props, "L2_cache_size", None),
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "cudnn_benchmark": cudnn.benchmark,
        "matmul_fp32_precision": matmul.fp32_precision,
        "conv_fp32_precision": cudnn.conv.fp32_precision,
        "triton": _version("triton"),
        "driver": gpu.driver(),
        "base_clock_mhz": reading.base_clock_mhz,
        "base_clock_kind": reading.base_clock_kind,
        "sm_clock_mhz": reading.sm_clock_mhz,
        "temperature_c": reading.temperature_c,
        "slowdown_temperature_c": reading.slowdown_temperature_c,
        "power_limit_w": reading.power_limit_w,
        "default_power_limit_w": reading.default_power_limit_w,
        "mig": reading.mig,
        "cpu": cpu_name(),
        "affinity_cores": affinity_cores(),
        "nvml": reading.absent or "read",
        "nvml_missing": list(reading.missing),
    }


@contextmanager
def settings(workload: Workload) -> Iterator[None]:
    """Threads and TF32 as the workload says, inside the block only; then as they were.

    cuDNN's own search for the fastest algorithm (``cudnn.benchmark``) is left as it was found: off
    unless the caller has turned it on. ``environment`` records which.
    """
    import torch

    threads = torch.get_num_threads()
    switches = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    found = [switch.fp32_precision for switch in switches]
    try:
        if workload.threads:
            torch.set_num_threads(workload.threads)
        if workload.device.startswith("cuda"):
            for switch in switches:
                switch.fp32_precision = "tf32" if workload.dtype == "tf32" else "ieee"
        yield
    finally:
        torch.set_num_threads(threads)
        for switch, value in zip(switches, found, strict=True):
            if switch.fp32_precision != value:
                switch.fp32_precision = value
