"""A table of real results as a world: any benchmark of trained architectures can be replayed.

A CSV file with one architecture a row: columns that encode it, its accuracy at full training,
one cost, and if there are any the accuracies after shorter trainings:

    dim,depth,window,gflops,acc_10,acc_30,accuracy
    48,2,3,1.21,0.61,0.70,0.74

    --table results.csv --cost gflops --rungs acc_10:10,acc_30:30,accuracy:90

Each column that is not named otherwise is an axis; where the table has others, ``--axes`` names
those that are. The values that occur are an axis' places, numbers in order, words in alphabetical
order. A search can only propose rows of the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilnas.bench.world import World
from dilnas.errors import InputError
from dilnas.search.candidate import Figures
from dilnas.search.domain import Member

__all__ = ["TableDomain", "TableTruth", "table_world"]

Array = NDArray[np.float64]

MOST_AXES = 62
COST, ACCURACY = (
    ("gflops", "flops", "cost", "latency", "params"),
    ("accuracy", "acc", "val_accuracy"),
)


@dataclass(frozen=True, eq=False)
class TableDomain:
    """Rows of a table as codes.

    Attributes:
        name: of the file.
        axes: (name, number of places) of each encoding column.
        codes: (R, A) of the rows, each once.
        cost: (R,) of the rows, positive.
    """

    name: str
    axes: tuple[tuple[str, int], ...]
    codes: Any
    cost: Array

    @cached_property
    def _index(self) -> tuple[Any, Any]:
        """The codes' numbers in order, and the row of each."""
        numbers = self._numbers(self.codes)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    def sample(self, count: int, seed: int) -> Any:
        """All rows, or ``count`` random ones where there are very many."""
        if len(self.codes) <= max(count, MANY):
            return self.codes
        return self.codes[np.random.default_rng(seed).choice(len(self.codes), count, replace=False)]

    def rows(self, codes: Any) -> Any:
        """(N,) places of codes (N, A) in the table, -1 for those that are not in it."""
        known, row = self._index
        numbers = self._numbers(np.asarray(codes))
        places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        return np.where(known[places] == numbers, row[places], -1)

    def costs(self, codes: Any) -> dict[str, Array]:
        """The table's cost under every name; infinite where a code is not in the table."""
        rows = self.rows(codes)
        cost = np.where(rows >= 0, self.cost[rows], np.inf)
        return {"gflops": cost, "mparams": cost, "mb": cost}

    def member(self, code: Any) -> Member:
        """The row of ``code``. Raises InputError if it is none."""
        whole = tuple(int(value) for value in code)
        row = int(self.rows([whole])[0])
        if row < 0:
            raise InputError("not in the table", where=self.name, got=whole)
        cost = float(self.cost[row])
        return Member(
            code=whole, key="-".join(map(str, whole)), layout="",
            figures=Figures(gflops=cost, mparams=cost, mb=cost), architecture=None,
        )  # fmt: skip

    def variants(self) -> list[tuple[int, ...]]:
        """None: a table has no paper's designs."""
        return []

    def free_score(self, codes: Any) -> Array | None:
        """None: a table's columns are not weight matrices."""
        return None

    def _numbers(self, codes: Any) -> Any:
        """Codes (N, A) as one number each."""
        lengths = [length for _, length in self.axes]
        number = np.zeros(len(codes), np.int64)
        for place, length in enumerate(lengths):
            number = number * length + codes[:, place]
        return number


MANY = 200_000
"""Rows up to which a table is looked at whole."""


@dataclass(frozen=True, eq=False)
class TableTruth:
    """Accuracies of a table's rows.

    Attributes:
        domain: the rows.
        shares: of the full training, ascending to 1.
        accuracies: (R, rungs) after each share.
        deviation: of one training's accuracy over seeds; 0 replays the table as it is.
    """

    domain: TableDomain
    shares: tuple[float, ...]
    accuracies: Array
    deviation: float

    def accuracy(self, codes: Any, share: float = 1.0) -> Array:
        """(N,) accuracy at the share, which must be one of ``shares``."""
        return np.asarray(self.accuracies[self.domain.rows(codes), self.shares.index(share)])

    def noise(self, share: float) -> float:
        """The same at every share."""
        return self.deviation


