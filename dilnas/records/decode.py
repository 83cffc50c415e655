"""JSON data into records, by the declared type of every field; each fault is one line.

Whatever the data, the outcome is a record or an InputError that names the field: no unknown and no
missing field, no number that is not finite, nothing of another type, and no stored figure that
does not follow from the raw values beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, InputError
from dilnas.records.comparison import VERDICTS, Contender, Verdict
from dilnas.records.costs import OPERATORS, Cost, CostRow
from dilnas.records.documents import DERIVED
from dilnas.records.observed import Energy, Measurement
from dilnas.records.workload import Workload

__all__ = ["Spot", "decode", "same_figure"]

MAX_DEPTH = 32
"""Deepest nesting of a free-form value: ``facts`` and ``extra`` are flat or nearly so."""

MAX_INTEGER = 10**30
"""Largest magnitude of an integer: more than any count, and still a float without overflow."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a document something stands: the file's name and the path within."""

    file: str = ""
    path: str = ""

    def at(self, name: object) -> Spot:
        """A field of it."""
        text = str(name)[:80]
        return Spot(self.file, f"{self.path}.{text}" if self.path else text)

    def item(self, index: int) -> Spot:
        """An item of a list."""
        return Spot(self.file, f"{self.path}[{index}]")

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path) if part)

    def wrong(self, rule: str, *, expected: object = None, got: object = None) -> InputError:
        """The error of a rule that is broken here."""
        return InputError(rule, where=str(self), expected=expected, got=got)


def decode(kind: type[R], data: object, spot: Spot, *, defaults: bool = False) -> R:
    """The record of type ``kind`` that ``data`` holds; ``spot`` is where it stands.

    With ``defaults`` a missing field that has a default takes it, and derived figures may be
    missing: for files of an older version. Raises InputError (ArchitectureError for a network).
    """
    values = _mapping(data, spot)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    given = {name: values[name] for name in known if name in values}
    stored = {name: value for name, value in values.items() if name not in known}
    plain: Any = kind
    types = _types(plain)
    for name, f in known.items():
        if name not in given and not (defaults and _has_default(f)):
            raise spot.at(name).wrong("missing field")
    built = {n: _value(types[n], v, spot.at(n), defaults) for n, v in given.items()}
    record = kind(**built)
    if (check := _CHECKS.get(kind)) is not None:
        check(record, spot)
    derived = DERIVED[kind](record) if kind in DERIVED else {}
    for name in stored:
        if name not in derived:
            raise spot.at(name).wrong("unknown field")
    for name, figure in derived.items():
        if name in stored:
            same_figure(stored[name], figure, spot.at(name))
        elif not defaults:
            raise spot.at(name).wrong("missing field")
    return record


def same_figure(stored: object, figure: object, spot: Spot) -> None:
    """Raise unless a stored derived figure is what the raw values give (floats to 1e-9)."""
    if isinstance(figure, float):
        same = _is_number(stored) and math.isclose(float(stored), figure, rel_tol=1e-9)  # type: ignore[arg-type]
    else:
        same = type(stored) is type(figure) and stored == figure
    if not same:
        raise spot.wrong("does not follow from the raw values", expected=figure, got=stored)


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _has_default(f: Field[Any]) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _mapping(data: object, spot: Spot) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise spot.wrong("must be an object", got=type(data).__name__)
    for name in data:
        if not isinstance(name, str):
            raise spot.wrong("names must be strings", got=name)
        _text(name, spot)
    return dict(data)


def _value(kind: Any, data: object, spot: Spot, defaults: bool) -> Any:
    """``data`` as a value of the declared type ``kind``."""
    if kind in _PLAIN:
        return _PLAIN[kind](data, spot)
    if is_dataclass(kind):
        return decode(kind, data, spot, defaults=defaults)  # type: ignore[arg-type]
    arguments, origin = get_args(kind), get_origin(kind)
    if NoneType in arguments:
        (inner,) = (a for a in arguments if a is not NoneType)
        return None if data is None else _value(inner, data, spot, defaults)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise spot.wrong("must be a list", got=type(data).__name__)
        found = (_value(arguments[0], x, spot.item(i), defaults) for i, x in enumerate(data))
        return tuple(found)
    if origin is dict:
        items = _mapping(data, spot).items()
        return {n: _value(arguments[1], v, spot.at(n), defaults) for n, v in items}
    raise TypeError(f"no rule for a field of type {kind}: {spot}")


def _is_number(data: object) -> bool:
    """A finite int or float that is not a bool and not absurdly large."""
    if isinstance(data, bool) or not isinstance(data, int | float):
        return False
    return abs(data) <= MAX_INTEGER if isinstance(data, int) else math.isfinite(data)


