"""Benchmark results as tables for people and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dilnas.bench.comparing import Comparison, Row, RungRow

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["comparison_table", "document", "rung_table"]


def comparison_table(found: Comparison) -> Table:
    """One world: regret by evaluations, paired test and effect size against the first sampler."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=found.world,
                  title_justify="left", title_style="bold")  # fmt: skip
    table.add_column("sampler", no_wrap=True)
    for count in found.checkpoints:
        table.add_column(f"regret % @{count}", justify="right", no_wrap=True)
    for heading in ("random@500 in", "IGD+", "p", "A12"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(
            row.sampler,
            *(_middle(row.regret[:, i]) for i in range(len(found.checkpoints))),
            _count(row.reach), f"{np.median(row.igd):.3f}", _number(row.p, 3),
            _number(row.effect, 2),
        )  # fmt: skip
    return table


def rung_table(rows: Sequence[RungRow]) -> Table:
    """Searches with rungs: epochs against those of full trainings for the same hypervolume.

    One line for each sampler of full trainings; what the search with rungs did stands in the first.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
                  title="with rungs (epochs in full trainings)", title_justify="left",
                  title_style="bold")  # fmt: skip
    table.add_column("world", no_wrap=True)
    for heading in ("regret %", "complete", "epochs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("full trainings by", no_wrap=True)
    for heading in ("need", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = ""
    for row in rows:
        mine = (row.world, _middle(row.regret), f"{np.median(row.complete):.0f}",
                f"{np.median(row.epochs):.1f}")  # fmt: skip
        table.add_row(
            *(mine if row.world != shown else ("",) * len(mine)), row.sampler,
            _count(row.full_epochs),
            ("" if row.reached.all() else "at most ") + _middle(row.ratio, 2),
        )  # fmt: skip
        shown = row.world
    return table


def document(found: Sequence[Comparison], rungs: Sequence[RungRow]) -> dict[str, Any]:
    """All of it as JSON-able data; null where a goal was not reached."""
    return {
        "dilnas_bench": 1,
        "worlds": [
            {"world": one.world, "evaluations": list(one.checkpoints),
             "samplers": [_plain(row) for row in one.rows]}
            for one in found
        ],
        "rungs": [
            {"world": row.world, "full_sampler": row.sampler, "regret": row.regret.tolist(),
             "epochs": row.epochs.tolist(), "full_epochs": _finite(row.full_epochs),
             "ratio": [float(r) if known else None
                       for r, known in zip(row.ratio, row.reached, strict=True)]}
            for row in rungs
        ],
    }  # fmt: skip


def _plain(row: Row) -> dict[str, Any]:
    return {
        "sampler": row.sampler, "regret": row.regret.tolist(),
        "evaluations_to_random_500": _finite(row.reach), "igd_plus": row.igd.tolist(),
        "p": None if math.isnan(row.p) else row.p,
        "a12": None if math.isnan(row.effect) else row.effect,
    }  # fmt: skip


def _finite(values: Any) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _middle(values: Any, digits: int = 1) -> str:
    """Median and, over more than two seeds, the middle half."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    if len(values) < 3:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def _count(values: Any) -> str:
    middle = float(np.median(values))
    return f"{middle:.0f}" if math.isfinite(middle) else "not reached"


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
