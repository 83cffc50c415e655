"""What one part of a network keeps for its backward pass, and what that pass holds at its worst.

The parts of ``dilnas.cost.memory``, which says what is counted. Like ``dilnas.cost.formulas``
these formulas add, subtract and multiply only: a number is an int or an int64 array with one entry
an architecture.

Symbols: s = batch · tokens · C, m = batch · tokens · M, n = batch · tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

from dilnas.cost.formulas import STEM_CONVS, Count

__all__ = [
    "Attention",
    "Visit",
    "block_visit",
    "downsample_visit",
    "fused_attention",
    "head_visit",
    "msda_attention",
    "peak_of",
    "probability_rows",
    "stem_visit",
]

LOSS = 2
"""The loss and the gradient that the backward pass starts from, an element each."""


@dataclass(slots=True)
class Visit:
    """One part of the network as the backward pass meets it, ``repeats`` times in a row.

    ``saved`` elements are freed by it, but for ``stays`` that the caller holds on to, and
    ``grads`` elements of gradients appear. ``peaks`` are candidates for the most that it holds,
    relative to what is held when it is reached without the gradient of its output: that is among
    its own temporaries.
    """

    repeats: Count = 1
    saved: Count = 0
    grads: Count = 0
    stays: Count = 0
    peaks: list[Count] = field(default_factory=list)


def peak_of(visits: Sequence[Visit], loss: Count = LOSS) -> Count:
    """Most elements that autograd holds, gradients of weights included, over the backward pass.

    ``visits`` are in the order of the forward pass. In a row of equal parts what is held changes
    by the same amount each time, so the first or the last of them is the worst.
    """
    held: Count = loss + sum(visit.repeats * visit.saved for visit in visits)
    peak: Count = 0
    for visit in reversed(visits):
        change = visit.grads + visit.stays - visit.saved
        worst = _most(held, held + (visit.repeats - 1) * change) + _most(*visit.peaks)
        peak = _most(peak, (visit.repeats > 0) * worst)
        held = held + visit.repeats * change
    return peak


class Attention(NamedTuple):
    """What one kind of attention keeps and needs, in elements.

    ``kept`` beside q, k, v and its output; ``scratch`` are candidates for its backward pass,
    relative to the gradient of its output being there and everything still kept.
    """

    kept: Count
    scratch: list[Count]


def block_visit(
    *, dim: Count, hidden: Count, tokens: Count, batch: Count,
    qkv_bias: Count, pos_conv: Count, attention: Attention,
) -> Visit:  # fmt: skip
    """One block; ``tokens`` positions of one image, ``qkv_bias`` and ``pos_conv`` 0 or 1."""
    n = batch * tokens
    s, m, weights = n * dim, n * hidden, dim * hidden
    after_fc2 = weights + dim
    after_fc1 = after_fc2 + weights + hidden
    after_proj = after_fc1 + 2 * dim + dim * dim + dim
    after_qkv = after_proj + 3 * dim * dim + 3 * dim * qkv_bias
    grads = after_qkv + 2 * dim + 10 * dim * pos_conv
    # Held there: the gradients of the output of the block (s), of GELU (m), of norms (s), …,
    # minus what has been freed. ``left`` is what the MLP and its norm have let go by then.
    left = 2 * m + 2 * n
    peaks = [
        s + m + after_fc2,
        2 * s - m + after_fc1,
        2 * s - 2 * m + after_fc1 + 2 * dim,
        after_proj - left,
        *(after_proj - left + scratch for scratch in attention.scratch),
        after_qkv - left - attention.kept - s,
        (grads - left - 2 * n - attention.kept - 6 * s) * pos_conv,
    ]
    saved = (8 + pos_conv) * s + 2 * m + 4 * n + attention.kept
    return Visit(saved=saved, grads=grads, peaks=peaks)


def fused_attention(*, dim: Count, heads: Count, tokens: Count, batch: Count) -> Attention:
    """Fused attention, global or MSDA by Triton's kernels; a log-sum-exp is kept of each head.

    The gradients of q, k and v appear before anything is freed.
    """
    return Attention(kept=batch * tokens * heads, scratch=[3 * batch * tokens * dim])


def msda_attention(
    *, dim: Count, tokens: Count, batch: Count, groups: Sequence[tuple[Count, Count, Count]]
) -> Attention:
    """The portable operator; ``groups`` are (heads, taps on the map, rows kept) of each.

    Its backward pass holds q k v, the upstream gradient and the result as planes (7 maps), for
    one group at a time the gradient of the logits and a temporary, and at the end the result once
    more, in the layout of its input. The output was let go before.
    """
    n = batch * tokens
    s = n * dim
    kept: Count = 0
    scratch = [9 * s]
    for heads, taps, rows in groups:
        slope = n * heads * taps
        kept = kept + n * heads * rows
        products = s // len(groups)  # one tap on all pixels
        scratch += [6 * s + slope + products, 6 * s + 2 * slope + n * heads]
    return Attention(kept=kept, scratch=scratch)


def probability_rows(window: int, dilation: int, height: int, width: int) -> tuple[int, int]:
    """(taps that touch a map of ``height`` x ``width``, rows of probabilities kept) of MSDA.

    Taps wholly outside of the map share one row.
    """
    half = window // 2
    rows, columns = (2 * min(half, (side - 1) // dilation) + 1 for side in (height, width))
    taps = rows * columns
    return taps, taps + int(taps < window * window)


def downsample_visit(
    *, dim: Count, out_dim: Count, kernel: Count, tokens: Count, batch: Count,
    pos_conv: Count, copies: Count, reordered: Count = 0,
) -> Visit:  # fmt: skip
    """Strided convolution, batch norm, maybe position, from a map of ``tokens`` pixels.

    ``copies`` is 1 where maps lie channels-last and weights do not: then the gradient of the
    weight does too, and is copied into the weight's layout. ``reordered``: copies of the weights
    that the kernel itself holds at that moment.
    """
    before, after = batch * tokens * dim, batch * (tokens // 4) * out_dim
    weights = kernel * kernel * dim * out_dim
    copied = (copies + reordered) * weights
    position = 10 * out_dim * pos_conv
    normed = position + 2 * out_dim
    grads = normed + weights + out_dim
    peaks = [
        (2 * after + position) * pos_conv,
        2 * after + normed - pos_conv * after,
        before + grads - (pos_conv * after + 2 * out_dim),
        grads + copied - (after * (1 + pos_conv) + 2 * out_dim),
    ]
    saved = before + (1 + pos_conv) * after + 2 * out_dim
    return Visit(saved=saved, grads=grads, peaks=peaks)


def stem_visit(
    stem: str, *, in_chans: Count, dim: Count, height: Count, width: Count, batch: Count,
    copies: Count,
) -> Visit:  # fmt: skip
    """The patch embedding of ``height`` x ``width`` pixels.

    The image needs no gradient. ``copies`` is 1 where it is copied to channels-last.
    """
    convs = STEM_CONVS[stem]
    inputs, channels = copies * batch * in_chans * height * width, in_chans
    layers = []
    for i, (listed, kernel, stride) in enumerate(convs):
        outputs = listed or dim
        height, width = height // stride, width // stride
        size = batch * outputs * height * width
        weights = kernel * kernel * channels * outputs
        copied = copies * int(kernel > 1) * weights
        layers.append((inputs, i > 0, size, outputs, weights, copied))
        inputs, channels = size, outputs
    bias = dim * int(len(convs) == 1)
    change: Count = 0  # relative to what is held when the stem is reached
    visit = Visit()
    for place, (inputs, has_grad, size, outputs, weights, copied) in enumerate(reversed(layers)):
        if place:  # GELU and batch norm follow this convolution
            visit.peaks += [change + 2 * size, change - size + 2 * size + 2 * outputs]
            visit.saved = visit.saved + 2 * size + 2 * outputs
            visit.grads = visit.grads + 2 * outputs
            change = change - 2 * size
        visit.peaks += [
            change + size + has_grad * inputs + weights + bias,
            change - inputs + has_grad * inputs + weights + copied + bias,
        ]
        visit.saved = visit.saved + inputs
        visit.grads = visit.grads + weights + bias
        change = change - inputs + weights
    return visit


def head_visit(
    *, dim: Count, num_classes: Count, tokens: Count, batch: Count, classifier: Count
) -> Visit:
    """Final norm, average, classifier and the loss; ``classifier`` is 0 without classes."""
    n = batch * tokens
    s, pooled, out = n * dim, batch * dim, batch * num_classes
    logits = out + (1 - classifier) * pooled
    weights = classifier * (dim * num_classes + num_classes)
    peaks = [
        4 * logits,
        classifier * (out + pooled + weights),
        weights + pooled + s - classifier * pooled,
        weights + 2 * s + 2 * dim - classifier * pooled,
    ]
    saved = s + 2 * n + pooled + out
    return Visit(saved=saved, grads=weights + 2 * dim, stays=logits, peaks=peaks)


def _most(*values: Count) -> Count:
    """The largest, of ints or of arrays entry by entry."""
    return reduce(lambda a, b: (a + b + abs(a - b)) // 2, values)
