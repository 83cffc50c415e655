"""A search's front as a table, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dilnas.report.front_data import number

__all__ = ["front_cells", "front_table"]

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("trial", "trial", ""),
    ("val_accuracy", "val %", ".2%"),
    ("final", "final %", ">"),
    ("test", "test %", ".2%"),
    ("gflops", "GFLOPs", ".3f"),
    ("mparams", "params M", ".3f"),
    ("memory_mb", "MB", ".1f"),
    ("predicted_ms", "pred. ms", ".2f"),
    ("measured_ms", "meas. ms", ".2f"),
    ("layout", "layout", ""),
    ("dims", "dims", ""),
    ("dilations", "dilations", ""),
    ("windows", "windows", ""),
    ("noise", "noise", ""),
    ("reference", "paper", ""),
)
"""Column, its title and how its numbers are shown (">": a text on the right). ``final``, ``test``
and ``noise`` are made of several columns of front.csv, the others are its own."""

_NOISE = {"clear": "clear", "tie": "= #{}", "beaten": "< #{}"}
"""How a membership is shown; {}: the cheaper member that it is compared with."""


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "–"
    plain = number(value) if form.startswith(".") else None
    if plain is None:
        return str(value)
    return f"{plain:{form}}".removesuffix("%")


def _with_noise(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with what is shown of its re-trainings: mean and spread, test accuracy, ties."""
    mean, std, tested = (
        number(row.get(name)) for name in ("final_accuracy", "final_std", "final_test_accuracy")
    )
    final = None if mean is None else f"{100 * mean:.2f}"
    if final and std is not None:
        final += f" ±{100 * std:.2f}"
    if final is None and row.get("final_failed"):
        final = "failed"
    noise = _NOISE.get(str(row.get("membership")))
    return {
        **row,
        "final": final,
        "test": row.get("test_accuracy") if tested is None else tested,
        "noise": noise and noise.format(row.get("rival")),
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Columns in which any row has something."""
    return [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in rows)]


def front_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The rows of front.csv as a table; reference rows (no ``trial``) are dim."""
    rows = [_with_noise(row) for row in rows]
    columns = _columns(rows)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for _, title, form in columns:
        table.add_column(title, justify="right" if form else "left", no_wrap=bool(form))
    for row in rows:
        style = "dim" if row.get("trial") is None else ""
        # Text, so that a name like "[red]" is shown and not obeyed.
        table.add_row(*(Text(_shown(row.get(n), f)) for n, _, f in columns), style=style)
    return table


def front_cells(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Titles, texts and which columns are numbers: the table's, for a page."""
    noted = [_with_noise(row) for row in rows]
    columns = _columns(noted)
    texts = [[_shown(row.get(name), form) for name, _, form in columns] for row in noted]
    return [title for _, title, _ in columns], texts, [bool(form) for _, _, form in columns]
