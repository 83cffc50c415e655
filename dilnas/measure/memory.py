"""Memory of a workload: in a process of its own, part by part, and of one call in this process.

``measure_memory`` starts a fresh process (``dilnas.measure.memory_child`` reads there what torch
and the system tell) and makes a Memory of its readings; ``memory_record`` does the second half,
so that recorded readings can be tested. ``peak_memory`` and ``tally_bytes`` look at one call here.

**CUDA**: the caching allocator's own peaks over one call, weights and input included:
``peak_memory_bytes`` is max_memory_allocated, ``reserved_bytes`` max_memory_reserved. Both leave
out the CUDA context and what libraries take past the allocator.

**CPU**: ``peak_memory_bytes`` is the largest number of bytes that tensors alive at once hold
during one call (each storage counted once, from the operator that made it until it is freed),
plus the weights, buffers and input. It is exact and repeats, unlike the resident set, and leaves
out the scratch space that a kernel takes within one operator. ``rss_high_water_bytes`` beside it
is the largest resident set of the whole process so far, Python and libraries included.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.measure.cpu import rss_high_water_bytes
from dilnas.measure.fresh import TIMEOUT_S, run_fresh
from dilnas.measure.memory_form import PORTABLE, closed_form
from dilnas.records import Cost, Memory, Workload

if TYPE_CHECKING:
    import torch

__all__ = [
    "FUSED_OPERATOR",
    "measure_memory",
    "memory_record",
    "peak_memory",
    "tally_bytes",
]

AGREES = {"cpu": 0.02, "cuda": 0.05}
"""Share by which tensors may differ from the closed form, which is that of the CPU's kernels but
for MSDA: other kernels keep other statistics."""

FUSED_OPERATOR = "dilnas::msda"

UNACCOUNTED = 0.25
"""Share of the resident set that neither the libraries nor the allocator may explain."""

SLACK_BYTES = 64 << 20
"""What libraries load and keep when a network first runs, on any CPU, is not worth a doubt."""


def measure_memory(
    architecture: Architecture, workload: Workload, cost: Cost, *, timeout_s: float = TIMEOUT_S
) -> Memory:
    """Memory of ``workload`` in a process of its own, with the closed form beside it.

    The process builds the model, runs it, and ends: nothing of this one's memory is in it. ``cost``
    is that of ``architecture`` at the workload's size. Raises DeviceError where the device is not
    there or the batch does not fit, also when the system kills the process for it, and InputError
    where ``cost`` is of another size.
    """
    size, sides = (workload.height, workload.width), (cost.height, cost.width)
    if size != sides:
        raise InputError("cost of another image size", where="cost", expected=size, got=sides)
    request = {
        "architecture": architecture.to_dict(),
        "workload": asdict(workload),
        "threads": workload.threads or _threads_here(),
    }
    readings = run_fresh(
        "dilnas.measure.memory_child", request, where="memory", timeout_s=timeout_s
    )
    found = closed_form(architecture, workload, readings.get("msda", PORTABLE))
    return memory_record(readings, *found)


def _threads_here() -> int:
    """Threads of torch in this process, 0 if it has not been imported."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 0


def memory_record(
    readings: Mapping[str, Any], closed_form_bytes: int | None = None, no_closed_form: str = ""
) -> Memory:
    """A Memory of what ``memory_child`` read; nothing is asked of a device.

    The parts are subtracted, and every sum that does not come out is a doubt.

    Args:
        readings: as ``memory_child.readings`` gives them, in bytes.
        closed_form_bytes: what the closed form says of the tensors, weights and input included.
        no_closed_form: why there is none.
    """
    kind = readings["kind"]
    resident = readings["weights_bytes"] + readings["input_bytes"]
    tally, allocated = readings["tally_bytes"], readings["allocated_peak_bytes"]
    tensors = None if tally is None else resident + tally
    reserved, process = readings.get("reserved_peak_bytes"), readings.get("process_bytes")
    context = readings.get("context_bytes")
    if kind == "cuda" and process is not None:
        context = process - readings["reserved_bytes"]
    doubts = list(readings.get("doubts", ()))
    doubts += _sum_doubts(tensors, allocated, reserved)
    doubts += _process_doubts(readings, context)
    doubts += _form_doubts(tensors, closed_form_bytes, AGREES[kind])
    workspace = None if tensors is None or allocated is None else allocated - tensors
    return Memory(
        method="; ".join(_method(readings, no_closed_form)),
        weights_bytes=readings["weights_bytes"],
        input_bytes=readings["input_bytes"],
        activation_peak_bytes=tally,
        workspace_bytes=workspace,
        context_bytes=context,
        allocated_peak_bytes=allocated,
        reserved_peak_bytes=reserved,
        device_process_bytes=process,
        resident_set_peak_bytes=readings.get("resident_set_peak_bytes"),
        closed_form_bytes=closed_form_bytes,
        doubts=tuple(doubts),
    )


