"""``torch.compile`` and CUDA graphs around a call: made ready before anything is measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dilnas.errors import DeviceError

if TYPE_CHECKING:
    import torch

__all__ = ["captured", "compiled", "compiling", "forget_compiled"]

CAPTURE_WARMUP = 3
"""Calls on the side stream before a capture: what PyTorch's notes on CUDA graphs ask for."""


def compiled(model: torch.nn.Module) -> Callable[[torch.Tensor], Any]:
    """``model`` behind torch.compile, inductor at its default; compiled when first called.

    Shapes are static: a workload has one, and a kernel for any batch would be another measurement.
    """
    import torch

    return torch.compile(model, dynamic=False)


@contextmanager
def compiling() -> Iterator[None]:
    """Around the first call: what does not compile is a DeviceError that names --compile.

    Dynamo quietly runs a function eagerly once it was compiled for too many shapes or dtypes: here
    that is an error, since an eager run must never be shown as a compiled one.
    """
    import torch._dynamo as dynamo

    refusals = (dynamo.exc.TorchDynamoException, dynamo.exc.FailOnRecompileLimitHit)
    try:
        with (
            dynamo.config.patch(recompile_limit=256, fail_on_recompile_limit_hit=True),
            warnings.catch_warnings(),
        ):
            # That TF32 is off in fp32 is meant.
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
            yield
    except refusals as error:
        raise DeviceError(
            f"torch.compile failed: {first_line(error)}", where="--compile"
        ) from error


def forget_compiled() -> None:
    """Drop everything that dynamo holds, so that workloads do not fill its cache.

    What was compiled before compiles again when it is next called: only between workloads.
    """
    import torch

    torch.compiler.reset()


def captured(
    call: Callable[[], Any], device: torch.device
) -> tuple[Callable[[], Any], dict[str, float]]:
    """Replay of one ``call()`` as a CUDA graph, and ``capture_s``: seconds that making it took.

    Static input: the tensors that ``call`` works on are read and written in place by every replay.
    Warm-up and capture run on one side stream. Raises DeviceError for what cannot be captured (an
    operator that waits for the device, or takes memory past the allocator).
    """
    import torch

    stream: Any = torch.cuda.Stream
    begin = time.perf_counter()
    with torch.cuda.device(device):
        side = stream(device)
        current = torch.cuda.current_stream(device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(CAPTURE_WARMUP):
                call()
        current.wait_stream(side)
        torch.cuda.synchronize(device)
        graph: Any = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=side):
                out = call()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # Ending a capture that broke for want of memory fails too, for want of a capture.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise DeviceError(
                f"cannot be captured as a CUDA graph: {first_line(error)}", where="--cuda-graph"
            ) from error
        torch.cuda.synchronize(device)

    def replay() -> Any:
        graph.replay()
        return out

    # A graph holds addresses, not tensors: weights and images live as long as the replay does.
    replay.works_on = call  # type: ignore[attr-defined]
    return replay, {"capture_s": time.perf_counter() - begin}


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something, or its type."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
