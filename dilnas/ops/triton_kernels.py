"""The Triton kernels of MSDA: one forward, two backward, fused over the taps, without atomics.

A program owns a tile of TB x TY x TX pixels of one head. Every tap is a masked load at a fixed
distance from the tile: a key outside of the map loads zeros, so its logit is 0, it stays in the
softmax's denominator and adds nothing, and no case is special. Softmax is online, window row by
window row, in base 2; the logarithm of its denominator is kept for the backward pass:

    s_t = scale · q·k_t      out = Σ_t p_t v_t      lse = log2 Σ_t 2^(s_t log2 e)
    dp_t = g·v_t     δ = g·out     ds_t = p_t (dp_t − δ)
    dq = scale · Σ_t ds_t k_t                       (query pass, which also writes δ)
    dk = scale · Σ_t ds_t q_t     dv = Σ_t p_t g_t  (key pass: the queries that see a key lie at
                                                     its own taps, mirrored; nothing is added to
                                                     memory twice, so the result is reproducible)

A head's channels are held in chunks of CHUNK. With 16 bytes a chunk a thread owns a whole pixel:
dot products need no exchange between threads, and channels that are no power of two waste none.

Imported only where Triton is; ``TRITON_INTERPRET=1`` must be set before, if at all.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["backward_keys", "backward_queries", "forward"]

_VALUES = (
    "low", "high", "batch", "height", "width", "heads", "group_heads", "units",
)  # fmt: skip
"""Arguments that must not make a kernel of their own: candidates of a search share kernels."""


@triton.jit
def _place(
    low, high, batch, height, width, heads, group_heads,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """The program's (head, dilation, pixel numbers, y, x, on the map); heads run fastest."""
    program = tl.program_id(0)
    head = program % heads
    tile = program // heads
    across, down = tl.cdiv(width, TX), tl.cdiv(height, TY)
    cell = tl.arange(0, TB * TY * TX)
    x = tile % across * TX + cell % TX
    y = tile // across % down * TY + cell // TX % TY
    image = tile // (across * down) * TB + cell // (TX * TY)
    inside = (x < width) & (y < height) & (image < batch)
    pixel = image.to(tl.int64) * (height * width) + y * width + x
    group = head // group_heads  # 16 bits for each group's dilation, four groups in each word
    word = tl.where(group < 4, low, high)
    dilation = (word >> (16 * (group % 4)) & 0xFFFF).to(tl.int32)
    return head, dilation, pixel, y, x, inside


@triton.jit
def _channels(CHUNK: tl.constexpr, PART: tl.constexpr):
    return PART * CHUNK + tl.arange(0, CHUNK)


@triton.jit
def _load(at, inside, DEPTH: tl.constexpr, CHUNK: tl.constexpr, WORK: tl.constexpr):
    """DEPTH channels from each pointer, as a tuple of (pixels, CHUNK); zeros outside."""
    parts = ()
    for i in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
        channel = _channels(CHUNK, i)
        if (i + 1) * CHUNK <= DEPTH:
            there = inside[:, None]
        else:
            there = inside[:, None] & (channel < DEPTH)[None, :]
        part = tl.load(at[:, None] + channel[None, :], mask=there, other=0.0)
        parts = parts + (part.to(WORK),)
    return parts


@triton.jit
def _store(at, parts, factor, inside, DEPTH: tl.constexpr, CHUNK: tl.constexpr):
    """``factor`` (pixels,) times the channels, rounded once to the memory's type."""
    for i in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
        channel = _channels(CHUNK, i)
        if (i + 1) * CHUNK <= DEPTH:
            there = inside[:, None]
        else:
            there = inside[:, None] & (channel < DEPTH)[None, :]
        value = (parts[i] * factor[:, None]).to(at.dtype.element_ty)
        tl.store(at[:, None] + channel[None, :], value, mask=there)


