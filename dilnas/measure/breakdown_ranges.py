"""Batches under ``torch.profiler``, with ranges that say which part of the network was at work."""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dilnas.errors import DeviceError
from dilnas.measure.device import Device
from dilnas.measure.sampling import Progress
from dilnas.measure.spans import BATCH, CORE, PART, RANGE, Span, Trace

if TYPE_CHECKING:
    import torch

__all__ = ["observe", "ranges"]

MIN_BATCHES, MAX_BATCHES = 4, 16
MAX_S = 3.0
MAX_SPANS = 100_000
"""Batches observed: as many as these seconds and profiler events allow."""

FEWEST = 2
"""Batches observed where one takes longer than ``MAX_S``; few enough to raise a doubt."""


_NO_WORK = ("gpu_user_annotation", "cuda_sync", "overhead")
"""Device events that are no work, where torch tells their kind."""

_HIDDEN = ("[memory]", "profiler::", "Activity Buffer Request")
"""Host events of the profiler itself."""

_RUNTIME = re.compile("(cu|cuda|hip)[A-Z]")
"""Names of the runtime's and the driver's calls. One made outside of any operator is linked to
nothing, like an operator, but its number is CUPTI's: that of some operator by chance."""


def observe(
    call: Callable[[], object], network: torch.nn.Module, device: Device,
    *, on_progress: Progress | None = None,
) -> Trace:  # fmt: skip
    """What a profiler sees of steady batches of a DilateFormer; ``call`` puts one through it.

    Two batches go before: one to warm up, one to start the profiler and to tell how much a batch
    leaves behind. The network's hooks are gone afterwards.
    """
    on_cuda = device.name.startswith("cuda")
    call()
    with ranges(network):
        first = _profiled(call, device, 1, on_cuda)
        batches = _batches(first)
        if on_progress is not None:
            on_progress(f"breakdown of {batches} batches", 0.5)
        trace = _profiled(call, device, batches, on_cuda)
    if on_cuda and not trace.kernels_us:
        raise DeviceError(
            "the profiler saw no kernel: CUPTI is missing or not permitted here",
            where="--breakdown", got=device.name,
        )  # fmt: skip
    return trace


def _batches(first: Trace) -> int:
    """How many batches like the first one to observe."""
    seconds = sum(s.end_us - s.start_us for s in first.spans if s.name == BATCH) / 1e6
    allowed = min(MAX_S / max(seconds, 1e-6), MAX_SPANS / max(len(first.spans), 1), MAX_BATCHES)
    return max(int(allowed), MIN_BATCHES if seconds <= MAX_S else FEWEST)


@contextmanager
def ranges(network: torch.nn.Module) -> Iterator[None]:
    """Ranges around the parts and attentions of a DilateFormer, inside the block only.

    Hooks open and close them: the network's code knows nothing of it, and its hooks are removed
    also when a batch fails.
    """
    from torch.profiler import record_function

    opened: list[Any] = []
    handles: list[Any] = []

    def begin(module: torch.nn.Module, name: str) -> None:
        def hook(*_: Any) -> None:
            opened.append(record_function(name))
            opened[-1].__enter__()

        handles.append(module.register_forward_pre_hook(hook))

    def end(module: torch.nn.Module) -> None:
        def hook(*_: Any) -> None:
            opened.pop().__exit__(None, None, None)

        handles.append(module.register_forward_hook(hook))

    try:
        _mark(network, begin, end)
        yield
    finally:
        for handle in handles:
            handle.remove()
        while opened:  # a batch that failed half-way
            opened.pop().__exit__(None, None, None)


def _mark(
    network: Any,
    begin: Callable[[torch.nn.Module, str], None],
    end: Callable[[torch.nn.Module], None],
) -> None:
    """Parts from the first operator to the last; attentions without their projections."""
    import torch

    from dilnas.model.attention import GlobalAttention, MultiScaleDilatedAttention

    begin(network, f"{PART}stem")
    end(network.patch_embed)
    for i, stage in enumerate(network.stages):
        begin(stage, f"{PART}stage {i + 1}")
        end(stage)
    begin(network.norm, f"{PART}head")
    end(network)
    for module in network.modules():
        if isinstance(module, MultiScaleDilatedAttention | GlobalAttention):
            kind = "msda" if isinstance(module, MultiScaleDilatedAttention) else "attention"
            begin(module, CORE + kind)
            end(module)
            for projection in (module.qkv, module.proj):
                # What it counts as, not what runs: on CUDA a 1x1 convolution is a matrix product.
                convolution = isinstance(projection, torch.nn.Conv2d)
                begin(projection, CORE + ("conv" if convolution else "linear"))
                end(projection)


def _profiled(call: Callable[[], object], device: Device, batches: int, on_cuda: bool) -> Trace:
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU]
    if on_cuda:
        activities.append(ProfilerActivity.CUDA)
    with _quiet(), profile(activities=activities) as profiler:
        for _ in range(batches):
            device.synchronize()
            with record_function(BATCH):
                call()
                device.synchronize()
    found: Any = profiler.profiler
    return _trace(found.kineto_results.events())


@contextmanager
def _quiet() -> Iterator[None]:
    """No lines of the profiler's own on stderr, unless the user asked for a level."""
    name = "KINETO_LOG_LEVEL"
    given = os.environ.get(name)
    os.environ.setdefault(name, "99")
    try:
        with warnings.catch_warnings():
            # torch 2.11 warns of cycles, and there is one here.
            warnings.filterwarnings("ignore", message=".*Profiler clears events")
            yield
    finally:
        if given is None:
            del os.environ[name]


def _trace(events: Sequence[Any]) -> Trace:
    """Kineto's events as ours.

    Kineto's and not torch's own ``FunctionEvent``, which takes 0.1 ms an event to make, a minute
    for a training step with large maps. An operator on the host has correlation number n and is
    linked to nothing; what the device did for it, and the runtime's calls, are linked to n.
    """
    kernels, launched = [], defaultdict[int, float](float)
    host = []
    for event in events:
        if event.device_type().name != "CPU":
            if _is_work(event):
                duration = (event.end_ns() - event.start_ns()) / 1e3
                kernels.append((event.start_ns() / 1e3, duration))
                if number := event.linked_correlation_id():  # 0: launched outside of any operator
                    launched[number] += duration
        elif _is_operator(event):
            host.append(event)
    spans = [
        Span(
            event.name(), event.start_ns() / 1e3, event.end_ns() / 1e3, event.start_thread_id(),
            event.sequence_nr(), launched.get(event.correlation_id(), 0.0),
        )
        for event in host
    ]  # fmt: skip
    return Trace(spans=tuple(spans), kernels_us=tuple(kernels))


def _is_operator(event: Any) -> bool:
    """Whether a host event is an operator, a node or a range, not a call of the device's runtime.

    One that begins in one thread and ends in another encloses nothing.
    """
    if event.linked_correlation_id() or event.is_async() or event.name().startswith(_HIDDEN):
        return False
    if _RUNTIME.match(event.name()):
        return False
    return bool(event.start_thread_id() == event.end_thread_id())


def _is_work(event: Any) -> bool:
    """Whether a device event is a kernel, copy or fill, and no range's shadow or wait."""
    if event.is_user_annotation() or event.name().startswith(RANGE):
        return False
    kind = getattr(event, "activity_type", None)  # not in torch 2.11
    return kind is None or kind() not in _NO_WORK
