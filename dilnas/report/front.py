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
    figure = front_figure(picture).to_html(
        full_html=False, include_plotlyjs=True, div_id="front",
        config={"displayModeBar": False, "responsive": True},
    )  # fmt: skip
    page = _PAGE.format(
        title=escape(picture.title),
        summary=escape(picture.summary()),
        origin=escape(picture.origin()),
        beyond=escape(_beyond(picture)),
        figure=figure,
        table=_html_table(run.front_rows()),
    )
    write_atomic(run.report_html, page, kind=RunError)
    return run.report_html


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = _columns(rows)
    head = "".join(f"<th{_side(f)}>{escape(title)}</th>" for _, title, f in columns)
    body = "".join(
        ('<tr class="reference">' if row.get("trial") is None else "<tr>")
        + "".join(f"<td{_side(f)}>{escape(_shown(row.get(n), f))}</td>" for n, _, f in columns)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _side(form: str) -> str:
    """Numbers are aligned on the right."""
    return ' class="number"' if form else ""


def _beyond(picture: FrontPicture) -> str:
    """The paper's variants that are not drawn, in a sentence; empty if all are."""
    names = ", ".join(f"{p.label} at {p.x:.3g}" for p in picture.beyond)
    return f"Beyond the right edge, not drawn: {names}." if names else ""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: front</title>
<style>
 :root {{ color-scheme: light dark; --ink: #222; --dim: #666; --page: #fff; --rule: #8884 }}
 @media (prefers-color-scheme: dark) {{
   :root {{ --ink: #ddd; --dim: #a0a4ab; --page: #16181c }}
 }}
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem;
        padding: 0 1rem; color: var(--ink); background: var(--page) }}
 h1 {{ font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }}
 p {{ margin: 0; max-width: 60rem }} .dim, .reference {{ color: var(--dim) }}
 .wide {{ overflow-x: auto; margin: .5rem 0 1rem }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
 th, td {{ padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left;
          white-space: nowrap }}
 .number {{ text-align: right }}
</style></head><body>
<h1>Front of {title}</h1>
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
number.</p>
<script>
 const dark = matchMedia("(prefers-color-scheme: dark)");
 const ink = () => Plotly.relayout("front", {{"font.color": dark.matches ? "#ddd" : "#222"}});
 dark.addEventListener("change", ink); ink();
</script>
</body></html>
"""
