"""What one workload takes, read in a process of its own; ``memory.measure_memory`` starts it.

imports, CUDA context      -> what is there before the model: context
prepare: model, batch,     -> the allocator's peak of the first call, in which libraries
compile, first call           take their workspaces
one more call              -> steady: the allocator's peaks, the resident set, NVML
one call under the tally   -> the tensors alone (eager only)

python -P -m dilnas.measure.memory_child   <- {"architecture", "workload", "threads"}
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.measure.cpu import rss_high_water_bytes
from dilnas.measure.fresh import answer
from dilnas.measure.memory import FUSED_OPERATOR, tally_bytes
from dilnas.measure.memory_form import FUSED, PORTABLE
from dilnas.records import Workload

if TYPE_CHECKING:
    from dilnas.measure.workload import Runnable

__all__ = ["allocator_peak", "readings"]


def readings(request: dict[str, Any]) -> dict[str, Any]:
    """Readings as plain data, in bytes; see ``memory.memory_record`` for what they mean.

    Args:
        request: ``architecture`` and ``workload`` as dictionaries, ``threads`` of torch, 0 as
            found.
    """
    architecture = Architecture.from_dict(request["architecture"])
    workload = replace(Workload(**request["workload"]), threads=request["threads"])
    if workload.device.startswith("cuda"):
        return _on_cuda(architecture, workload)
    return _on_cpu(architecture, workload)


def _prepared(architecture: Architecture, workload: Workload) -> Runnable:
    from dilnas.measure.workload import prepare

    return prepare(architecture, workload, cost(architecture, workload.height, workload.width))


def _parts(runnable: Runnable) -> dict[str, Any]:
    """Bytes of weights with buffers and of the batch, each storage once."""
    sizes = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in runnable.resident}
    images = runnable.resident[-1].untyped_storage().nbytes()
    return {"weights_bytes": sum(sizes.values()) - images, "input_bytes": images}


def _tally(runnable: Runnable, architecture: Architecture, workload: Workload) -> dict[str, Any]:
    """Bytes that tensors made during a call hold at once, None where not seen, and how it was told.

    ``msda``: how MSDA ran in it, from the operators seen; see ``memory.closed_form``.
    """
    if workload.compile != "eager":
        why = f"tensors and workspace are not told apart under {workload.compile}"
        return {"tally_bytes": None, "method": [why]}
    names: Counter[str] = Counter()
    tally = tally_bytes(runnable.call, names)
    how = ["tensors tallied by operator in a call of their own"]
    msda = _msda_of(sum(stage.msda_depth for stage in architecture.stages), names[FUSED_OPERATOR])
    if msda != PORTABLE:
        how.append(f"MSDA {msda}")
    return {"tally_bytes": tally, "msda": msda, "method": how}


def _msda_of(blocks: int, fused: int) -> str:
    """How MSDA ran, where ``fused`` of its ``blocks`` blocks were the fused operator."""
    if fused:
        return FUSED if fused == blocks else f"fused in {fused} blocks of {blocks}"
    name = os.environ.get("DILNAS_MSDA") or "auto"
    return PORTABLE if not blocks or name in ("auto", "portable") else f"by {name}"


# --- CPU ----------------------------------------------------------------------------------------


def _on_cpu(architecture: Architecture, workload: Workload) -> dict[str, Any]:
    import torch

    import dilnas.measure.workload
    import dilnas.model  # noqa: F401  before the model is built its code is there
    from dilnas.measure.machine import settings
    from dilnas.measure.workload import fits

    with settings(workload), fits(workload):
        torch.ones(1).add_(1)
        context = _status_bytes("VmRSS")
        since = _reset_high_water()
        runnable = _prepared(architecture, workload)
        runnable.call()
        high = _status_bytes("VmHWM") if since else rss_high_water_bytes()
        parts = _parts(runnable)
        peak = allocator_peak(runnable.call)
        tally = _tally(runnable, architecture, workload)
    doubts = [] if since else ["the peak of the resident set counts from the process's start"]
    return {
        "kind": "cpu",
        **parts,
        **tally,
        "allocated_peak_bytes": parts["weights_bytes"] + parts["input_bytes"] + peak,
        "context_bytes": context,
        "resident_set_peak_bytes": high,
        "doubts": doubts,
        "method": [
            *tally["method"],
            "allocator peak from torch's profiler over a steady call",
            "resident set from building the model to the end of the second call"
            + ("" if workload.compile == "eager" else ", the compiler's own memory included"),
        ],
    }


def allocator_peak(call: Callable[[], object]) -> int:
    """Most bytes that torch's CPU allocator had handed out at once during ``call()``.

    Counts from the start of the call: freeing what was there before counts nothing. From the
    allocations and releases that torch's profiler records, scratch space that kernels take
    through the allocator included; what libraries take by malloc is not seen.
    """
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results: Any = profiler.profiler.kineto_results
    events = [
        (event.start_ns(), event.nbytes())
        for event in results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]
    held = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        held += size
        peak = max(peak, held)
    return peak


def _status_bytes(field: str, status: Path = Path("/proc/self/status")) -> int | None:
    """A size of this process by its name in ``/proc/self/status``; None but on Linux."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:")), None)