def _integer(data: object, spot: Spot) -> int:
    if not _is_number(data) or not isinstance(data, int):
        raise spot.wrong("must be an integer", expected=f"at most {MAX_INTEGER:.0e}", got=data)
    return data


def _number(data: object, spot: Spot) -> float:
    if not _is_number(data):
        raise spot.wrong("must be a finite number", got=data)
    return float(data)  # type: ignore[arg-type]


def _boolean(data: object, spot: Spot) -> bool:
    if not isinstance(data, bool):
        raise spot.wrong("must be true or false", got=data)
    return data


def _text(data: object, spot: Spot) -> str:
    if not isinstance(data, str):
        raise spot.wrong("must be a string", got=data)
    try:
        data.encode()
    except UnicodeEncodeError as error:
        raise spot.wrong("must be Unicode text: half of a surrogate pair") from error
    return data


def _free(data: object, spot: Spot, depth: int) -> Any:
    """Any JSON value with finite numbers, nested no deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise spot.wrong("nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, int | float):
        if not _is_number(data):
            raise spot.wrong("must be a finite number", got=data)
        return data
    if isinstance(data, list | tuple):
        return [_free(item, spot.item(i), depth + 1) for i, item in enumerate(data)]
    if isinstance(data, Mapping):
        items = _mapping(data, spot).items()
        return {name: _free(item, spot.at(name), depth + 1) for name, item in items}
    return _text(data, spot)


def _architecture(data: object, spot: Spot) -> Architecture:
    try:
        return Architecture.from_dict(data)
    except ArchitectureError as error:
        where = str(spot.at(error.where) if error.where else spot)
        raise ArchitectureError(
            error.rule, where=where, expected=error.expected, got=error.got
        ) from error


_PLAIN: dict[Any, Callable[[object, Spot], Any]] = {
    int: _integer, float: _number, bool: _boolean, str: _text, Any: lambda d, s: _free(d, s, 0),
    Architecture: _architecture,
}  # fmt: skip


# --- what the types do not say ------------------------------------------------------------------


def _positive(spot: Spot, record: object, *names: str) -> None:
    for name, value in ((name, getattr(record, name)) for name in names):
        if value < 1:
            raise spot.at(name).wrong("must be at least 1", got=value)


def _not_negative(spot: Spot, record: object, *names: str) -> None:
    for name, value in ((name, getattr(record, name)) for name in names):
        if value < 0:
            raise spot.at(name).wrong("must not be negative", got=value)


def _one_of(spot: Spot, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise spot.wrong("unknown choice", expected=" | ".join(choices), got=value)


def _check_workload(w: Workload, spot: Spot) -> None:
    _positive(spot, w, "batch_size", "height", "width")
    _not_negative(spot, w, "threads")
    _one_of(spot.at("dtype"), w.dtype, ("fp32", "tf32", "fp16", "bf16"))
    _one_of(spot.at("mode"), w.mode, ("inference", "train"))
    _one_of(spot.at("compile"), w.compile, ("eager", "compile", "graph"))


def _check_cost(cost: Cost, spot: Spot) -> None:
    _positive(spot, cost, "height", "width")
    _not_negative(spot, cost, "peak_activation_elements")


def _check_cost_row(row: CostRow, spot: Spot) -> None:
    _not_negative(spot, row, "params", "activation_elements")
    for name, count in row.operators.items():
        _one_of(spot.at("operators"), name, OPERATORS)
        if count < 0:
            raise spot.at("operators").at(name).wrong("must not be negative", got=count)


def _check_samples(samples: tuple[float, ...], spot: Spot) -> None:
    if not samples:
        raise spot.wrong("must hold a sample")
    for i, sample in enumerate(samples):
        if sample <= 0:
            raise spot.item(i).wrong("must be positive", got=sample)


def _check_measurement(m: Measurement, spot: Spot) -> None:
    _check_samples(m.samples, spot.at("samples"))
    _not_negative(spot, m, "warmup")


def _check_energy(energy: Energy, spot: Spot) -> None:
    lengths = {len(energy.window_joules), len(energy.window_s), len(energy.window_images)}
    if len(lengths) != 1:
        raise spot.wrong(
            "window_joules, window_s and window_images must be of one length",
            got=sorted(lengths),
        )


_CHECKS: dict[type, Callable[[Any, Spot], None]] = {
    Workload: _check_workload,
    Cost: _check_cost,
    CostRow: _check_cost_row,
    Measurement: _check_measurement,
    Energy: _check_energy,
    Contender: lambda c, spot: _check_samples(c.samples_s, spot.at("samples_s")),
    Verdict: lambda v, spot: _one_of(spot.at("verdict"), v.verdict, VERDICTS),
}