@triton.jit
def _dot(a, b, DEPTH: tl.constexpr, CHUNK: tl.constexpr):
    """a·b over the channels, (pixels,)."""
    total = tl.sum(a[0] * b[0], 1)
    for i in tl.static_range(1, (DEPTH + CHUNK - 1) // CHUNK):
        total += tl.sum(a[i] * b[i], 1)
    return total


@triton.jit
def _plus(sums, weight, values, DEPTH: tl.constexpr, CHUNK: tl.constexpr):
    """sums + weight · values, channel by channel."""
    out = ()
    for i in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
        out = out + (sums[i] + weight[:, None] * values[i],)
    return out


@triton.jit
def _times(sums, weight, DEPTH: tl.constexpr, CHUNK: tl.constexpr):
    out = ()
    for i in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
        out = out + (sums[i] * weight[:, None],)
    return out


@triton.jit
def _zeros(PIXELS: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr, WORK: tl.constexpr):
    out = ()
    for _ in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
        out = out + (tl.zeros((PIXELS, CHUNK), WORK),)
    return out


@triton.jit
def _tap(y, x, inside, height, width, dilation, first, j, WINDOW: tl.constexpr):
    """(distance in pixels, on the map) of tap ``first + j``, counted row by row."""
    down = ((first + j) // WINDOW - WINDOW // 2) * dilation
    right = ((first + j) % WINDOW - WINDOW // 2) * dilation
    there = (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
    return down * width + right, there & inside


@triton.jit(do_not_specialize=_VALUES)
def forward(
    qkv, out, lse, low, high, batch, height, width, heads, group_heads, units,
    WINDOW: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr, ALIGN: tl.constexpr,
    WORK: tl.constexpr, SPAN: tl.constexpr, KEEP: tl.constexpr,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """out = MSDA(qkv), and where KEEP lse (heads, B·H·W) in base 2.

    ``qkv``: pixels lie ``units * ALIGN`` elements apart; ``low`` and ``high`` hold the dilations.
    """
    head, dilation, pixel, y, x, inside = _place(
        low, high, batch, height, width, heads, group_heads, TB, TY, TX
    )
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    q = _load(own, inside, DEPTH, CHUNK, WORK)
    # Base 2: 2^(s log2 e) = e^s, and the hardware's exponential is of base 2.
    scale = tl.full((TB * TY * TX,), 1.4426950408889634 * DEPTH**-0.5, WORK)
    q = _times(q, scale, DEPTH, CHUNK)
    peak = tl.full((TB * TY * TX,), float("-inf"), WORK)
    total = tl.zeros((TB * TY * TX,), WORK)
    sums = _zeros(TB * TY * TX, DEPTH, CHUNK, WORK)
    keys = own + channels
    for first in range(0, WINDOW * WINDOW, SPAN):
        logits = ()
        highest = peak
        for j in tl.static_range(SPAN):
            step, there = _tap(y, x, inside, height, width, dilation, first, j, WINDOW)
            k = _load(keys + step * stride, there, DEPTH, CHUNK, WORK)
            logit = _dot(q, k, DEPTH, CHUNK)
            logits = logits + (logit,)
            highest = tl.maximum(highest, logit)
        shrink = tl.exp2(peak - highest)
        total *= shrink
        sums = _times(sums, shrink, DEPTH, CHUNK)
        for j in tl.static_range(SPAN):
            step, there = _tap(y, x, inside, height, width, dilation, first, j, WINDOW)
            v = _load(keys + (step * stride + channels), there, DEPTH, CHUNK, WORK)
            share = tl.exp2(logits[j] - highest)
            total += share
            sums = _plus(sums, share, v, DEPTH, CHUNK)
        peak = highest
    _store(out + (pixel * channels + head * DEPTH), sums, 1.0 / total, inside, DEPTH, CHUNK)
    if KEEP:
        count = batch.to(tl.int64) * height * width
        tl.store(lse + (head * count + pixel), peak + tl.log2(total), mask=inside)


@triton.jit(do_not_specialize=_VALUES)
def backward_queries(
    qkv, out, grad, lse, delta, dqkv, low, high, batch, height, width, heads, group_heads, units,
    WINDOW: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr, ALIGN: tl.constexpr,
    WORK: tl.constexpr, SPAN: tl.constexpr, TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """The q part of ``dqkv`` (contiguous), and delta (heads, B·H·W) for the key pass."""
    head, dilation, pixel, y, x, inside = _place(
        low, high, batch, height, width, heads, group_heads, TB, TY, TX
    )
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    result = pixel * channels + head * DEPTH
    ones = tl.full((TB * TY * TX,), 1.0, WORK)
    q = _times(
        _load(own, inside, DEPTH, CHUNK, WORK), ones * (1.4426950408889634 * DEPTH**-0.5),
        DEPTH, CHUNK,
    )  # fmt: skip
    g = _load(grad + result, inside, DEPTH, CHUNK, WORK)
    mine = _dot(g, _load(out + result, inside, DEPTH, CHUNK, WORK), DEPTH, CHUNK)
    kept = head * (batch.to(tl.int64) * height * width) + pixel
    tl.store(delta + kept, mine, mask=inside)
    log = tl.load(lse + kept, mask=inside, other=0.0)
    dq = _zeros(TB * TY * TX, DEPTH, CHUNK, WORK)
    keys = own + channels
    for first in range(0, WINDOW * WINDOW, SPAN):
        for j in tl.static_range(SPAN):
            step, there = _tap(y, x, inside, height, width, dilation, first, j, WINDOW)
            k = _load(keys + step * stride, there, DEPTH, CHUNK, WORK)
            v = _load(keys + (step * stride + channels), there, DEPTH, CHUNK, WORK)
            share = tl.exp2(_dot(q, k, DEPTH, CHUNK) - log)
            slope = share * (_dot(g, v, DEPTH, CHUNK) - mine)
            dq = _plus(dq, slope, k, DEPTH, CHUNK)
    at = dqkv + (pixel * (3 * channels) + head * DEPTH)
    _store(at, dq, ones * DEPTH**-0.5, inside, DEPTH, CHUNK)


@triton.jit(do_not_specialize=_VALUES)
def backward_keys(
    qkv, grad, lse, delta, dqkv, low, high, batch, height, width, heads, group_heads, units,
    WINDOW: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr, ALIGN: tl.constexpr,
    WORK: tl.constexpr, SPAN: tl.constexpr, TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    """The k and v parts of ``dqkv``: each key gathers from the queries that see it."""
    head, dilation, pixel, y, x, inside = _place(
        low, high, batch, height, width, heads, group_heads, TB, TY, TX
    )
    stride, channels = units * ALIGN, heads * DEPTH
    own = qkv + (pixel * stride + head * DEPTH)
    ones = tl.full((TB * TY * TX,), 1.0, WORK)
    k = _times(
        _load(own + channels, inside, DEPTH, CHUNK, WORK),
        ones * (1.4426950408889634 * DEPTH**-0.5), DEPTH, CHUNK,
    )  # fmt: skip
    v = _load(own + 2 * channels, inside, DEPTH, CHUNK, WORK)
    kept = head * (batch.to(tl.int64) * height * width) + pixel
    grads = grad + (pixel * channels + head * DEPTH)
    dk = _zeros(TB * TY * TX, DEPTH, CHUNK, WORK)
    dv = _zeros(TB * TY * TX, DEPTH, CHUNK, WORK)
    for first in range(0, WINDOW * WINDOW, SPAN):
        for j in tl.static_range(SPAN):
            step, there = _tap(y, x, inside, height, width, dilation, first, j, WINDOW)
            q = _load(own + step * stride, there, DEPTH, CHUNK, WORK)
            g = _load(grads + step * channels, there, DEPTH, CHUNK, WORK)
            log = tl.load(lse + (kept + step), mask=there, other=0.0)
            mean = tl.load(delta + (kept + step), mask=there, other=0.0)
            share = tl.exp2(_dot(q, k, DEPTH, CHUNK) - log)
            slope = share * (_dot(g, v, DEPTH, CHUNK) - mean)
            dk = _plus(dk, slope, q, DEPTH, CHUNK)
            dv = _plus(dv, share, g, DEPTH, CHUNK)
    at = dqkv + (pixel * (3 * channels) + head * DEPTH + channels)
    _store(at, dk, ones * DEPTH**-0.5, inside, DEPTH, CHUNK)
    _store(at + channels, dv, ones, inside, DEPTH, CHUNK)
