"""Peak memory of one call, defined by device.

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

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dilnas.measure.cpu import rss_high_water_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["peak_memory", "tally_bytes"]


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


def tally_bytes(call: Callable[[], object]) -> int:
    """Largest number of bytes that tensors made during ``call()`` hold at once.

    Operators that write into a storage they were given, and views of one, add nothing.
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
