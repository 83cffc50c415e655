"""The YAML file of a search space, read and checked. ``docs/spaces.md`` describes it.

Whatever is wrong is one SpaceError line: field, axis and values at fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

from dilnas.arch import MAX_STAGES
from dilnas.errors import ArchitectureError, SpaceError
from dilnas.space_fields import (
    DEFAULTS,
    NETWORK_FIELDS,
    PAIRS,
    STAGE_FIELDS,
    Axis,
    Field,
    Value,
    msda_blocks,
    probe_stage,
    shown,
)

__all__ = ["FORMAT", "Definition", "definition_from_dict"]

FORMAT = 1
"""Version of a space file. 1: first."""

MAX_AXES, MAX_VALUES = 64, 256
TOP = ("dilnas_space", "name", "description", "image_size", "stages", "fixed", "axes")
AXIS_KEYS = ("field", "stage", "stages", "times", "values")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

Place = tuple[str, int]
"""A field and the 1-based stage it belongs to; stage 0 for a network-wide field."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A checked space file: every place of an architecture is set by one axis or fixed.

    Attributes:
        setter: for each place that varies, the index of its axis.
        fixed: for each other place, its value.
    """

    name: str
    description: str
    image_size: int
    num_stages: int
    axes: tuple[Axis, ...]
    setter: dict[Place, int] = field(default_factory=dict)
    fixed: dict[Place, Value] = field(default_factory=dict)

    def values(self, place: Place) -> tuple[Value, ...]:
        """What may stand at a place, in the order of its axis."""
        if place not in self.setter:
            return (self.fixed[place],)
        axis = self.axes[self.setter[place]]
        return tuple(axis.value(i, place[1]) for i in range(len(axis)))

    def source(self, place: Place) -> str:
        """Who sets a place, for messages."""
        if place in self.setter:
            return f"axes.{self.axes[self.setter[place]].name}"
        return f"fixed.{place[0]}"


def definition_from_dict(data: object) -> Definition:
    """Check a parsed file. Raises SpaceError."""
    if not isinstance(data, Mapping):
        raise SpaceError("a space must be a mapping", got=type(data).__name__)
    _known(data, TOP, "")
    version = data.get("dilnas_space")
    if isinstance(version, bool) or version != FORMAT:
        raise SpaceError("unknown format", where="dilnas_space", expected=FORMAT, got=version)
    name = data.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpaceError("must be a short name", where="name", expected=NAME.pattern, got=name)
    description = data.get("description", "")
    if not isinstance(description, str):
        raise SpaceError("must be a text", where="description", got=description)
    count = _integer(data.get("stages"), "stages", 1, MAX_STAGES)
    size = _integer(data.get("image_size", 224), "image_size", 1, 1 << 14)
    stride = 4 << (count - 1)
    if size % stride:
        raise SpaceError(
            "must be a multiple of the stride of the last stage", where="image_size",
            expected=f"a multiple of {stride}", got=size,
        )  # fmt: skip
    axes = _axes(data.get("axes"), count)
    found = Definition(name, " ".join(description.split()), size, count, axes, _setters(axes))
    _fix(data.get("fixed", {}), found)
    for stage in range(1, count + 1):
        _check_stage(found, stage)
    return found


def _known(data: Mapping[Any, Any], known: tuple[str, ...], prefix: str) -> None:
    for key in data:
        if key not in known:
            raise SpaceError("unknown field", where=f"{prefix}{key}", expected=", ".join(known))


def _integer(value: object, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SpaceError("must be an integer", where=where, expected=f"{low}..{high}", got=value)
    return value


# --- axes ---------------------------------------------------------------------------------------


def _axes(data: object, num_stages: int) -> tuple[Axis, ...]:
    if not isinstance(data, Mapping) or not data:
        raise SpaceError("must be a mapping of axis names to axes", where="axes", got=data)
    if len(data) > MAX_AXES:
        raise SpaceError("too many axes", where="axes", expected=f"<= {MAX_AXES}", got=len(data))
    return tuple(_axis(name, axis, num_stages) for name, axis in data.items())


def _axis(name: object, data: object, num_stages: int) -> Axis:
    where = f"axes.{name}"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpaceError("must be a short name", where=where, expected=NAME.pattern)
    if not isinstance(data, Mapping):
        raise SpaceError("an axis must be a mapping", where=where, got=data)
    _known(data, AXIS_KEYS, f"{where}.")
    field_name = data.get("field")
    fields = {**STAGE_FIELDS, **NETWORK_FIELDS}
    if not isinstance(field_name, str) or field_name not in fields:
        raise SpaceError(
            "unknown field", where=f"{where}.field", expected=", ".join(fields), got=field_name
        )
    stages = _axis_stages(data, field_name, num_stages, where)
    values = _axis_values(data.get("values"), fields[field_name], f"{where}.values")
    times = _times(data["times"], field_name, stages, where) if "times" in data else ()
    for stage, factor in zip(stages, times, strict=False):
        for value in values:
            STAGE_FIELDS[field_name].read(value * factor, f"{where} in stage {stage}")
    return Axis(name, field_name, stages, values, times)


def _axis_stages(
    data: Mapping[str, Any], name: str, num_stages: int, where: str
) -> tuple[int, ...]:
    if name in NETWORK_FIELDS:
        if "stage" in data or "stages" in data:
            raise SpaceError("is network-wide and has no stage", where=f"{where}.field", got=name)
        return ()
    if ("stage" in data) == ("stages" in data):
        raise SpaceError(
            "an axis needs either stage or stages", where=where,
            expected="stage: 1 or stages: [1, 2]",
        )  # fmt: skip
    given = [data["stage"]] if "stage" in data else data["stages"]
    if not isinstance(given, list) or not given:
        raise SpaceError("must be a list of stages", where=f"{where}.stages", got=given)
    stages = tuple(_integer(stage, f"{where}.stages", 1, num_stages) for stage in given)
    if any(a >= b for a, b in pairwise(stages)):
        raise SpaceError("must ascend", where=f"{where}.stages", got=given)
    return stages


def _axis_values(data: object, kind: Field, where: str) -> tuple[Value, ...]:
    if not isinstance(data, list) or not data:
        raise SpaceError("must be a non-empty list", where=where, got=data)
    if len(data) > MAX_VALUES:
        raise SpaceError("too many values", where=where, expected=f"<= {MAX_VALUES}", got=len(data))
    values = tuple(kind.read(value, f"{where}[{i}]") for i, value in enumerate(data))
    for i, value in enumerate(values):
        if value in values[:i]:
            raise SpaceError("a value stands twice", where=f"{where}[{i}]", got=shown(value))
    if kind.order is not None:
        for i, (a, b) in enumerate(pairwise(values)):
            if kind.order(b) < kind.order(a):
                raise SpaceError(
                    "values must be ordered", where=f"{where}[{i + 1}]", expected=kind.order_name,
                    got=f"{shown(b)} after {shown(a)}",
                )  # fmt: skip
    return values


def _times(data: object, name: str, stages: tuple[int, ...], where: str) -> tuple[int, ...]:
    if name not in STAGE_FIELDS or not STAGE_FIELDS[name].scales:
        raise SpaceError("this field cannot be scaled by stage", where=f"{where}.times", got=name)
    if not isinstance(data, list) or len(data) != len(stages):
        raise SpaceError(
            "must be a list of integers, one a stage", where=f"{where}.times",
            expected=f"{len(stages)} entries", got=data,
        )  # fmt: skip
    return tuple(_integer(factor, f"{where}.times", 1, 4096) for factor in data)


def _setters(axes: tuple[Axis, ...]) -> dict[Place, int]:
    setter: dict[Place, int] = {}
    for i, axis in enumerate(axes):
        for stage in axis.stages or (0,):
            if (axis.field, stage) in setter:
                other = axes[setter[axis.field, stage]].name
                raise SpaceError(
                    f"{_named((axis.field, stage))} is set by two axes",
                    where=f"axes.{axis.name}", got=f"axis {other} sets it too",
                )  # fmt: skip
            setter[axis.field, stage] = i
    return setter


def _named(place: Place) -> str:
    return f"{place[0]} of stage {place[1]}" if place[1] else place[0]


# --- fixed values -------------------------------------------------------------------------------


def _fix(data: object, found: Definition) -> None:
    """Fill ``found.fixed``: what the file fixes, then the defaults."""
    if not isinstance(data, Mapping):
        raise SpaceError("must be a mapping", where="fixed", got=data)
    _known(data, (*STAGE_FIELDS, *NETWORK_FIELDS), "fixed.")
    for name, value in data.items():
        where = f"fixed.{name}"
        if name in NETWORK_FIELDS:
            _fix_place(found, (name, 0), NETWORK_FIELDS[name].read(value, where))
            continue
        for stage, one in enumerate(_by_stage(name, value, found.num_stages), start=1):
            if one is not None:
                read = STAGE_FIELDS[name].read(one, f"{where}[{stage - 1}]")
                _fix_place(found, (name, stage), read)
    for place in _places(found.num_stages):
        if place in found.setter or place in found.fixed:
            continue
        if place[0] in DEFAULTS:
            found.fixed[place] = DEFAULTS[place[0]]
        elif place[1]:
            raise SpaceError(
                f"{_named(place)} is neither fixed nor set by an axis", where=f"fixed.{place[0]}"
            )


def _fix_place(found: Definition, place: Place, value: Value) -> None:
    if place in found.setter:
        raise SpaceError(
            f"{_named(place)} is fixed and also varies", where=f"fixed.{place[0]}",
            expected="null for a stage that an axis sets" if place[1] else None,
            got=f"axis {found.axes[found.setter[place]].name} sets it",
        )  # fmt: skip
    found.fixed[place] = value


def _by_stage(name: str, value: object, count: int) -> list[Any]:
    """One entry a stage: a single value stands for all, a list is one entry a stage."""
    one_for_all = not isinstance(value, list) or (
        name == "dilations" and all(isinstance(v, int) for v in value)
    )
    if one_for_all:
        return [value] * count
    assert isinstance(value, list)
    if len(value) != count:
        raise SpaceError(
            "needs one entry a stage", where=f"fixed.{name}", expected=f"{count} entries", got=value
        )
    return value


def _places(num_stages: int) -> Iterator[Place]:
    yield from ((name, 0) for name in NETWORK_FIELDS)
    yield from product(STAGE_FIELDS, range(1, num_stages + 1))


# --- contradictions -----------------------------------------------------------------------------


def _check_stage(found: Definition, stage: int) -> None:
    """Every combination of the stage's axes must be valid; only ``PAIRS`` can interact."""
    depths, shares = found.values(("depth", stage)), found.values(("msda_share", stage))
    has_msda = any(msda_blocks(d, s) for d, s in product(depths, shares))
    for pair in PAIRS:
        if "dilations" in pair and not has_msda:
            continue
        places = [(name, stage) for name in pair]
        for values in product(*(found.values(place) for place in places)):
            try:
                probe_stage(**dict(zip(pair, values, strict=True)))
            except ArchitectureError as error:
                raise SpaceError(
                    f"contradiction in stage {stage}: {error.rule}",
                    expected=error.expected,
                    where=" and ".join(found.source(place) for place in places),
                    got=", ".join(f"{n} {shown(v)}" for n, v in zip(pair, values, strict=True)),
                ) from None
