"""Contenders made ready: named apart, checked, built; what goes wrong names the one at fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import DilnasError, InputError
from dilnas.measure.limits import check_device, fits
from dilnas.measure.subject import Subject, subject
from dilnas.measure.workload import Runnable, prepare_module
from dilnas.records import Cost, Workload

__all__ = [
    "MOST_CONTENDERS",
    "distinct_names",
    "exact_cost",
    "made_ready",
    "named_call",
    "subjects_of",
]

MOST_CONTENDERS = 12
MOST_PIXELS = 1 << 16
"""Longest side of an image where no architecture says which it takes."""


def subjects_of(
    specs: Sequence[str | Architecture | Subject], baseline: str | None
) -> tuple[Subject, ...]:
    """The subjects in their order, ``baseline`` (one of ``specs``) before the others.

    Raises InputError for fewer than two, more than ``MOST_CONTENDERS`` or another baseline.
    """
    if isinstance(specs, str) or not 2 <= len(specs) <= MOST_CONTENDERS:
        one = isinstance(specs, str)
        raise InputError(
            "a comparison needs at least two models" if one or len(specs) < 2 else "too many",
            where="MODEL", expected=f"2..{MOST_CONTENDERS} models", got=1 if one else len(specs),
        )  # fmt: skip
    ordered = list(specs)
    if baseline is not None:
        if baseline not in ordered:
            shown = [one if isinstance(one, str) else one.name for one in ordered if not
                     isinstance(one, Architecture)]  # fmt: skip
            raise InputError(
                "must be one of the models compared", where="--baseline",
                expected=" | ".join(shown), got=baseline,
            )  # fmt: skip
        ordered.insert(0, ordered.pop(ordered.index(baseline)))
    return tuple(one if isinstance(one, Subject) else subject(one) for one in ordered)


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, those that occur again with a number: tiny, tiny (2), tiny (3)."""
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(out)


def exact_cost(found: Subject, height: int, width: int) -> Cost | None:
    """Cost of one image; None where no closed form applies.

    Raises InputError for a side that the strides do not allow, or that is none.
    """
    from dilnas.cost import cost

    if found.architecture is not None:
        return cost(found.architecture, height, width)
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= MOST_PIXELS:
            raise InputError(
                "out of range", where="--img-size", expected=f"1..{MOST_PIXELS}", got=side
            )
    return None


def made_ready(found: Subject, workload: Workload, cost: Cost | None) -> Runnable:
    """Built on the device and run once. Errors name ``found``; see ``_naming``."""
    with _naming(found, workload, "its first batch"):
        if cost is not None:
            check_device(workload, cost)
        return prepare_module(found.build, found.in_chans, workload)


@contextmanager
def _naming(found: Subject, workload: Workload, doing: str) -> Iterator[None]:
    """Errors inside become one line that names ``found``.

    A DilnasError keeps its kind. What a foreign model raises while ``doing`` something becomes an
    InputError with its type and message; what a DilateFormer raises is a bug and passes through.
    """
    try:
        with fits(workload):
            yield
    except DilnasError as error:
        if found.spec in error.where:
            raise
        where = f"{found.spec}: {error.where}" if error.where else found.spec
        raise type(error)(
            error.rule, where=where, expected=error.expected, got=error.got
        ) from error
    except (Exception, SystemExit) as error:
        if found.architecture is not None:
            raise
        told = f"{type(error).__name__}: {error}".removesuffix(": ")
        shape = (workload.batch_size, found.in_chans, workload.height, workload.width)
        raise InputError(
            f"{doing} of {' x '.join(map(str, shape))} raised {told}", where=found.spec
        ) from error


def named_call(call: Callable[[], Any], found: Subject, workload: Workload) -> Callable[[], object]:
    """``call`` with errors that name ``found``, at no cost while there is none."""

    def named() -> object:
        try:
            return call()
        except Exception as error:
            with _naming(found, workload, "a batch"):
                raise error from None
            raise

    return named
