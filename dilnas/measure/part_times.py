"""How long each part of a DilateFormer takes within the network: marks between parts of one run.

    run    stem   block   block   downsample   block …   head
       |       |       |       |            |        |       |
       m0      m1      m2      m3           m4       …      end

A part is timed where it stands, with its input as the part before left it, so that the parts of a
run sum to the run. A mark is a reading of the clock on a CPU and an event in the stream on CUDA:
neither waits for anything. A part alone in a loop finds its input and weights in the cache, which
it does not in a network.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.measure.limits import check_device
from dilnas.records import Workload

if TYPE_CHECKING:
    import torch

__all__ = ["PartTimer", "stand_in"]


class PartTimer:
    """A network that is run and timed part by part; needs ``settings(workload)`` around it.

    With ``compile`` or a CUDA graph there are no parts to see in a run: it is timed as a whole, as
    with ``whole``. ``call`` does one batch. Raises DeviceError like ``prepare``.
    """

    def __init__(
        self, architecture: Architecture, workload: Workload, *, whole: bool = False
    ) -> None:
        from dilnas.measure.compiled import forget_compiled
        from dilnas.measure.workload import prepare_module

        if workload.compile == "compile":
            forget_compiled()  # after a few networks torch would give up and run them eagerly
        check_device(workload, cost(architecture, workload.height, workload.width))
        self._parts = not whole and workload.compile == "eager" and workload.mode == "inference"
        self._marks: list[Any] = []
        self._mark = _clock_mark if workload.device == "cpu" else _event_mark

        def build() -> torch.nn.Module:
            model = stand_in(architecture)
            if self._parts:
                for part in _ends(model):
                    part.register_forward_hook(self._note)
            return model

        self.call = prepare_module(build, architecture.in_chans, workload).call

    def _note(self, *_: Any) -> None:
        self._marks.append(self._mark())

    def run(self) -> list[float]:
        """Seconds of each part of one run, in order; of the whole run where parts are not seen."""
        self._marks.clear()
        _idle(self._mark)
        self._note()
        self.call()
        if self._parts:
            self._marks.pop()  # the head ends with the run
        self._note()
        return _intervals(self._marks)


def _clock_mark() -> float:
    return time.perf_counter()


def _event_mark() -> Any:
    import torch

    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _idle(mark: Callable[[], Any]) -> None:
    if mark is _event_mark:
        import torch

        torch.cuda.synchronize()


def _intervals(marks: list[Any]) -> list[float]:
    """Seconds between successive marks."""
    pairs = list(itertools.pairwise(marks))
    if isinstance(marks[0], float):
        return [after - before for before, after in pairs]
    marks[-1].synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in pairs]


def _ends(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules after which a part of ``parts_of`` ends, in order."""
    from torch import nn

    found: list[Any] = [model.patch_embed]
    for stage in model.stages:  # type: ignore[union-attr]
        found += list(stage.blocks)
        if not isinstance(stage.downsample, nn.Identity):
            found.append(stage.downsample)
    return [*found, model.head]


def stand_in(architecture: Architecture) -> torch.nn.Module:
    """The network with arbitrary small weights, filled by copying: for times, not for outputs.

    Drawing the weights of a large network takes longer than timing it.
    """
    import torch

    from dilnas.model import build_model

    with torch.device("meta"):
        model = build_model(architecture)
    model = model.to_empty(device="cpu")
    noise = torch.linspace(-0.05, 0.05, 4099)  # a prime: no two rows of a matrix are alike
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(_repeated(noise, parameter.numel()).view_as(parameter))
        for name, buffer in model.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)
    return model


def _repeated(noise: torch.Tensor, count: int) -> torch.Tensor:
    times = -(-count // noise.numel())
    return noise.repeat(times)[:count]
