"""What MSDA's Triton kernels are made of: places, masked loads and stores, sums over channels.

Channels are held in PARTS chunks of CHUNK, those of several pixels in one flat tuple. Distances are
in elements, sizes in pixels. See ``triton_kernels`` for what runs and dilations are.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "dot", "gather", "load_numbers", "load_run", "place", "same", "store_run", "times",
    "window_row", "zeros",
]  # fmt: skip


@triton.jit
def place(
    low, high, batch, height, width, heads, group_heads, across,
    TB: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
    """The program's (head, dilation, numbers of the runs' first pixels, y, x, on the map, any).

    ``across``: tiles beside one another, of the head that has most; others' programs beyond their
    own have no pixel, and ``any`` is false. Heads run fastest: they share the lines of memory.
    """
    program = tl.program_id(0)
    head = program % heads
    tile = program // heads
    group = head // group_heads  # 16 bits for each group's dilation, four groups in each word
    word = tl.where(group < 4, low, high)
    dilation = (word >> (16 * (group % 4)) & 0xFFFF).to(tl.int32)
    down = tl.cdiv(height, TY)
    cell = tl.arange(0, TB * TY * TX)
    run = tile % across * TX + cell % TX
    beside = tl.minimum(dilation, width)  # runs that begin at neighbouring pixels
    x = run % beside + run // beside * (dilation * RUN)
    y = tile // across % down * TY + cell // TX % TY
    image = tile // (across * down) * TB + cell // (TX * TY)
    inside = (x < width) & (y < height) & (image < batch)
    pixel = image.to(tl.int64) * (height * width) + y * width + x
    runs = beside * tl.cdiv(tl.cdiv(width, dilation), RUN)
    return head, dilation, pixel, y, x, inside, tile % across * TX < runs


@triton.jit
def load_run(
    at, stride, x, width, inside, dilation,
    COUNT: tl.constexpr, BEFORE: tl.constexpr,
    DEPTH: tl.constexpr, CHUNK: tl.constexpr, WORK: tl.constexpr,
):  # fmt: skip
    """COUNT pixels a dilation apart, the first BEFORE dilations before ``at``; zeros outside."""
    parts = ()
    for j in tl.static_range(COUNT):
        right = (j - BEFORE) * dilation
        there = inside & (x + right >= 0) & (x + right < width)
        for i in tl.static_range((DEPTH + CHUNK - 1) // CHUNK):
            channel = i * CHUNK + tl.arange(0, CHUNK)
            if (i + 1) * CHUNK <= DEPTH:
                mask = there[:, None]
            else:
                mask = there[:, None] & (channel < DEPTH)[None, :]
            part = tl.load(at[:, None] + (right * stride + channel[None, :]), mask=mask, other=0.0)
            if at.dtype.element_ty == tl.bfloat16:  # the upper half of a float32: one instruction
                bits = part.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
                part = bits.to(tl.float32, bitcast=True)
            parts = parts + (part.to(WORK),)
    return parts


@triton.jit
def load_numbers(at, x, width, inside, dilation, COUNT: tl.constexpr, BEFORE: tl.constexpr):
    """The same of one number a pixel."""
    out = ()
    for j in tl.static_range(COUNT):
        right = (j - BEFORE) * dilation
        there = inside & (x + right >= 0) & (x + right < width)
        out = out + (tl.load(at + right, mask=there, other=0.0),)
    return out


@triton.jit
def store_run(
    at, stride, parts, factors, x, width, inside, dilation,
    RUN: tl.constexpr, DEPTH: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The run's channels times its factors (pixels,), rounded once to the memory's type."""
    PARTS: tl.constexpr = (DEPTH + CHUNK - 1) // CHUNK
    for j in tl.static_range(RUN):
        right = j * dilation
        there = inside & (x + right < width)
        for i in tl.static_range(PARTS):
            channel = i * CHUNK + tl.arange(0, CHUNK)
            if (i + 1) * CHUNK <= DEPTH:
                mask = there[:, None]
            else:
                mask = there[:, None] & (channel < DEPTH)[None, :]
            value = (parts[j * PARTS + i] * factors[j][:, None]).to(at.dtype.element_ty)
            tl.store(at[:, None] + (right * stride + channel[None, :]), value, mask=mask)


@triton.jit
def dot(a, i: tl.constexpr, b, j: tl.constexpr, PARTS: tl.constexpr):
    """Pixel i of a times pixel j of b, over the channels: (pixels,)."""
    total = a[i * PARTS] * b[j * PARTS]
    for part in tl.static_range(1, PARTS):
        total += a[i * PARTS + part] * b[j * PARTS + part]
    return tl.sum(total, 1)


@triton.jit
def zeros(COUNT: tl.constexpr, PIXELS: tl.constexpr, CHUNK: tl.constexpr, WORK: tl.constexpr):
    out = ()
    for _ in tl.static_range(COUNT):
        out = out + (tl.zeros((PIXELS, CHUNK), WORK),)
    return out


@triton.jit
def times(parts, factor, COUNT: tl.constexpr):
    out = ()
    for i in tl.static_range(COUNT):
        out = out + (parts[i] * factor,)
    return out


@triton.jit
def same(value, COUNT: tl.constexpr):
    out = ()
    for _ in tl.static_range(COUNT):
        out = out + (value,)
    return out


@triton.jit
def gather(
    sums, weights, values,
    RUN: tl.constexpr, WINDOW: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """sums_i + Σ_j weights_(i, j) · values_(i + j): a window row of each pixel of the run."""
    out = ()
    for i in tl.static_range(RUN):
        for part in tl.static_range(PARTS):
            total = sums[i * PARTS + part]
            for j in tl.static_range(WINDOW):
                weight = weights[i * WINDOW + j]
                total += weight[:, None] * values[(i + j) * PARTS + part]
            out = out + (total,)
    return out


@triton.jit
def window_row(y, inside, height, dilation, index, HALF: tl.constexpr):
    """(rows below y, on the map) of the window's row ``index``."""
    down = (index - HALF) * dilation
    return down, inside & (y + down >= 0) & (y + down < height)
