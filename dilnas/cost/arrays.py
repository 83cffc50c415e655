"""Cost of many architectures at once, in int64 arrays; equal to ``cost`` to the last integer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dilnas.arch import DOWNSAMPLES, POS_EMBEDS, STEMS, Architecture
from dilnas.cost.formulas import (
    BY_BLOCK,
    BY_STAGE,
    KERNELS,
    Count,
    NetworkNumbers,
    Part,
    StageNumbers,
    network_parts,
    stem_part,
)
from dilnas.errors import InputError
from dilnas.records import OPERATORS

__all__ = ["COLUMNS", "CostArrays", "columns_of", "cost_arrays"]

Integers: TypeAlias = NDArray[np.int64]

STAGE_COLUMNS = ("dim", "num_heads", "msda_depth", "global_depth", "window_size", "mlp_hidden")
NETWORK_COLUMNS = ("stem", "downsample", "pos_embed", "qkv_bias", "num_classes", "in_chans")
COLUMNS = (*STAGE_COLUMNS, *NETWORK_COLUMNS)
"""Names of the columns: the first six are (N, S), the others (N,)."""

CHUNK = 1 << 12
"""Architectures computed together: few enough that the arrays stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostArrays:
    """Exact cost of N architectures for one image; every array is (N,) int64.

    Attributes:
        params: trainable parameters.
        flops: fvcore's total (multiply-adds and norm terms).
        macs: multiply-adds alone.
        activation_elements: elements written in one eager inference pass.
        peak_activation_elements: the largest set of elements alive at once.
    """

    params: Integers
    flops: Integers
    macs: Integers
    activation_elements: Integers
    peak_activation_elements: Integers

    def __len__(self) -> int:
        return len(self.params)

    @property
    def memory_bytes(self) -> Integers:
        """Weights and largest live activations of one fp32 image: ``Cost.memory_bytes()``."""
        return 4 * (self.params + self.peak_activation_elements)


def columns_of(architectures: Sequence[Architecture]) -> dict[str, Integers]:
    """The columns that ``cost_arrays`` takes, of architectures with equally many stages.

    ``window_size`` is 0 where a stage has no MSDA blocks. Raises InputError when the numbers of
    stages differ.
    """
    counts = sorted({len(a.stages) for a in architectures})
    if len(counts) > 1:
        raise InputError("architectures must have equally many stages", got=counts)
    width = counts[0] if counts else 1
    columns = {
        name: np.array(
            [[getattr(s, name) or 0 for s in a.stages] for a in architectures], np.int64
        ).reshape(-1, width)
        for name in STAGE_COLUMNS
    }
    listed = {"stem": STEMS, "downsample": DOWNSAMPLES, "pos_embed": POS_EMBEDS}
    for name in NETWORK_COLUMNS:
        values = [getattr(a, name) for a in architectures]
        if name in listed:
            values = [listed[name].index(value) for value in values]
        columns[name] = np.array(values, np.int64)
    return columns


def cost_arrays(
    columns: Mapping[str, NDArray[Any]], height: int = 224, width: int | None = None
) -> CostArrays:
    """Exact cost of N architectures of S stages, for one image of ``height`` x ``width`` pixels.

    Args:
        columns: ``dim``, ``num_heads``, ``msda_depth``, ``global_depth``, ``window_size``,
            ``mlp_hidden``: (N, S) integers; ``stem``, ``downsample``, ``pos_embed``: (N,) places in
            ``arch.STEMS``, ``DOWNSAMPLES``, ``POS_EMBEDS``; ``qkv_bias``, ``num_classes``,
            ``in_chans``: (N,) integers. They are taken to be those of valid architectures.
        height: pixels, a multiple of 4·2^(S-1).
        width: pixels, likewise; None for a square image.

    Raises:
        InputError: a column that is missing or of the wrong shape, a side that the strides do not
            divide, or an image so large that a count could leave 64 bits.
    """
    width = height if width is None else width
    arrays = _checked(columns)
    count, stages = arrays["dim"].shape
    _check_sides(stages, height, width)
    _check_range(arrays, height, width)
    starts = range(0, max(count, 1), CHUNK)
    chunks = [
        _chunk({k: v[start : start + CHUNK] for k, v in arrays.items()}, height, width)
        for start in starts
    ]
    return CostArrays(**{name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]})


def _chunk(arrays: Mapping[str, Integers], height: int, width: int) -> dict[str, Integers]:
    """Totals by name, each (N,)."""
    count = len(arrays["dim"])
    stem = _selected_stem(arrays, height, width)
    totals: dict[str, Count] = dict.fromkeys(
        ("params", "flops", "macs", "activation_elements"), np.zeros(count, np.int64)
    )
    peak: Count = np.zeros(count, np.int64)
    for placed in network_parts(_numbers(arrays, stem), height, width):
        part, repeats = placed.part, placed.repeats
        macs = part.conv + part.linear + part.matmul
        flops = macs + part.batch_norm + part.layer_norm
        for name, value in zip(totals, (part.params, flops, macs, part.written), strict=True):
            totals[name] = totals[name] + repeats * value
        for live in part.live:
            peak = np.maximum(peak, (repeats > 0) * live)
    peak = peak + arrays["in_chans"] * (height * width)
    return {**totals, "peak_activation_elements": peak}


