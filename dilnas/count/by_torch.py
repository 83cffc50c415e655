"""``torch.utils.flop_counter``: two operations a multiply-add, no biases, no norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.arch import Architecture

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["run_torch", "torch_count"]


def torch_count(
    architecture: Architecture, height: int = 224, width: int | None = None
) -> dict[str, int]:
    """torch's count by ATen operator for one image of ``height`` x ``width`` pixels.

    Taken on the ``meta`` device, where nothing is computed, of a network built anew whose MSDA is
    written as matrix products; twice ``dilnas.cost.cost(architecture, height, width).macs``.

    Raises:
        InputError: a side that the network's strides do not divide.
    """
    from dilnas.count.copies import sample_for
    from dilnas.count.visible import visible_model

    width = height if width is None else width
    architecture.check_input(height, width)
    model = visible_model(architecture)
    return run_torch(model, sample_for(model, (architecture.in_chans, height, width), "meta"))


def run_torch(module: nn.Module, sample: Tensor) -> dict[str, int]:
    """What torch's counter says of ``module(sample)`` by ATen operator; runs ``module`` itself."""
    from torch.utils.flop_counter import FlopCounterMode

    from dilnas.count.copies import forward, undisturbed

    with undisturbed(), FlopCounterMode(display=False) as counter:
        forward(module, sample)
    counts = counter.get_flop_counts().get("Global", {})
    return {_name(operator): int(count) for operator, count in counts.items() if count}


def _name(operator: object) -> str:
    """``convolution`` for ``aten.convolution``; operators of others keep their namespace."""
    return str(operator).removeprefix("aten.")
