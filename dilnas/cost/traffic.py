"""Bytes that the operators of a network must move for one batch, and their multiply-adds: exact.

Each operator reads its inputs and weights once and writes its output once: no cache, no scratch
space, no layout copies, no statistics that a norm keeps for its backward pass. That is the least
an eager network moves; a compiler that fuses operators moves less.

Operators (``TRAFFIC_OPERATORS``) and what they touch, N tokens and C channels:

    conv, linear      input, weights, bias -> output; the q, k, v projection of an MSDA block is a
                      1x1 convolution, that of a global block a linear layer
    msda, attention   q, k, v (3 N C) -> N C: logits and probabilities stay inside
    layer_norm        input, scale, shift -> output
    batch_norm        the same, and the running mean and variance, which training also writes
    gelu              input -> output
    add               two inputs -> their sum: residuals, and what a position embedding adds
    pool              N C -> C: the average before the classifier

**Training** is the forward pass and a model of the backward pass; the loss, the sums into
parameters and the optimiser are not in it:

    conv, linear      two products as large as the forward one: the input's gradient from that of
                      the output and the weights, the weights' gradient from those of the output
                      and the input. The first convolution needs no gradient of the image.
    msda              four products where the forward pass has two, reads q, k, v, the output and
                      its gradient, writes three gradients (Triton's kernels compute the logits
                    again, a fifth product, instead of reading probabilities: not counted)
    attention         the same bytes; five products, since a fused operator computes its logits
                      again (as ``torch.utils.flop_counter`` counts it)
    norms             read the output's gradient, the input and the scale, write three gradients
    gelu              reads the output's gradient and the input, writes the input's
    add               two gradients meet where a sum's input was used twice: one more sum
    pool              reads the output's gradient, writes the input's

A half type takes two bytes everywhere, except for weights and running statistics in training, which
autocast keeps in four (norms may keep four-byte activations there too: not counted).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dilnas.arch import Architecture, Stage
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE, KERNELS, STEM_CONVS
from dilnas.records import Workload

__all__ = ["TRAFFIC_OPERATORS", "TrafficRow", "traffic"]

TRAFFIC_OPERATORS = (
    "conv", "linear", "msda", "attention", "layer_norm", "batch_norm", "gelu", "add", "pool",
)  # fmt: skip
"""Operators that must move something, in the order in which tables show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRow:
    """All operators of one kind in one part, for one batch.

    ``part`` is "stem", "stage 1", …, "head" (a stage has its downsampling), ``operator`` one of
    ``TRAFFIC_OPERATORS``, ``macs`` multiply-adds.
    """

    part: str
    operator: str
    macs: int
    read_bytes: int
    written_bytes: int

    @property
    def moved_bytes(self) -> int:
        """Read and written."""
        return self.read_bytes + self.written_bytes


