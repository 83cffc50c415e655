"""What a search space may vary: the fields, what a value of each may be, and its order.

The rules of a stage live in ``Stage`` alone; here a value, or a pair of values, is tried in a
small stage that is otherwise certain to be valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, SpaceError
from dilnas.stage import MAX_DIM, Stage

__all__ = [
    "DEFAULTS",
    "NETWORK_FIELDS",
    "PAIRS",
    "STAGE_FIELDS",
    "Axis",
    "Field",
    "msda_blocks",
    "probe_stage",
    "shown",
    "stage_of",
]

Value = Any
"""An int, a float, a bool, a string, or a tuple of ints (dilations)."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One ordinal axis: a field, the stages that it sets, its values in order.

    Attributes:
        name: unique in the space.
        field: what it sets ("dim", "stem", …).
        stages: 1-based stages that share the value; () for a network-wide field.
        values: in meaningful order; a code holds an index into them.
        times: factor by stage (a width of ``value * times``); all 1 unless the file says so.
    """

    name: str
    field: str
    stages: tuple[int, ...]
    values: tuple[Value, ...]
    times: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as short texts, for tables."""
        return tuple(shown(value) for value in self.values)

    def value(self, index: int, stage: int = 0) -> Value:
        """What the axis sets in 1-based ``stage`` at ``index``."""
        found = self.values[index]
        factor = self.times[self.stages.index(stage)] if self.times else 1
        return found if factor == 1 else found * factor

    def to_dict(self) -> dict[str, Any]:
        """As in a space file."""
        out: dict[str, Any] = {"field": self.field}
        if len(self.stages) == 1:
            out["stage"] = self.stages[0]
        elif self.stages:
            out["stages"] = list(self.stages)
        if self.times:
            out["times"] = list(self.times)
        out["values"] = [list(v) if isinstance(v, tuple) else v for v in self.values]
        return out


def shown(value: Value) -> str:
    """A value as people write it: 4 rather than 4.0, 1-2-3 for dilations."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that may vary: how a value is read and checked, and what orders the values.

    ``order`` is None where no order means anything (the stem).
    """

    read: Callable[[object, str], Value]
    order: Callable[[Value], Any] | None
    order_name: str = "ascending"
    scales: bool = False


def probe_stage(**values: Value) -> Stage:
    """A stage with these values and harmless ones elsewhere. Raises ArchitectureError."""
    dilations = values.get("dilations")
    groups = len(dilations) if isinstance(dilations, tuple) and dilations else 1
    heads = 1 if "dim" in values else groups
    harmless: dict[str, Value] = {"num_heads": heads, "msda_depth": 1, "dilations": (1,)}
    # A ratio is only too small for a width: alone it is tried with the largest width there is.
    harmless["dim"] = MAX_DIM if "mlp_ratio" in values else values.get("num_heads", heads)
    return Stage(**{**harmless, **values})


def _stage_value(name: str) -> Callable[[object, str], Value]:
    field = {"depth": "global_depth"}.get(name, name)

    def read(value: object, where: str) -> Value:
        if isinstance(value, list):
            value = tuple(value)
        try:
            stage = probe_stage(**({field: value} if name != "depth" else _depth(value)))
        except ArchitectureError as error:
            raise SpaceError(
                error.rule, where=where, expected=error.expected, got=error.got
            ) from None
        return getattr(stage, field)

    return read


def _depth(value: object) -> dict[str, Any]:
    return {"msda_depth": 0, "global_depth": value}


def _share(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SpaceError(
            "must be a share of the stage's blocks", where=where, expected="0..1", got=value
        )
    return float(value)


def _network_value(name: str) -> Callable[[object, str], Value]:
    def read(value: object, where: str) -> Value:
        try:
            architecture = Architecture(stages=(probe_stage(), probe_stage()), **{name: value})  # type: ignore[arg-type]
        except ArchitectureError as error:
            raise SpaceError(
                error.rule, where=where, expected=error.expected, got=error.got
            ) from None
        return getattr(architecture, name)

    return read


def _number(value: Value) -> Any:
    return value


def _reach(dilations: Sequence[int]) -> tuple[int, Fraction]:
    """How far a head sees: the largest dilation, then the mean one."""
    return max(dilations), Fraction(sum(dilations), len(dilations))


STAGE_FIELDS: dict[str, Field] = {
    "dim": Field(_stage_value("dim"), _number, scales=True),
    "num_heads": Field(_stage_value("num_heads"), _number, scales=True),
    "depth": Field(_stage_value("depth"), _number, scales=True),
    "msda_share": Field(_share, _number),
    "window_size": Field(_stage_value("window_size"), _number),
    "dilations": Field(
        _stage_value("dilations"), _reach, "ascending in reach: largest dilation, then mean"
    ),
    "mlp_ratio": Field(_stage_value("mlp_ratio"), _number),
}
"""Fields of a stage. ``depth`` blocks, of which ``msda_share``, rounded half up, are MSDA."""

NETWORK_FIELDS: dict[str, Field] = {
    "stem": Field(_network_value("stem"), None),
    "downsample": Field(_network_value("downsample"), None),
    "pos_embed": Field(_network_value("pos_embed"), None),
    "qkv_bias": Field(_network_value("qkv_bias"), _number),
    "num_classes": Field(_network_value("num_classes"), _number),
    "in_chans": Field(_network_value("in_chans"), _number),
}
"""Fields of the whole network."""

DEFAULTS: dict[str, Value] = {
    "window_size": 3,
    "dilations": (1, 2, 3),
    "mlp_ratio": 4.0,
    "stem": "overlapping",
    "downsample": "conv3",
    "pos_embed": "block",
    "qkv_bias": True,
}
"""The paper's values, for what a file neither fixes nor varies."""

PAIRS = (("dim", "num_heads"), ("num_heads", "dilations"), ("dim", "mlp_ratio"))
"""Fields of one stage that can contradict each other; all other pairs are free."""


def msda_blocks(depth: int, share: float) -> int:
    """How many of a stage's blocks are MSDA: ``depth * share`` rounded half up."""
    return math.floor(depth * share + 0.5)


@lru_cache(maxsize=4096)
def stage_of(values: tuple[Value, ...]) -> Stage:
    """Stage of one value for each of ``STAGE_FIELDS``, in that order.

    Remembered: a space has few different stages, and checking one takes longer than finding it.
    """
    given = dict(zip(STAGE_FIELDS, values, strict=True))
    depth = given.pop("depth")
    msda = msda_blocks(depth, given.pop("msda_share"))
    return Stage(msda_depth=msda, global_depth=depth - msda, **given)
