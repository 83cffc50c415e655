"""What the parts of a network hold in a training step under autocast, in bytes.

As ``dilnas.cost.memory_parts`` has it in elements; sizes are ints here, not arrays.

Weights, their gradients and images are fp32; autocast casts what convolutions, linear layers and
attention read to two bytes, and what layer norms read to four, as it does on CUDA:

    conv, linear      keep their input and their weights in two bytes
    layer norm        keeps a copy of its input in four bytes; mean and 1/deviation of each token
    batch norm        keeps its input in two bytes; mean and 1/deviation of each channel in four
    GELU              keeps its input in two bytes
    fused attention   keeps q k v and the output in two bytes, log-sum-exp in four

A weight's gradient appears in two bytes and is copied to four. The order of the nodes is that of
torch's autograd engine: what was made last in the forward pass goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dilnas.cost.formulas import STEM_CONVS
from dilnas.cost.memory_parts import Visit, peak_of

__all__ = [
    "HALF",
    "MixedVisit",
    "block_bytes",
    "downsample_bytes",
    "head_bytes",
    "stem_bytes",
    "step_peak_bytes",
]

LOSS_BYTES = 8
"""The loss and the gradient that the backward pass starts from."""

HALF, FULL = 2, 4


@dataclass(slots=True)
class MixedVisit(Visit):
    """A part met by both passes, in bytes.

    Attributes:
        ahead: what the forward pass holds at its worst beside what it keeps of this part and those
            before: with thin later stages that is the peak of the step.
        casts: biases, whose casts autocast holds to the end of the forward pass.
    """

    ahead: int = 0
    casts: int = 0


def step_peak_bytes(visits: Sequence[MixedVisit]) -> int:
    """Most bytes that autograd and autocast hold; ``visits`` as the forward pass meets them."""
    forward = held = 0
    for visit in visits:
        held += int(visit.repeats * (visit.saved + HALF * visit.casts))
        forward = max(forward, held + visit.ahead)
    return max(forward, int(peak_of(visits, LOSS_BYTES)))


class _Pass:
    """A backward pass through a part: what is held as it goes on, and the most of it.

    Attributes:
        visit: what comes of it.
        held: bytes, relative to what is held when the part is reached, the gradient of its output
            left out.
    """

    def __init__(self) -> None:
        self.visit = MixedVisit()
        self.held = 0

    def node(self, *, frees: int, makes: int = 0, beside: int = 0) -> None:
        """A node of the graph: what it makes is there before what it kept is freed.

        ``beside``: gradients of maps that are held meanwhile, the one that it makes included.
        """
        self.visit.peaks.append(self.held + makes + beside)
        self.visit.saved += frees
        self.held -= frees

    def gradients(self, numbers: int) -> None:
        """Those of ``numbers`` weights have come to stay."""
        self.visit.grads += FULL * numbers
        self.held += FULL * numbers

    def copied(self, weights: int, bias: int, *, beside: int, reordered: int = 0) -> None:
        """Gradients in two bytes become gradients in four, the bias' last.

        ``reordered``: weights whose gradient is copied once more, into their layout.
        """
        self.visit.peaks += [
            self.held + (HALF + FULL) * weights + HALF * bias + beside,
            self.held + FULL * (weights + reordered) + HALF * bias + beside,
            self.held + FULL * weights + (HALF + FULL) * bias + beside,
        ]
        self.gradients(weights + bias)
        self.visit.casts += bias

    def layer(
        self, inputs: int, outputs: int, weights: int, bias: int, beside: int = 0,
        *, has_grad: bool = True, reordered: int = 0,
    ) -> None:  # fmt: skip
        """A linear layer or convolution from ``inputs`` numbers to ``outputs``."""
        made = HALF * has_grad * inputs
        self.node(
            frees=HALF * (inputs + weights),
            makes=HALF * (weights + bias),
            beside=beside + HALF * outputs + made,
        )
        self.copied(weights, bias, beside=beside + made, reordered=reordered)

    def batch_norm(self, size: int, channels: int) -> None:
        """Of a map of ``size`` numbers."""
        parameters = 2 * FULL * channels
        self.node(frees=HALF * size + parameters, makes=parameters, beside=2 * HALF * size)
        self.gradients(2 * channels)

    def layer_norm(self, size: int, tokens: int, dim: int, beside: int) -> None:
        """Cast to four bytes, norm, cast of the result to two: backwards, from the latter."""
        self.node(frees=0, beside=beside + (HALF + FULL) * size)
        self.full_layer_norm(size, tokens, dim, beside)

    def full_layer_norm(self, size: int, tokens: int, dim: int, beside: int) -> None:
        """The same where the result stayed in four bytes."""
        self.node(
            frees=FULL * (size + 2 * tokens), makes=2 * FULL * dim, beside=beside + 2 * FULL * size
        )
        self.gradients(2 * dim)
        self.node(frees=0, beside=beside + (HALF + FULL) * size)


def block_bytes(
    *, dim: int, hidden: int, heads: int, tokens: int, batch: int, qkv_bias: int, pos_conv: int,
    callers: int,
) -> MixedVisit:  # fmt: skip
    """One block with fused attention, global or MSDA; arguments as ``block_visit`` has them.

    ``callers``: maps that callers hold meanwhile, the block's input and the stage's: 1 or 2.
    """
    n = batch * tokens
    s, m = n * dim, n * hidden
    rest = HALF * s  # the gradient that passes by each branch
    back = _Pass()
    back.layer(m, 0, dim * hidden, dim, rest)
    back.node(frees=HALF * m, beside=rest + 2 * HALF * m)
    back.layer(s, m, dim * hidden, hidden, rest)
    back.layer_norm(s, n, dim, rest)
    # The output of attention is kept by the projection too, and freed with attention.
    square = dim * dim
    back.node(frees=HALF * square, makes=HALF * (square + dim), beside=rest + HALF * s)
    back.copied(square, dim, beside=rest + HALF * s)
    back.node(frees=HALF * 4 * s + FULL * n * heads, beside=rest + HALF * 4 * s)
    back.visit.peaks.append(back.held + rest + 2 * HALF * 3 * s)  # those of q, k, v become one
    back.layer(s, 3 * s, 3 * square, 3 * dim * qkv_bias, rest)
    back.layer_norm(s, n, dim, rest)
    if pos_conv:
        back.layer(s, 0, 9 * dim, dim, rest)  # which keeps what callers hold
    # After fc2: its result, the residual, and the norm's result that the MLP was called with.
    back.visit.ahead = HALF * s * (2 + (1 - pos_conv) * callers) + FULL * s
    return back.visit


def downsample_bytes(
    *, dim: int, out_dim: int, kernel: int, tokens: int, batch: int, pos_conv: int, copies: int,
    callers: int,
) -> MixedVisit:  # fmt: skip
    """Strided convolution, batch norm, maybe position; arguments as ``downsample_visit``'s.

    ``callers``: 1 where the caller holds the stage's input, which nothing keeps, else 0.
    """
    before, after = batch * tokens * dim, batch * (tokens // 4) * out_dim
    weights = kernel * kernel * dim * out_dim
    back = _Pass()
    if pos_conv:
        back.layer(after, 0, 9 * out_dim, out_dim, HALF * after)
    back.batch_norm(after, out_dim)
    back.layer(before, after, weights, out_dim, reordered=copies * weights)
    back.visit.ahead = HALF * (after * (1 + pos_conv) + callers * before)
    return back.visit


def stem_bytes(
    stem: str, *, in_chans: int, dim: int, height: int, width: int, batch: int, copies: int
) -> MixedVisit:
    """The patch embedding; arguments as ``stem_visit``'s. The image is cast to two bytes."""
    convs = STEM_CONVS[stem]
    inputs, channels = batch * in_chans * height * width, in_chans
    layers = []
    for listed, kernel, stride in convs:
        outputs = listed or dim
        height, width = height // stride, width // stride
        size = batch * outputs * height * width
        weights = kernel * kernel * channels * outputs
        layers.append((inputs, size, outputs, weights, copies * int(kernel > 1) * weights))
        inputs, channels = size, outputs
    back = _Pass()
    for left, (inputs, size, outputs, weights, reordered) in enumerate(reversed(layers)):
        if left:  # GELU and batch norm follow this convolution
            back.node(frees=HALF * size, beside=2 * HALF * size)
            back.batch_norm(size, outputs)
        has_grad = left + 1 < len(layers)
        bias = dim * int(len(layers) == 1)
        back.layer(inputs, size, weights, bias, has_grad=has_grad, reordered=reordered)
    # The result of the last, and the images in the other layout.
    back.visit.ahead = HALF * layers[-1][1] + FULL * copies * layers[0][0]
    return back.visit


def head_bytes(*, dim: int, num_classes: int, tokens: int, batch: int) -> MixedVisit:
    """Final norm, average, maybe a classifier, and the loss."""
    n = batch * tokens
    s, pooled, out = n * dim, batch * dim, batch * num_classes
    back = _Pass()
    logits = out or pooled
    back.node(frees=FULL * logits, beside=3 * FULL * logits)
    if num_classes:
        back.visit.saved += HALF * out  # the caller holds the logits
        back.node(frees=0, beside=(FULL + HALF) * out)
        back.layer(pooled, out, dim * num_classes, num_classes)
        back.node(frees=0, beside=(FULL + HALF) * pooled)
    else:
        back.held += FULL * pooled  # the caller holds them still
    back.node(frees=0, beside=FULL * (pooled + s))
    back.full_layer_norm(s, n, dim, 0)
    back.visit.stays = HALF * out if num_classes else FULL * pooled
    back.visit.ahead = (HALF + FULL) * s
    return back.visit