def traffic(architecture: Architecture, workload: Workload) -> tuple[TrafficRow, ...]:
    """Traffic of one batch by part and operator, in the order of the forward pass.

    Of the workload batch, height, width, dtype and mode count. Inference: the multiply-adds are
    those of ``cost`` times the batch. Raises InputError for sides that the strides do not divide.
    """
    architecture.check_input(workload.height, workload.width)
    train, batch = workload.mode == "train", workload.batch_size
    half = workload.dtype in ("fp16", "bf16")
    activation = 2 if half else 4
    weight = 2 if half and not train else 4
    sums: dict[tuple[str, str], list[int]] = {}
    for call in _calls(architecture, workload.height, workload.width):
        passes = [_forward(call, train)] + ([_backward(call)] if train else [])
        total = sums.setdefault((call.part, call.operator), [0, 0, 0])
        for one in passes:
            total[0] += one.macs * batch
            total[1] += one.read * batch * activation + one.read_weights * weight
            total[2] += one.written * batch * activation + one.written_weights * weight
    return tuple(
        TrafficRow(part=part, operator=operator, macs=m, read_bytes=r, written_bytes=w)
        for (part, operator), (m, r, w) in sums.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One operator on one image, in elements; ``weights`` includes neither bias nor statistics."""

    part: str
    operator: str
    read: int
    written: int
    macs: int = 0
    weights: int = 0
    bias: int = 0
    statistics: int = 0
    input_grad: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """What one pass of an operator moves: elements an image, and of weights a batch."""

    macs: int = 0
    read: int = 0
    written: int = 0
    read_weights: int = 0
    written_weights: int = 0


def _forward(call: _Call, train: bool) -> _Pass:
    return _Pass(
        macs=call.macs,
        read=call.read,
        written=call.written,
        read_weights=call.weights + call.bias + call.statistics,
        written_weights=call.statistics if train else 0,
    )


def _backward(call: _Call) -> _Pass:
    """The rules at the head of this file."""
    read, written, parameters = call.read, call.written, call.weights + call.bias
    if call.operator in ("conv", "linear"):
        grad = int(call.input_grad)
        return _Pass(
            macs=(1 + grad) * call.macs, read=(1 + grad) * written + read, written=grad * read,
            read_weights=grad * call.weights, written_weights=parameters,
        )  # fmt: skip
    if call.operator in ("msda", "attention"):
        macs = 2 * call.macs if call.operator == "msda" else call.macs * 5 // 2
        return _Pass(macs=macs, read=read + 2 * written, written=read)
    if call.operator == "add":
        return _Pass(read=read, written=written)
    if call.operator == "pool":
        return _Pass(read=written, written=read)
    return _Pass(
        read=written + read, written=read, read_weights=call.weights, written_weights=parameters
    )


def _calls(architecture: Architecture, height: int, width: int) -> Iterator[_Call]:
    """Every operator in the order in which an image passes it."""
    yield from _stem(architecture, height, width)
    height, width = height // 4, width // 4
    stages = architecture.stages
    for i, stage in enumerate(stages):
        part = f"stage {i + 1}"
        for block in range(stage.depth):
            yield from _block(part, stage, architecture, height * width, block < stage.msda_depth)
        if i + 1 < len(stages):
            yield from _downsample(part, architecture, i, height * width)
            height, width = height // 2, width // 2
    yield from _head(architecture, height * width)


def _conv(  # noqa: PLR0917
    part: str, inputs: int, outputs: int, kernel: int, tokens: int, positions: int, bias: bool,
    *, input_grad: bool = True,
) -> _Call:  # fmt: skip
    """A convolution from ``tokens`` to ``positions`` pixels."""
    weights = inputs * outputs * kernel**2
    return _Call(
        part=part, operator="conv", read=inputs * tokens, written=outputs * positions,
        macs=weights * positions, weights=weights, bias=outputs * bias, input_grad=input_grad,
    )  # fmt: skip


def _linear(part: str, inputs: int, outputs: int, tokens: int, bias: bool = True) -> _Call:
    return _Call(
        part=part, operator="linear", read=inputs * tokens, written=outputs * tokens,
        macs=inputs * outputs * tokens, weights=inputs * outputs, bias=outputs * bias,
    )  # fmt: skip


def _norm(part: str, operator: str, channels: int, tokens: int) -> _Call:
    size = channels * tokens
    statistics = 2 * channels if operator == "batch_norm" else 0
    return _Call(
        part=part, operator=operator, read=size, written=size,
        weights=channels, bias=channels, statistics=statistics,
    )  # fmt: skip


def _gelu(part: str, size: int) -> _Call:
    return _Call(part=part, operator="gelu", read=size, written=size)


def _sum(part: str, size: int) -> _Call:
    return _Call(part=part, operator="add", read=2 * size, written=size)


def _position(part: str, channels: int, tokens: int) -> Iterator[_Call]:
    """A depthwise 3x3 convolution and its sum with its input."""
    size = channels * tokens
    yield _Call(
        part=part, operator="conv", read=size, written=size,
        macs=9 * size, weights=9 * channels, bias=channels,
    )  # fmt: skip
    yield _sum(part, size)


def _stem(architecture: Architecture, height: int, width: int) -> Iterator[_Call]:
    convs = STEM_CONVS[architecture.stem]
    channels, tokens = architecture.in_chans, height * width
    for i, (listed, kernel, stride) in enumerate(convs):
        outputs = listed or architecture.stages[0].dim
        height, width = height // stride, width // stride
        yield _conv(
            "stem", channels, outputs, kernel, tokens, height * width, len(convs) == 1,
            input_grad=i > 0,
        )  # fmt: skip
        channels, tokens = outputs, height * width
        if i + 1 < len(convs):
            yield _norm("stem", "batch_norm", channels, tokens)
            yield _gelu("stem", channels * tokens)


def _block(
    part: str, stage: Stage, architecture: Architecture, tokens: int, dilated: bool
) -> Iterator[_Call]:
    dim, size, bias = stage.dim, stage.dim * tokens, architecture.qkv_bias
    if architecture.pos_embed in BY_BLOCK:
        yield from _position(part, dim, tokens)
    yield _norm(part, "layer_norm", dim, tokens)
    if dilated:
        window = stage.window_size or 1
        yield _conv(part, dim, 3 * dim, 1, tokens, tokens, bias)
        name, macs = "msda", 2 * window**2 * size
    else:
        yield _linear(part, dim, 3 * dim, tokens, bias)
        name, macs = "attention", 2 * tokens * size
    yield _Call(part=part, operator=name, read=3 * size, written=size, macs=macs)
    yield _linear(part, dim, dim, tokens)
    yield _sum(part, size)
    yield _norm(part, "layer_norm", dim, tokens)
    yield _linear(part, dim, stage.mlp_hidden, tokens)
    yield _gelu(part, stage.mlp_hidden * tokens)
    yield _linear(part, stage.mlp_hidden, dim, tokens)
    yield _sum(part, size)


def _downsample(part: str, architecture: Architecture, i: int, tokens: int) -> Iterator[_Call]:
    """From stage ``i``, of ``tokens`` pixels, to the next one, of a quarter."""
    dim, outputs = architecture.stages[i].dim, architecture.stages[i + 1].dim
    positions = tokens // 4
    yield _conv(part, dim, outputs, KERNELS[architecture.downsample], tokens, positions, True)
    yield _norm(part, "batch_norm", outputs, positions)
    if architecture.pos_embed in BY_STAGE:
        yield from _position(part, outputs, positions)


def _head(architecture: Architecture, tokens: int) -> Iterator[_Call]:
    dim = architecture.stages[-1].dim
    yield _norm("head", "layer_norm", dim, tokens)
    yield _Call(part="head", operator="pool", read=dim * tokens, written=dim)
    if architecture.num_classes:
        yield _linear("head", dim, architecture.num_classes, 1)