def _reset_high_water(clear: Path = Path("/proc/self/clear_refs")) -> bool:
    """Let the high-water mark of the resident set start anew (man 5 proc); whether it did."""
    try:
        clear.write_text("5")
    except OSError:  # not Linux, or not permitted in this container
        return False
    return _status_bytes("VmHWM") is not None


# --- CUDA ---------------------------------------------------------------------------------------


def _on_cuda(architecture: Architecture, workload: Workload) -> dict[str, Any]:
    used_before = _used_by_device()
    import torch

    from dilnas.measure.machine import settings
    from dilnas.measure.workload import fits

    device = torch.device(workload.device)
    with settings(workload), fits(workload), torch.cuda.device(device):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        runnable = _prepared(architecture, workload)
        torch.cuda.synchronize(device)
        first = torch.cuda.max_memory_allocated(device)
        first_reserved = torch.cuda.max_memory_reserved(device)
        torch.cuda.reset_peak_memory_stats(device)
        runnable.call()
        torch.cuda.synchronize(device)
        steady = torch.cuda.max_memory_allocated(device)
        reserved = torch.cuda.memory_reserved(device)
        reserved_peak = max(first_reserved, torch.cuda.max_memory_reserved(device))
        process = _process_reading(str(torch.cuda.get_device_properties(device).uuid), used_before)
        parts = _parts(runnable)
        tally = _tally(runnable, architecture, workload)
    graph = workload.compile == "graph"
    return {
        "kind": "cuda",
        **parts,
        **tally,
        "first_peak_bytes": first,
        # A replay allocates nothing: the graph's memory was handed out while it was captured.
        "allocated_peak_bytes": max(first, steady) if graph else steady,
        "reserved_peak_bytes": reserved_peak,
        "reserved_bytes": reserved,
        **process,
        "resident_set_peak_bytes": rss_high_water_bytes(),
        "method": [
            *tally["method"],
            "CUDA caching allocator, blocks rounded up to 512 bytes, peak "
            + ("of warm-up and capture" if graph else "of a steady call"),
            "resident set since the process started",
        ],
    }


def _used_by_device() -> dict[str, int]:
    """Bytes in use on each GPU by its UUID, before this process has a context there."""
    try:
        import pynvml
    except ImportError:
        return {}
    used: dict[str, int] = {}
    with suppress(pynvml.NVMLError):  # without NVML there is no fallback; the reading says so
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            used[_text(pynvml.nvmlDeviceGetUUID(handle))] = int(
                pynvml.nvmlDeviceGetMemoryInfo(handle).used
            )
    return used


def _process_reading(uuid: str, used_before: dict[str, int]) -> dict[str, Any]:
    """``process_bytes`` by NVML, or by the device's difference with a doubt, or why neither."""
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    try:
        import pynvml
    except ImportError:
        return _unknown("the package nvidia-ml-py is not installed")
    mismatch = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError)  # a driver too old
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        running = list(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
        used_now = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    except (pynvml.NVMLError, mismatch) as error:
        return _unknown(f"NVML: {error}")
    own = [process for process in running if process.pid == os.getpid()]
    if own and own[0].usedGpuMemory:  # None or 0 where the driver does not tell, as in some VMs
        return {"process_bytes": int(own[0].usedGpuMemory)}
    why = (
        "NVML does not tell it for this process"
        if own
        else "NVML does not list this process (in a container it has another number)"
    )
    if name not in used_before:
        return _unknown(why)
    others = len(running) - 1
    doubt = f"memory of the process is the device's difference: {why}"
    if others > 0:
        doubt += f", and {others} other processes use the device"
    return {"process_bytes": used_now - used_before[name], "doubts": [doubt]}


def _unknown(why: str) -> dict[str, Any]:
    return {"process_bytes": None, "process_missing": why}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.exit(answer(readings))
