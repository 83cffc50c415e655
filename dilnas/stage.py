"""Stage: the part of an Architecture between two changes of resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from operator import index
from typing import Any, SupportsIndex

from dilnas.errors import ArchitectureError

__all__ = [
    "Stage",
    "canonical_dilations",
    "check_fields",
    "checked_integer",
    "stage_from_dict",
    "stage_to_dict",
]

MAX_DEPTH, MAX_DIM, MAX_WINDOW, MAX_DILATION = 256, 1 << 14, 63, 255
"""Far above what anybody trains: they keep a hostile file from asking for a terabyte."""


def checked_integer(value: object, where: str, low: int, high: int) -> int:
    """``value`` as an int in [low, high]; a bool or a float is not one, a numpy integer is."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ArchitectureError("must be an integer", where=where, got=repr(value))  # None too
    number = index(value)
    if not low <= number <= high:
        raise ArchitectureError("out of range", where=where, expected=f"{low}..{high}", got=number)
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: ``msda_depth`` MSDA blocks, then ``global_depth`` global blocks.

    Attributes:
        dim: channels C of the feature map (B, C, H, W).
        num_heads: attention heads of every block; divides ``dim``.
        msda_depth: number of multi-scale dilated attention blocks.
        global_depth: number of global attention blocks, after them.
        window_size: side w of the w x w neighbourhood of an MSDA head, odd; None without MSDA.
        dilations: one dilation for each head group, a divisor of ``num_heads`` many; () without
            MSDA. Group i owns the i-th contiguous share of the channels.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    dim: int
    num_heads: int
    msda_depth: int = 0
    global_depth: int = 0
    window_size: int | None = 3
    dilations: tuple[int, ...] = (1, 2, 3)
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        self._integer("dim", 1, MAX_DIM)
        self._integer("num_heads", 1, self.dim)
        if self.dim % self.num_heads:
            raise ArchitectureError(
                "num_heads must divide dim", where="num_heads",
                expected=f"a divisor of {self.dim}", got=self.num_heads,
            )  # fmt: skip
        self._integer("msda_depth", 0, MAX_DEPTH)
        self._integer("global_depth", 0, MAX_DEPTH)
        if self.depth == 0:
            raise ArchitectureError(
                "a stage must have a block", where="msda_depth", expected="depth >= 1", got=0
            )
        self._check_mlp_ratio()
        if self.msda_depth:
            self._check_attention()
        else:
            object.__setattr__(self, "window_size", None)
            object.__setattr__(self, "dilations", ())

    def _integer(self, name: str, low: int, high: int) -> None:
        object.__setattr__(self, name, checked_integer(getattr(self, name), name, low, high))

    def _check_mlp_ratio(self) -> None:
        ratio = self.mlp_ratio
        if isinstance(ratio, bool) or not isinstance(ratio, int | float):
            raise ArchitectureError("must be a number", where="mlp_ratio", got=ratio)
        if not (0 < ratio <= 64 and int(self.dim * ratio) >= 1):  # NaN fails the first
            raise ArchitectureError(
                "out of range", where="mlp_ratio", expected="1/dim..64", got=ratio
            )
        object.__setattr__(self, "mlp_ratio", float(ratio))

    def _check_attention(self) -> None:
        self._integer("window_size", 1, MAX_WINDOW)
        if self.window_size is None or self.window_size % 2 == 0:
            raise ArchitectureError(
                "window_size must be odd, so that a query is at its centre",
                where="window_size", expected="1, 3, 5, …", got=self.window_size,
            )  # fmt: skip
        given: object = self.dilations
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ArchitectureError(
                "must be a non-empty list of integers", where="dilations", got=given
            )
        dilations = tuple(
            checked_integer(dilation, f"dilations[{i}]", 1, MAX_DILATION)
            for i, dilation in enumerate(given)
        )
        if self.num_heads % len(dilations):
            raise ArchitectureError(
                "the number of dilations must divide num_heads", where="dilations",
                expected=f"a divisor of {self.num_heads} many", got=dilations,
            )  # fmt: skip
        object.__setattr__(self, "dilations", canonical_dilations(dilations, self.window_size))

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.msda_depth + self.global_depth

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.num_heads

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP: ``int(dim * mlp_ratio)``, as the official code rounds."""
        return int(self.dim * self.mlp_ratio)


def canonical_dilations(dilations: tuple[int, ...], window: int) -> tuple[int, ...]:
    """The shortest list that gives every head the same dilation: (1, 1, 2, 2) is (1, 2)."""
    if window == 1:
        return (1,)
    run = math.gcd(*(len(list(group)) for _, group in groupby(dilations)))
    return dilations[::run]


def stage_to_dict(stage: Stage) -> dict[str, Any]:
    """Canonical: a stage without MSDA blocks has neither window nor dilations."""
    out = asdict(stage)
    if stage.msda_depth:
        out["dilations"] = list(stage.dilations)
    else:
        del out["window_size"], out["dilations"]
    return out


def stage_from_dict(data: object, where: str) -> Stage:
    if not isinstance(data, Mapping):
        raise ArchitectureError("a stage must be a mapping", where=where, got=data)
    values = dict(data)
    check_fields(Stage, values, where + ".")
    for name in ("dim", "num_heads"):
        if name not in values:
            raise ArchitectureError("missing field", where=f"{where}.{name}")
    if isinstance(values.get("dilations"), list):
        values["dilations"] = tuple(values["dilations"])
    try:
        return Stage(**values)
    except ArchitectureError as error:
        raise ArchitectureError(
            error.rule, where=f"{where}.{error.where}", expected=error.expected, got=error.got
        ) from None


def check_fields(kind: type, values: Mapping[Any, Any], prefix: str) -> None:
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            raise ArchitectureError(
                "unknown field", where=f"{prefix}{name}", expected=", ".join(known)
            )