def _selected_stem(arrays: Mapping[str, Integers], height: int, width: int) -> Part:
    """The stem of each architecture: all kinds are computed, each row takes its own."""
    dim = arrays["dim"][:, 0]
    parts = [stem_part(stem, arrays["in_chans"], dim, height, width) for stem in STEMS]
    chosen = arrays["stem"]
    values = {
        name: np.choose(chosen, [np.broadcast_to(getattr(p, name), dim.shape) for p in parts])
        for name in ("params", *OPERATORS, "written")
    }
    peaks = [np.max(np.broadcast_arrays(dim, *p.live)[1:], axis=0) for p in parts]
    return Part(**values, live=[np.choose(chosen, peaks)])


def _numbers(arrays: Mapping[str, Integers], stem: Part) -> NetworkNumbers:
    stages = [
        StageNumbers(*(arrays[name][:, i] for name in STAGE_COLUMNS))
        for i in range(arrays["dim"].shape[1])
    ]
    by_block = np.array([int(name in BY_BLOCK) for name in POS_EMBEDS], np.int64)
    by_stage = np.array([int(name in BY_STAGE) for name in POS_EMBEDS], np.int64)
    kernels = np.array([KERNELS[name] for name in DOWNSAMPLES], np.int64)
    return NetworkNumbers(
        stages=stages,
        stem=stem,
        kernel=kernels[arrays["downsample"]],
        by_block=by_block[arrays["pos_embed"]],
        by_stage=by_stage[arrays["pos_embed"]],
        qkv_bias=arrays["qkv_bias"],
        num_classes=arrays["num_classes"],
        classifier=(arrays["num_classes"] > 0).astype(np.int64),
    )


def _checked(columns: Mapping[str, NDArray[Any]]) -> dict[str, Integers]:
    """The columns as int64, of agreeing shapes and with choices in range."""
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise InputError("missing column", where=missing[0], expected=", ".join(COLUMNS))
    arrays = {name: np.asarray(columns[name]) for name in COLUMNS}
    shape = arrays["dim"].shape
    if len(shape) != 2 or shape[1] < 1:
        raise InputError("must be (architectures, stages)", where="dim", got=shape)
    for name, array in arrays.items():
        expected = shape if name in STAGE_COLUMNS else shape[:1]
        if array.shape != expected or array.dtype.kind not in "iub":
            raise InputError(
                "must be integers of this shape", where=name,
                expected=expected, got=f"{array.dtype} {array.shape}",
            )  # fmt: skip
    for name, choices in (("stem", STEMS), ("downsample", DOWNSAMPLES), ("pos_embed", POS_EMBEDS)):
        bad = arrays[name][(arrays[name] < 0) | (arrays[name] >= len(choices))]
        if bad.size:
            raise InputError("no such choice", where=name, expected=choices, got=int(bad[0]))
    return {name: array.astype(np.int64) for name, array in arrays.items()}


def _check_sides(stages: int, height: int, width: int) -> None:
    stride = 4 << (stages - 1)
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or side < 1 or side % stride:
            raise InputError(
                "image sides must be multiples of the networks' stride", where="img_size",
                expected=f"a multiple of {stride}", got=side,
            )  # fmt: skip


def _check_range(arrays: Mapping[str, Integers], height: int, width: int) -> None:
    """Raise unless the largest network that the columns could hold stays within 64 bits.

    It takes the largest value of every column at once; counts only grow with each of them.
    """
    if not len(arrays["dim"]):
        return
    most = {name: array.max(axis=0).tolist() for name, array in arrays.items()}
    stems = [stem_part(stem, most["in_chans"], most["dim"][0], height, width) for stem in STEMS]
    bound = NetworkNumbers(
        stages=[
            StageNumbers(*fields) for fields in zip(*(most[n] for n in STAGE_COLUMNS), strict=True)
        ],
        stem=Part(),
        kernel=max(KERNELS.values()),
        by_block=1,
        by_stage=1,
        qkv_bias=1,
        num_classes=most["num_classes"],
        classifier=1,
    )
    parts = [(p.part, p.repeats) for p in network_parts(bound, height, width)]
    parts += [(stem, 1) for stem in stems]
    total = most["in_chans"] * height * width
    for part, repeats in parts:
        flops = sum(getattr(part, operator) for operator in OPERATORS)
        total += repeats * (part.params + flops + part.written) + sum(part.live)
    if 4 * total >= 1 << 63:  # memory_bytes multiplies by four
        raise InputError(
            "image too large to count in 64 bits", where="img_size", got=f"{height}x{width}"
        )
