"""The Triton kernels of MSDA: one forward, two backward, fused over the taps, without atomics.

A program owns a tile of TB x TY x TX *runs* of one head. A run is RUN pixels of one row that lie
one dilation apart, so that neighbours share keys: a row of a window takes RUN + WINDOW - 1 loads
for RUN queries, and as many conversions to float32, instead of RUN · WINDOW.

    queries         q0  q1  q2  q3            RUN = 4, WINDOW = 3
    keys        k0  k1  k2  k3  k4  k5        q_i sees k_i, k_(i+1), k_(i+2)

Every key is a masked load at a fixed distance from its run: outside of the map it loads zeros, so
its logit is 0, it stays in the softmax's denominator and adds nothing, and no case is special.
Softmax is in base 2, and online where the window is taken in several steps of ROWS rows; the
logarithm of its denominator is kept for the backward pass:

    s_t = scale · q·k_t      out = Σ_t p_t v_t      lse = log2 Σ_t 2^(s_t log2 e)
    dp_t = g·v_t     δ = g·out     ds_t = p_t (dp_t − δ)
    dq = scale · Σ_t ds_t k_t                       (query pass, which also writes δ)
    dk = scale · Σ_t ds_t q_t     dv = Σ_t p_t g_t  (key pass: the queries that see a key lie at
                                                     its own taps, mirrored; nothing is added to
                                                     memory twice, so the result is reproducible)

Channels are held in PARTS chunks of CHUNK, those of several pixels in one flat tuple. All
arithmetic is in float32 (float64 for float64), rounded once when stored.

Imported only where Triton is; ``TRITON_INTERPRET=1`` must be set before, if at all.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dilnas.ops.triton_parts import (
    dot,
    gather,
    load_numbers,
    load_run,
    place,
    same,
    store_run,
    times,
    window_row,
    zeros,
)

__all__ = ["msda_backward_keys", "msda_backward_queries", "msda_forward"]

_VALUES = (
    "low", "high", "batch", "height", "width", "heads", "group_heads", "units", "across",
)  # fmt: skip
"""Arguments that must not make a kernel of their own: candidates of a search share kernels."""


@triton.jit
def _forward_step(
    first, q, keys, apart, stride, y, x, inside, height, width, dilation, peak, total, sums,
    WINDOW: tl.constexpr, ROWS: tl.constexpr, RUN: tl.constexpr, DEPTH: tl.constexpr,
    CHUNK: tl.constexpr, WORK: tl.constexpr,
):  # fmt: skip
    """The softmax over ROWS more rows of the window; v lies ``apart`` elements behind k."""
    HALF: tl.constexpr = WINDOW // 2
    PARTS: tl.constexpr = (DEPTH + CHUNK - 1) // CHUNK
    COLUMNS: tl.constexpr = RUN + WINDOW - 1
    logits = ()
    for a in tl.static_range(ROWS):
        down, there = window_row(y, inside, height, dilation, first + a, HALF)
        at = keys + down * width * stride
        k = load_run(at, stride, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        for i in tl.static_range(RUN):
            for j in tl.static_range(WINDOW):
                logits = logits + (dot(q, i, k, i + j, PARTS),)
    highest, sum_of, scaled = (), (), ()
    for i in tl.static_range(RUN):
        most = peak[i]
        for a in tl.static_range(ROWS):
            for j in tl.static_range(WINDOW):
                most = tl.maximum(most, logits[(a * RUN + i) * WINDOW + j])
        shrink = tl.exp2(peak[i] - most)
        highest = highest + (most,)
        sum_of = sum_of + (total[i] * shrink,)
        for part in tl.static_range(PARTS):
            scaled = scaled + (sums[i * PARTS + part] * shrink[:, None],)
    for a in tl.static_range(ROWS):
        down, there = window_row(y, inside, height, dilation, first + a, HALF)
        at = keys + (down * width * stride + apart)
        v = load_run(at, stride, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        shares, added = (), ()
        for i in tl.static_range(RUN):
            mine = sum_of[i]
            for j in tl.static_range(WINDOW):
                share = tl.exp2(logits[(a * RUN + i) * WINDOW + j] - highest[i])
                mine += share
                shares = shares + (share,)
            added = added + (mine,)
        sum_of = added
        scaled = gather(scaled, shares, v, RUN, WINDOW, PARTS)
    return highest, sum_of, scaled


@triton.jit(do_not_specialize=_VALUES)
def msda_forward(
    qkv, out, lse, low, high, batch, height, width, heads, group_heads, units, across,
    WINDOW: tl.constexpr, ROWS: tl.constexpr, RUN: tl.constexpr, DEPTH: tl.constexpr,
    CHUNK: tl.constexpr, ALIGN: tl.constexpr, WORK: tl.constexpr, KEEP: tl.constexpr,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """out = MSDA(qkv), and where KEEP lse (heads, B·H·W) in base 2.

    ``qkv``: pixels lie ``units * ALIGN`` elements apart; ``low`` and ``high`` hold the dilations.
    """
    PARTS: tl.constexpr = (DEPTH + CHUNK - 1) // CHUNK
    RUNS: tl.constexpr = TB * TY * TX
    head, dilation, pixel, y, x, inside, some = place(
        low, high, batch, height, width, heads, group_heads, across, TB, TY, TX, RUN
    )
    if not some:
        return
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    # Base 2: 2^(s log2 e) = e^s, and the hardware's exponential is of base 2.
    q = times(
        load_run(own, stride, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK),
        1.4426950408889634 * DEPTH**-0.5, RUN * PARTS,
    )  # fmt: skip
    peak = same(tl.full((RUNS,), float("-inf"), WORK), RUN)
    total = same(tl.zeros((RUNS,), WORK), RUN)
    sums = zeros(RUN * PARTS, RUNS, CHUNK, WORK)
    keys = own + channels
    if ROWS == WINDOW:
        peak, total, sums = _forward_step(
            0, q, keys, channels, stride, y, x, inside, height, width, dilation,
            peak, total, sums, WINDOW, ROWS, RUN, DEPTH, CHUNK, WORK,
        )  # fmt: skip
    else:
        for first in range(0, WINDOW, ROWS):
            peak, total, sums = _forward_step(
                first, q, keys, channels, stride, y, x, inside, height, width, dilation,
                peak, total, sums, WINDOW, ROWS, RUN, DEPTH, CHUNK, WORK,
            )  # fmt: skip
    inverse = ()
    for i in tl.static_range(RUN):
        inverse = inverse + (1.0 / total[i],)
    store_run(
        out + (pixel * channels + head * DEPTH), channels, sums, inverse, x, width, inside,
        dilation, RUN, DEPTH, CHUNK,
    )  # fmt: skip
    if KEEP:
        log = lse + (head * (batch.to(tl.int64) * height * width) + pixel)
        for i in tl.static_range(RUN):
            there = inside & (x + i * dilation < width)
            tl.store(log + i * dilation, peak[i] + tl.log2(total[i]), mask=there)


@triton.jit(do_not_specialize=_VALUES)
def msda_backward_queries(
    qkv, out, grad, lse, delta, dqkv, low, high, batch, height, width, heads, group_heads, units,
    across,
    WINDOW: tl.constexpr, RUN: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr,
    ALIGN: tl.constexpr, WORK: tl.constexpr,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """The q part of ``dqkv`` (contiguous), and delta (heads, B·H·W) for the key pass."""
    HALF: tl.constexpr = WINDOW // 2
    PARTS: tl.constexpr = (DEPTH + CHUNK - 1) // CHUNK
    COLUMNS: tl.constexpr = RUN + WINDOW - 1
    RUNS: tl.constexpr = TB * TY * TX
    head, dilation, pixel, y, x, inside, some = place(
        low, high, batch, height, width, heads, group_heads, across, TB, TY, TX, RUN
    )
    if not some:
        return
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    result = pixel * channels + head * DEPTH
    q = times(
        load_run(own, stride, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK),
        1.4426950408889634 * DEPTH**-0.5, RUN * PARTS,
    )  # fmt: skip
    g = load_run(grad + result, channels, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK)
    o = load_run(out + result, channels, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK)
    kept = head * (batch.to(tl.int64) * height * width) + pixel
    mine = ()
    for i in tl.static_range(RUN):
        mine = mine + (dot(g, i, o, i, PARTS),)
        tl.store(delta + (kept + i * dilation), mine[i], inside & (x + i * dilation < width))
    log = load_numbers(lse + kept, x, width, inside, dilation, RUN, 0)
    dq = zeros(RUN * PARTS, RUNS, CHUNK, WORK)
    for index in range(WINDOW):
        down, there = window_row(y, inside, height, dilation, index, HALF)
        at = own + (down * width * stride + channels)
        k = load_run(at, stride, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        at = at + channels
        v = load_run(at, stride, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        slopes = ()
        for i in tl.static_range(RUN):
            for j in tl.static_range(WINDOW):
                share = tl.exp2(dot(q, i, k, i + j, PARTS) - log[i])
                slopes = slopes + (share * (dot(g, i, v, i + j, PARTS) - mine[i]),)
        dq = gather(dq, slopes, k, RUN, WINDOW, PARTS)
    root = same(tl.full((RUNS,), DEPTH**-0.5, WORK), RUN)
    at = dqkv + (pixel * (3 * channels) + head * DEPTH)
    store_run(at, 3 * channels, dq, root, x, width, inside, dilation, RUN, DEPTH, CHUNK)


@triton.jit(do_not_specialize=_VALUES)
def msda_backward_keys(
    qkv, grad, lse, delta, dqkv, low, high, batch, height, width, heads, group_heads, units,
    across,
    WINDOW: tl.constexpr, RUN: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr,
    ALIGN: tl.constexpr, WORK: tl.constexpr,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """The k and v parts of ``dqkv``: each key gathers from the queries that see it."""
    HALF: tl.constexpr = WINDOW // 2
    PARTS: tl.constexpr = (DEPTH + CHUNK - 1) // CHUNK
    COLUMNS: tl.constexpr = RUN + WINDOW - 1
    RUNS: tl.constexpr = TB * TY * TX
    head, dilation, pixel, y, x, inside, some = place(
        low, high, batch, height, width, heads, group_heads, across, TB, TY, TX, RUN
    )
    if not some:
        return
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    at = own + channels
    k = times(
        load_run(at, stride, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK),
        1.4426950408889634 * DEPTH**-0.5, RUN * PARTS,
    )  # fmt: skip
    at = at + channels
    v = load_run(at, stride, x, width, inside, dilation, RUN, 0, DEPTH, CHUNK, WORK)
    kept = head * (batch.to(tl.int64) * height * width) + pixel
    slope = grad + (pixel * channels + head * DEPTH)
    dk = zeros(RUN * PARTS, RUNS, CHUNK, WORK)
    dv = zeros(RUN * PARTS, RUNS, CHUNK, WORK)
    for index in range(WINDOW):
        down, there = window_row(y, inside, height, dilation, index, HALF)
        step = down * width
        at = own + step * stride
        q = load_run(at, stride, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        at = slope + step * channels
        g = load_run(at, channels, x, width, there, dilation, COLUMNS, HALF, DEPTH, CHUNK, WORK)
        log = load_numbers(lse + (kept + step), x, width, there, dilation, COLUMNS, HALF)
        mean = load_numbers(delta + (kept + step), x, width, there, dilation, COLUMNS, HALF)
        shares, slopes = (), ()
        for i in tl.static_range(RUN):
            for j in tl.static_range(WINDOW):
                share = tl.exp2(dot(k, i, q, i + j, PARTS) - log[i + j])
                shares = shares + (share,)
                slopes = slopes + (share * (dot(v, i, g, i + j, PARTS) - mean[i + j]),)
        dk = gather(dk, slopes, q, RUN, WINDOW, PARTS)
        dv = gather(dv, shares, g, RUN, WINDOW, PARTS)
    ones = tl.full((RUNS,), 1.0, WORK)
    at = dqkv + (pixel * (3 * channels) + head * DEPTH + channels)
    root = same(ones * DEPTH**-0.5, RUN)
    store_run(at, 3 * channels, dk, root, x, width, inside, dilation, RUN, DEPTH, CHUNK)
    at = at + channels
    ones = same(ones, RUN)
    store_run(at, 3 * channels, dv, ones, x, width, inside, dilation, RUN, DEPTH, CHUNK)
