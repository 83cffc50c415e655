"""The formulas of cost: one set for one architecture (ints) and for many (int64 arrays).

A number here is a Python int or an int64 array with one entry an architecture; the formulas only
add and multiply, so they cannot tell. Choices (a kernel size, "is there a convolution here")
enter as numbers for the same reason.

Counts by operator are those of fvcore on the official code: a convolution or linear layer counts
its multiply-adds without bias, an attention product likewise, batch norm 2 and layer norm 5 an
element, everything else 0. The q, k, v projection of an MSDA block is a 1x1 convolution, that of a
global block a linear layer. Dilations are free. Symbols: N = height · width tokens, C channels,
M hidden channels of the MLP, h heads, w window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "BY_BLOCK",
    "BY_STAGE",
    "KERNELS",
    "STEM_CONVS",
    "Count",
    "NetworkNumbers",
    "Part",
    "Placed",
    "StageNumbers",
    "network_parts",
    "stem_part",
]

Count: TypeAlias = Any
"""An int, or an int64 array with one entry an architecture."""

STEM_CONVS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "overlapping": ((16, 3, 1), (32, 3, 2), (64, 3, 1), (0, 3, 2)),
    "nonoverlapping": ((0, 4, 4),),
    "pointconv": ((16, 3, 2), (32, 1, 1), (64, 3, 2), (0, 1, 1)),
}
"""Convolutions of each stem: (output channels, kernel, stride), 0 channels meaning the first
stage's width. Batch norm and GELU follow each but the last; only a stem of one has a bias."""

KERNELS = {"conv3": 3, "conv2": 2}
"""Kernel of each downsampling convolution; its stride is 2."""

BY_BLOCK = ("block", "both")
BY_STAGE = ("stage", "both")
"""Position embeddings with a depthwise convolution in each block, in each downsampling layer."""


@dataclass(slots=True)
class Part:
    """Cost of one part of a network for one image; ``live`` are its candidates for the peak.

    Each entry of ``live`` is the number of elements alive while one operator runs: what it reads,
    what it writes, and what is kept for later or held by a caller, the image not counted.
    """

    params: Count = 0
    conv: Count = 0
    linear: Count = 0
    matmul: Count = 0
    batch_norm: Count = 0
    layer_norm: Count = 0
    written: Count = 0
    live: list[Count] = field(default_factory=list)

    def add_conv(
        self, inputs: Count, outputs: Count, kernel: Count, positions: Count, *, bias: Count = 0
    ) -> None:
        """A kernel x kernel convolution onto ``positions`` pixels; ``inputs`` = 1: depthwise."""
        weights = inputs * outputs * (kernel * kernel)
        self.params = self.params + weights + outputs * bias
        self.conv = self.conv + weights * positions
        self.written = self.written + outputs * positions

    def add_linear(self, inputs: Count, outputs: Count, positions: Count, *, bias: Count) -> None:
        """A linear layer at each of ``positions``."""
        weights = inputs * outputs
        self.params = self.params + weights + outputs * bias
        self.linear = self.linear + weights * positions
        self.written = self.written + outputs * positions

    def add_batch_norm(self, channels: Count, positions: Count) -> None:
        """Batch norm with affine parameters: 2 an element."""
        self.params = self.params + 2 * channels
        self.batch_norm = self.batch_norm + 2 * channels * positions
        self.written = self.written + channels * positions

    def add_layer_norm(self, channels: Count, positions: Count) -> None:
        """Layer norm with affine parameters: 5 an element."""
        self.params = self.params + 2 * channels
        self.layer_norm = self.layer_norm + 5 * channels * positions
        self.written = self.written + channels * positions


def stem_part(stem: str, in_chans: Count, dim: Count, height: int, width: int) -> Part:
    """The patch embedding: image (in_chans, height, width) to map (dim, height/4, width/4)."""
    part = Part()
    convs = STEM_CONVS[stem]
    channels, before = in_chans, 0  # the image is counted by the caller
    for i, (listed, kernel, stride) in enumerate(convs):
        outputs = listed or dim
        height, width = height // stride, width // stride
        last = i == len(convs) - 1
        part.add_conv(channels, outputs, kernel, height * width, bias=int(len(convs) == 1))
        after = outputs * (height * width)
        part.live.append(before + after)
        if not last:
            part.add_batch_norm(outputs, height * width)
            part.written = part.written + after  # GELU
            part.live.append(2 * after)
        channels, before = outputs, after
    return part


def msda_attention(part: Part, dim: Count, heads: Count, window: Count, tokens: int) -> Count:
    """Add multi-scale dilated attention of projected q, k, v; returns the elements it keeps alive.

    Products 2·w²·N·C; logits and probabilities are N·h·w² each, the output N·C. Keys and values
    are read in place by the portable operator: unfolded copies (2·w²·N·C) do not exist.
    """
    logits = heads * (window * window) * tokens
    part.matmul = part.matmul + 2 * (window * window) * tokens * dim
    part.written = part.written + 2 * logits + dim * tokens
    return 2 * logits + dim * tokens


def sdpa_attention(part: Part, dim: Count, tokens: int) -> Count:
    """Add global attention of projected q, k, v; returns the elements it keeps alive.

    Products 2·N²·C. The fused operator writes its output N·C and no N x N logits.
    """
    part.matmul = part.matmul + 2 * (tokens * tokens) * dim
    part.written = part.written + dim * tokens
    return dim * tokens


