"""What ``msda.py`` measures: the operator, a block, whole models, compiled models.

A case gives its calls by contender; they are made when its turn comes, so that one case's tensors
are gone before the next one's are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from msda_cores import COMPILES, FREE, Core, cores, using
from msda_rounds import Call
from torch import Tensor, nn

from dilnas.model import build_model
from dilnas.variants import variant

__all__ = ["COMPILED", "DILATIONS", "LEVELS", "OPERATOR", "TYPES", "Case", "Setting", "cases"]

DILATIONS = (1, 2, 3)
WINDOW = 3

OPERATOR = {
    "tiny-s1": (8, 56, 72, 3),
    "tiny-s2": (8, 28, 144, 6),
    "base-s1": (8, 56, 96, 3),
    "base-s2": (8, 28, 192, 6),
}
"""(batch on a CPU, side of the map, channels, heads) of the paper's MSDA stages at 224 pixels."""

SMALL = {"8x8": (64, 8, 48, 3), "4x4": (64, 4, 96, 6), "2x2": (64, 2, 96, 6)}
"""The maps that the search's proxies train on; their batch is part of them."""

LEVELS = ("operator", "small", "block", "model", "compile")
COMPILED = " compiled"
"""Follows a contender's name where its model is compiled."""

NOT_IN_MODELS = ("sdpa", "flex", "natten")
"""Left out of whole models, FlexAttention of blocks too, unless they are asked for by name."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """What all cases share.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        dtype: a key of ``TYPES``; weights and maps have it.
        batch: images.
        img_size: pixels a side, a multiple of 32.
        variants: whole models to measure.
        asked: contenders by name; None: all, where they make sense.
    """

    device: str
    dtype: str
    batch: int
    img_size: int
    variants: tuple[str, ...]
    asked: tuple[str, ...] | None

    def randn(self, *shape: int) -> Tensor:
        """Normal numbers of this device and type."""
        return torch.randn(shape, device=self.device).to(TYPES[self.dtype])

    def cores(self, *without: str) -> dict[str, Core]:
        """What was asked for, or all but ``without``."""
        found = cores(self.device, self.asked)
        return {k: core for k, core in found.items() if self.asked or k not in without}


@dataclass(frozen=True)
class Case:
    """One table.

    Attributes:
        level: one of ``LEVELS``.
        name: what is run.
        way: "forward", "forward+backward" or "training step".
        calls: makes the calls by contender, the baseline first.
        maps_bytes: what a fused operator must move, at least; 0 where it is not the operator.
        slow: contenders that compile first.
    """

    level: str
    name: str
    way: str
    calls: Callable[[], dict[str, Call]]
    maps_bytes: int = 0
    slow: Sequence[str] = COMPILES


def cases(levels: Sequence[str], setting: Setting) -> Iterator[Case]:
    """Every case to measure."""
    for level, shapes in (("operator", OPERATOR), ("small", SMALL)):
        for name, shape in shapes.items() if level in levels else ():
            for backward in (False, True):
                yield _operator(level, name, shape, setting, backward)
    for name in OPERATOR if "block" in levels else ():
        for backward in (False, True):
            yield _block(name, setting, backward)
    for level in ("model", "compile"):
        for name in setting.variants if level in levels else ():
            for training in (False, True):
                yield _model(level, name, setting, training)


def _operator(
    level: str, name: str, shape: tuple[int, int, int, int], setting: Setting, backward: bool
) -> Case:
    """The operator alone, from channels-last qkv to channels-last result."""
    batch, side, channels, heads = shape
    if level == "operator":
        batch, side = setting.batch, max(1, side * setting.img_size // 224)
    numbers = batch * side * side * channels
    # Forward: read q, k, v, write the result. Backward: read those and the result's gradient,
    # write three gradients; the eighth is the result itself, for the sum over its products.
    maps = 4 + 8 * backward

    def calls() -> dict[str, Call]:
        qkv, slope = setting.randn(batch, side, side, 3 * channels), None
        if backward:
            qkv, slope = qkv.requires_grad_(), setting.randn(batch, side, side, channels)

        def call(core: Core) -> Tensor:
            if slope is None:
                with torch.inference_mode():
                    return core(qkv, heads, WINDOW, DILATIONS)
            return torch.autograd.grad(core(qkv, heads, WINDOW, DILATIONS), qkv, slope)[0]

        return {k: lambda core=core: call(core) for k, core in setting.cores(FREE).items()}

    way = "forward+backward" if backward else "forward"
    return Case(level, name, way, calls, maps * numbers * TYPES[setting.dtype].itemsize)


def _block(name: str, setting: Setting, backward: bool) -> Case:
    """The first block of a stage: position, MSDA with its projections, MLP."""
    kind, _, number = name.partition("-s")
    _, side, channels, _ = OPERATOR[name]
    side = max(1, side * setting.img_size // 224)

    def calls() -> dict[str, Call]:
        block = _built(kind, setting).stages[int(number) - 1].blocks[0]
        x = setting.randn(setting.batch, side, side, channels).permute(0, 3, 1, 2)
        slope = torch.randn_like(x)

        def call(core: Core) -> Tensor:
            with using(core), torch.inference_mode(not backward):
                out: Tensor = block(x)
            if backward:
                torch.autograd.grad(out, [x, *block.parameters()], slope)
            return out.detach()

        x.requires_grad_(backward)
        return {k: lambda core=core: call(core) for k, core in setting.cores("flex").items()}

    return Case("block", name, "forward+backward" if backward else "forward", calls)


def _model(level: str, name: str, setting: Setting, training: bool) -> Case:
    """A whole model: logits without gradients, or a training step without the update.

    Compiled models are told apart by the core that they were compiled with: dynamo guards on the
    global that ``using`` sets.
    """
    found = setting.cores(*NOT_IN_MODELS)
    compiled = level == "compile"

    def calls() -> dict[str, Call]:
        model = _built(name, setting).train(training)
        images = setting.randn(setting.batch, 3, setting.img_size, setting.img_size)
        labels = torch.arange(setting.batch, device=setting.device) % 1000

        def call(core: Core, run: Callable[[Tensor], Tensor]) -> Tensor:
            with using(core), torch.inference_mode(not training):
                out = run(images)
            if training:
                nn.functional.cross_entropy(out.float(), labels).backward()
                model.zero_grad(set_to_none=True)
            return out.detach()

        made: dict[str, Call] = {k: lambda c=core: call(c, model) for k, core in found.items()}
        for k, core in found.items() if compiled else ():
            run = torch.compile(model, dynamic=False)
            made[k + COMPILED] = lambda c=core, run=run: call(c, run)
        return made

    slow = [k + COMPILED for k in found] if compiled else COMPILES
    return Case(level, name, "training step" if training else "forward", calls, slow=slow)


def _built(name: str, setting: Setting) -> Any:
    """A variant in the type; on CUDA weights lie channels-last, as its convolutions want."""
    with torch.device(setting.device):  # random weights take seconds on a CPU
        model: Any = build_model(variant(name)).to(TYPES[setting.dtype])
    if setting.device.startswith("cuda"):
        model = model.to(memory_format=torch.channels_last)
    return model