def table_world(
    path: str,
    *,
    axes: Sequence[str] = (),
    accuracy: str = "",
    cost: str = "",
    rungs: Sequence[str] = (),
    budget: float | None = None,
    noise: float = 0.0,
) -> World:
    """The world in the CSV file at ``path``.

    Args:
        path: of the file.
        axes: columns that encode the architecture; empty: all that are not named otherwise.
        accuracy: column of the full training's accuracy, 0..1 or per cent; empty: guessed.
        cost: column of the cost, positive; empty: guessed.
        rungs: "COLUMN:EPOCHS" of every rung, ascending; the last is the full training.
        budget: limit on the cost.
        noise: standard deviation added to each score.

    Raises InputError naming the column or the row at fault.
    """
    table = _read(path)
    cost = cost or _guess(table, COST, "--cost", path)
    last = rungs[-1].rpartition(":")[0] if rungs else accuracy
    accuracy = last or _guess(table, ACCURACY, "--accuracy", path)
    steps = [_rung(text) for text in rungs] or [(accuracy, 1.0)]
    taken = {cost, *(name for name, _ in steps)}
    chosen = list(axes) or [name for name in table if name not in taken]
    for name in (*chosen, *taken):
        if name not in table:
            raise InputError("no such column", where=f"{path}: {name!r}", expected=", ".join(table))
    places = [_places(table[name]) for name in chosen]
    domain = _domain(path, chosen, places, _numbers(table, cost, path))
    scores = np.stack([_numbers(table, name, path) for name, _ in steps], axis=1)
    scores = scores / 100 if scores.max() > 1.0 else scores
    epochs = [value for _, value in steps]
    if sorted(set(epochs)) != epochs:
        raise InputError("must ascend", where="--rungs", got=",".join(rungs))
    shares = tuple(value / epochs[-1] for value in epochs)
    return World(
        name=Path(path).stem, domain=domain, truth=TableTruth(domain, shares, scores, noise),
        shares=shares, budgets={} if budget is None else {"gflops": budget},
    )  # fmt: skip


def _read(path: str) -> dict[str, list[str]]:
    import csv

    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=path) from error
    if len(rows) < 3:
        raise InputError("too few rows", where=path, expected=">= 2 below the header",
                         got=max(0, len(rows) - 1))  # fmt: skip
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise InputError("wrong number of cells", where=f"{path}:{number}",
                             expected=len(rows[0]), got=len(row))  # fmt: skip
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


def _guess(table: dict[str, list[str]], names: Sequence[str], option: str, path: str) -> str:
    lower = {name.lower(): name for name in table}
    found = next((lower[name] for name in names if name in lower), None)
    if found is None:
        raise InputError(f"name the column with {option}", where=path, expected="|".join(names),
                         got=", ".join(table))  # fmt: skip
    return found


def _rung(text: str) -> tuple[str, float]:
    name, _, epochs = text.rpartition(":")
    try:
        value = float(epochs)
    except ValueError:
        value = math.nan
    if not name or not value > 0:
        raise InputError("not a rung", where="--rungs", expected="COLUMN:EPOCHS", got=text)
    return name, value


def _numbers(table: dict[str, list[str]], name: str, path: str) -> Array:
    try:
        values = np.array([float(text) for text in table[name]])
    except ValueError as error:
        raise InputError(f"not a number: {error}", where=f"{path}: {name!r}") from error
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise InputError("not finite", where=f"{path}:{bad[0] + 2}", got=table[name][bad[0]])
    return values


def _places(column: list[str]) -> tuple[list[str], Any]:
    """The values that occur, in order, and the place of each row's."""
    try:
        values = sorted(set(column), key=float)
    except ValueError:
        values = sorted(set(column))
    place = {value: i for i, value in enumerate(values)}
    return values, np.array([place[value] for value in column])


def _domain(path: str, names: list[str], places: list[Any], cost: Array) -> TableDomain:
    axes = tuple((name, len(values)) for name, (values, _) in zip(names, places, strict=True))
    if math.prod(length for _, length in axes) >= 2**MOST_AXES:
        raise InputError("too many columns encode it", where=path, got=len(axes))
    if not (cost > 0).all():
        raise InputError("a cost must be positive", where=path, got=float(cost.min()))
    codes = np.stack([found for _, found in places], axis=1)
    _, first = np.unique(codes, axis=0, return_index=True)
    if len(first) < len(codes):
        twice = int(np.setdiff1d(np.arange(len(codes)), first)[0])
        raise InputError("an architecture occurs twice", where=f"{path}:{twice + 2}")
    return TableDomain(Path(path).stem, axes, codes, cost)
