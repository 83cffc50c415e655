"""A search's front for people: a table in the terminal, one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.report.front_data import FrontPicture, number
from dilnas.report.front_figure import front_figure
from dilnas.report.page import figure_html, html_page, html_table
from dilnas.runs import RunDirectory

__all__ = ["front_table", "write_front_html"]

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("trial", "trial", ""),
    ("val_accuracy", "val %", ".2%"),
    ("test_accuracy", "test %", ".2%"),
    ("gflops", "GFLOPs", ".3f"),
    ("mparams", "params M", ".3f"),
    ("memory_mb", "MB", ".1f"),
    ("layout", "layout", ""),
    ("dims", "dims", ""),
    ("dilations", "dilations", ""),
    ("windows", "windows", ""),
    ("reference", "paper", ""),
)
"""Column of front.csv, its title and how its numbers are shown."""


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "–"
    plain = number(value) if form else None
    if plain is None:
        return str(value)
    return f"{plain:{form}}".removesuffix("%")


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Columns in which any row has something."""
    return [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in rows)]


def front_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The rows of front.csv as a table; reference rows (no ``trial``) are dim."""
    rows = list(rows)
    columns = _columns(rows)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for _, title, form in columns:
        table.add_column(title, justify="right" if form else "left", no_wrap=bool(form))
    for row in rows:
        style = "dim" if row.get("trial") is None else ""
        # Text, so that a name like "[red]" is shown and not obeyed.
        table.add_row(*(Text(_shown(row.get(n), f)) for n, _, f in columns), style=style)
    return table


def write_front_html(run: RunDirectory) -> Path:
    """Write ``report.html`` into the run's directory and return its path.

    One file, about 5 MB, plotly inside: it opens without a network. Raises RunError when there is
    no front or the directory cannot be written.
    """
    picture = FrontPicture.of(run)
    title = escape(picture.title)
    body = _BODY.format(
        title=title,
        summary=escape(picture.summary()),
        origin=escape(picture.origin()),
        beyond=escape(_beyond(picture)),
        figure=figure_html(front_figure(picture), "front"),
        table=_html_table(run.front_rows()),
    )
    page = html_page(title=f"{title}: front", body=body, figure="front")
    write_atomic(run.report_html, page, kind=RunError)
    return run.report_html


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = _columns(rows)
    return html_table(
        [title for _, title, _ in columns],
        [[_shown(row.get(name), form) for name, _, form in columns] for row in rows],
        [bool(form) for _, _, form in columns],
        ["reference" if row.get("trial") is None else "" for row in rows],
    )


def _beyond(picture: FrontPicture) -> str:
    """The paper's variants that are not drawn, in a sentence; empty if all are."""
    names = ", ".join(f"{p.label} at {p.x:.3g}" for p in picture.beyond)
    return f"Beyond the right edge, not drawn: {names}." if names else ""


_BODY = """<h1>Front of {title}</h1>
<p>{summary} <span class="dim">{beyond}</span></p>
<p class="dim">{origin}</p>
{figure}
<div class="wide">{table}</div>
<p class="dim">D: blocks with multi-scale dilated attention, G: with global attention; dilations and
windows of the stages that have D blocks. MB: weights and live activations of one image in fp32.
GFLOPs as in the paper and fvcore: one multiply-add counts 1. Accuracies are those of small, short
proxy trainings: they rank the candidates of this search and say nothing of full training. Those of
trials that were stopped early come from fewer images and compare only with one another. The front
was chosen on the validation split: believe the test column more.</p>
<p class="dim">Take one: <code>dilnas export RUN --pick knee</code>, <code>best</code> or a trial
number.</p>"""