def _method(readings: Mapping[str, Any], no_closed_form: str) -> list[str]:
    """How the numbers were taken, in words."""
    words = ["fresh process", *readings.get("method", ())]
    first, steady = readings.get("first_peak_bytes"), readings["allocated_peak_bytes"]
    if first is not None and steady is not None and first > steady:
        words.append(f"the first call allocated more: {first:,} bytes")
    return [*words, *([no_closed_form] if no_closed_form else [])]


def _sum_doubts(tensors: int | None, allocated: int | None, reserved: int | None) -> list[str]:
    """tensors <= allocated <= reserved, or a doubt."""
    doubts = []
    if tensors is not None and allocated is not None and allocated < tensors:
        doubts.append(
            f"memory does not add up: the allocator's peak of {allocated:,} bytes is"
            f" below the {tensors:,} that tensors held"
        )
    if allocated is not None and reserved is not None and reserved < allocated:
        doubts.append(
            f"memory does not add up: {reserved:,} bytes reserved, but {allocated:,} handed out"
        )
    return doubts


def _process_doubts(readings: Mapping[str, Any], context: int | None) -> list[str]:
    """Whether what the system counts for the process holds the parts."""
    if readings["kind"] == "cpu":
        return _resident_doubts(readings, context)
    if readings.get("process_bytes") is None:
        return [f"memory of the process is not known: {readings['process_missing']}"]
    if context is not None and context < 0:
        return [
            f"memory does not add up: NVML counts {readings['process_bytes']:,} bytes for the"
            f" process, the allocator holds {readings['reserved_bytes']:,}"
        ]
    return []


def _resident_doubts(readings: Mapping[str, Any], context: int | None) -> list[str]:
    """Whether libraries and allocator explain the resident set.

    Not asked of a compiled call: there the compiler's own memory is in the resident set too.
    """
    whole, allocated = readings.get("resident_set_peak_bytes"), readings["allocated_peak_bytes"]
    if None in (whole, context, allocated) or readings["tally_bytes"] is None:
        return []
    assert whole is not None
    assert context is not None
    rest = whole - context - allocated
    if abs(rest) <= max(UNACCOUNTED * whole, SLACK_BYTES):
        return []
    sign = "more" if rest > 0 else "less"
    return [
        f"memory does not add up: the resident set is {abs(rest) / 1e6:.0f} MB {sign}"
        " than libraries and allocator together"
    ]


def _form_doubts(tensors: int | None, form: int | None, agrees: float) -> list[str]:
    if tensors is None or form is None or abs(tensors - form) <= agrees * form:
        return []
    return [
        f"tensors held {tensors:,} bytes, the closed form says {form:,}"
        f" ({(tensors / form - 1) * 100:+.1f} %)"
    ]


def peak_memory(
    call: Callable[[], object], device: str, resident: Iterable[torch.Tensor]
) -> dict[str, Any]:
    """Memory readings of one ``call()``; ``resident`` are the tensors that live around it.

    All values in bytes; None where the platform does not tell.
    """
    import torch

    kept = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in resident}
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return {
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
            "reserved_bytes": torch.cuda.max_memory_reserved(device),
            "resident_bytes": sum(kept.values()),
            "memory_method": "CUDA caching allocator",
        }
    activations = tally_bytes(call)
    return {
        "peak_memory_bytes": sum(kept.values()) + activations,
        "activation_peak_bytes": activations,
        "resident_bytes": sum(kept.values()),
        "rss_high_water_bytes": rss_high_water_bytes(),
        "memory_method": "tensors alive at once, kernel scratch space left out",
    }


def tally_bytes(call: Callable[[], object], names: Counter[str] | None = None) -> int:
    """Largest number of bytes that tensors made during ``call()`` hold at once.

    Operators that write into a storage they were given, and views of one, add nothing. ``names``
    counts the operators seen.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    live: set[int] = set()
    held = peak = 0

    def release(key: int, size: int) -> None:
        nonlocal held
        live.discard(key)
        held -= size

    def hold(tensor: torch.Tensor, given: set[int]) -> None:
        nonlocal held, peak
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in live or key in given:
            return
        live.add(key)
        size = storage.nbytes()
        held += size
        peak = max(peak, held)
        weakref.finalize(storage, release, key, size).atexit = False

    class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Sees every operator, those of the backward pass included."""

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if names is not None:
                names[func.name()] += 1
            inputs = tree_leaves((args, kwargs))
            given = {t.untyped_storage()._cdata for t in inputs if isinstance(t, torch.Tensor)}
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, torch.Tensor):
                    hold(leaf, given)
            return out

    with Tally():  # type: ignore[no-untyped-call]
        call()
    return peak
