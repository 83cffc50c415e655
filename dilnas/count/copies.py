"""What is counted is never the caller's: a copy of a module, or a network built anew.

Some counters leave hooks behind or switch a model to evaluation, and a forward pass alone moves
batch statistics and random states. So nothing here runs the module that it is given.
"""

from __future__ import annotations

import random
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.model import build_model

__all__ = ["blank_model", "copy_of", "first_line", "forward", "sample_for", "undisturbed"]

HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
"""Where a module keeps its hooks. They are the caller's code: no copy has or calls them."""


def blank_model(architecture: Architecture, device: str = "meta") -> nn.Module:
    """The architecture's network for evaluation: no weights on ``meta``, zeros on the CPU.

    Counts do not depend on weights; no random number is drawn.
    """
    with torch.inference_mode(False), torch.no_grad():
        with torch.device("meta"):
            model = build_model(architecture).eval()
        if device == "meta":
            return model
        model = model.to_empty(device=device)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
        return model


def copy_of(module: nn.Module, device: str) -> nn.Module:
    """A copy of ``module`` for evaluation, without its hooks; ``device`` is "cpu" or "meta".

    Shared tensors stay shared. A compiled or data-parallel module is copied as what it wraps,
    for its wrapper hides operators from counters. On ``meta`` no weight is copied.

    Raises:
        InputError: it holds something that cannot be copied.
    """
    module = _unwrapped(module)
    memo: dict[int, Any] = {}
    try:
        for part in module.modules():
            memo |= {id(getattr(part, name)): OrderedDict() for name in HOOKS}
            for tensor in _tensors_in(vars(part)):
                if id(tensor) not in memo:
                    memo[id(tensor)] = _moved(tensor, device)
        with torch.inference_mode(False):
            copied = deepcopy(module, memo)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise InputError(
            f"cannot be copied to be counted: {first_line(error)}", where=type(module).__name__
        ) from error
    return copied.eval()


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside of ``torch.compile`` and data-parallel wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _tensors_in(value: object) -> Iterator[Tensor]:
    """Tensors in plain containers: parameters, buffers, and what a module keeps besides."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors_in(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _tensors_in(inner)


def _moved(tensor: Tensor, device: str) -> Tensor:
    """A tensor of its own on ``device``; without values on ``meta``."""
    with torch.inference_mode(False):  # a caller's mode would make operators undecomposed
        own, on_meta = tensor.detach(), device == "meta"
        moved = torch.empty_like(own, device=device) if on_meta else own.to(device, copy=True)
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(moved, requires_grad=tensor.requires_grad)
        return moved


def sample_for(module: nn.Module, shape: tuple[int, ...], device: str) -> Tensor:
    """One input of ``shape`` (no batch dimension), zeros, in the type of the first weights.

    Raises:
        InputError: the shape holds no positive sizes.
    """
    if not shape or any(not isinstance(size, int) or size < 1 for size in shape):
        raise InputError(
            "must be the sizes of one input without the batch", where="shape",
            expected="(3, 224, 224)", got=shape,
        )  # fmt: skip
    kinds = (p.dtype for p in module.parameters() if p.is_floating_point())
    with torch.inference_mode(False):
        return torch.zeros(1, *shape, dtype=next(kinds, torch.float32), device=device)


def forward(module: nn.Module, sample: Tensor) -> None:
    """One forward pass; on ``meta``, what it creates without naming a device lies there too.

    On the CPU nothing is put around it: any mode would keep torch from its fused operators.
    """
    if sample.device.type != "meta":
        module(sample)
        return
    with torch.device("meta"):
        module(sample)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No gradients, no warnings; the random states of torch, numpy and Python are put back."""
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False),  # under it counters see operators undecomposed
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


def first_line(error: BaseException) -> str:
    """The first line of an error's message with its kind, 200 characters at most."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]