def block_part(
    *, dim: Count, heads: Count, hidden: Count, tokens: int,
    qkv_bias: Count, pos_conv: Count, window: Count | None,
) -> Part:  # fmt: skip
    """One block on ``tokens`` tokens; ``window`` None: global attention, otherwise MSDA.

    ``pos_conv`` and ``qkv_bias`` are 0 or 1.
    """
    part = Part()
    size = dim * tokens
    position = Part()
    position.add_conv(1, dim, 3, tokens, bias=1)
    part.params = pos_conv * position.params
    part.conv = pos_conv * position.conv
    part.written = pos_conv * 2 * size  # the convolution and its sum with the input
    part.add_layer_norm(dim, tokens)
    if window is None:
        part.add_linear(dim, 3 * dim, tokens, bias=qkv_bias)
        kept = sdpa_attention(part, dim, tokens)
    else:
        part.add_conv(dim, 3 * dim, 1, tokens, bias=qkv_bias)
        kept = msda_attention(part, dim, heads, window, tokens)
    part.add_linear(dim, dim, tokens, bias=1)
    part.add_layer_norm(dim, tokens)
    part.add_linear(dim, hidden, tokens, bias=1)
    part.add_linear(hidden, dim, tokens, bias=1)
    part.written = part.written + hidden * tokens + 2 * size  # GELU and two residual sums
    # Alive with the block's input: under attention the residual (if the position embedding made
    # a new one), the norm's output, q k v and attention's own; under the projection its output
    # too; under GELU the residual, the norm's output, the hidden layer before and after.
    part.live = [
        (5 + pos_conv) * size + kept,
        (7 + pos_conv) * size,
        3 * size + 2 * hidden * tokens,
    ]
    return part


def downsample_part(
    *, dim: Count, out_dim: Count, kernel: Count, tokens: int, pos_conv: Count
) -> Part:
    """The layer that halves a map of ``tokens`` pixels and widens it to ``out_dim``."""
    part = Part()
    positions = tokens // 4
    part.add_conv(dim, out_dim, kernel, positions, bias=1)
    part.add_batch_norm(out_dim, positions)
    position = Part()
    position.add_conv(1, out_dim, 3, positions, bias=1)
    after = out_dim * positions
    part.params = part.params + pos_conv * position.params
    part.conv = part.conv + pos_conv * position.conv
    part.written = part.written + pos_conv * 2 * after
    before = dim * tokens
    part.live = [before + 2 * after, before + (1 + 2 * pos_conv) * after]
    return part


def head_part(*, dim: Count, num_classes: Count, tokens: int, classifier: Count) -> Part:
    """Final norm, average over tokens and classifier; ``classifier`` is 0 without classes."""
    part = Part()
    part.add_layer_norm(dim, tokens)
    part.add_linear(dim, num_classes, 1, bias=classifier)
    part.written = part.written + dim  # the average
    part.live = [2 * dim * tokens]
    return part


class StageNumbers(NamedTuple):
    """A stage's fields as numbers; ``window`` is ignored where ``msda_depth`` is 0."""

    dim: Count
    heads: Count
    msda_depth: Count
    global_depth: Count
    window: Count
    hidden: Count


@dataclass(slots=True, kw_only=True)
class NetworkNumbers:
    """A network's fields as numbers; ``kernel`` is that of the downsampling convolution.

    ``by_block``, ``by_stage`` (position embeddings), ``qkv_bias`` and ``classifier`` are 0 or 1.
    """

    stages: Sequence[StageNumbers]
    stem: Part
    kernel: Count
    by_block: Count
    by_stage: Count
    qkv_bias: Count
    num_classes: Count
    classifier: Count


class Placed(NamedTuple):
    """A part, how often it occurs in a row, and the size of its output map."""

    kind: str
    stage: int | None
    repeats: Count
    part: Part
    height: int
    width: int


def network_parts(net: NetworkNumbers, height: int, width: int) -> Iterator[Placed]:
    """The parts of a network in the order in which an image passes them."""
    height, width = height // 4, width // 4
    yield Placed("stem", None, 1, net.stem, height, width)
    for i, stage in enumerate(net.stages):
        tokens = height * width
        for kind, depth, last in (
            ("msda", stage.msda_depth, stage.msda_depth),
            ("global", stage.global_depth, stage.msda_depth + stage.global_depth),
        ):
            block = block_part(
                dim=stage.dim, heads=stage.heads, hidden=stage.hidden, tokens=tokens,
                qkv_bias=net.qkv_bias, pos_conv=net.by_block,
                window=stage.window if kind == "msda" else None,
            )  # fmt: skip
            # The stage's caller holds its input, which is the first block's own input too.
            held = (last > 1) * stage.dim * tokens
            block.live = [live + held for live in block.live]
            yield Placed(kind, i, depth, block, height, width)
        if i + 1 < len(net.stages):
            down = downsample_part(
                dim=stage.dim, out_dim=net.stages[i + 1].dim, kernel=net.kernel,
                tokens=tokens, pos_conv=net.by_stage,
            )  # fmt: skip
            down.live = [live + stage.dim * tokens for live in down.live]
            height, width = height // 2, width // 2
            yield Placed("downsample", i, 1, down, height, width)
    head = head_part(
        dim=net.stages[-1].dim, num_classes=net.num_classes, tokens=height * width,
        classifier=net.classifier,
    )  # fmt: skip
    yield Placed("head", None, 1, head, 1, 1)
