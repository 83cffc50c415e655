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
from dilnas.report.audit import AUDIT_TITLES, audit_cells, audit_notes, read_audit
from dilnas.report.front_data import FrontPicture, number
from dilnas.report.front_figure import front_figure
from dilnas.report.page import figure_html, html_page, html_table
from dilnas.runs import RunDirectory

__all__ = ["front_table", "write_front_html"]

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
        audit=_audit_html(run),
    )
    page = html_page(title=f"{title}: front", body=body, figure="front")
    write_atomic(run.report_html, page, kind=RunError)
    return run.report_html


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    rows = [_with_noise(row) for row in rows]
    columns = _columns(rows)
    return html_table(
        [title for _, title, _ in columns],
        [[_shown(row.get(name), form) for name, _, form in columns] for row in rows],
        [bool(form) for _, _, form in columns],
        ["reference" if row.get("trial") is None else "" for row in rows],
    )


def _audit_html(run: RunDirectory) -> str:
    """The audit as a section of the page; empty where the run has none."""
    if not run.audit_json_path.is_file():
        return ""
    document = read_audit(run)
    table = html_table(
        AUDIT_TITLES, audit_cells(document), [title in ("n", "pairs") for title in AUDIT_TITLES]
    )
    notes = escape(" ".join(audit_notes(document)))
    return f'<h2>Audit</h2><div class="wide">{table}</div><p class="dim">{notes}</p>'


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
was chosen on the validation split by one training each, so its accuracies there are partly luck.
final: mean ± standard deviation of trainings with other seeds (the bars in the picture); test: of
the same on the test split, or of the search's own network where none were made. noise: clear,
better than every cheaper member by more than the noise; = #N, no better than the cheaper #N as far
as can be told; &lt; #N, worse than it.</p>
{audit}
<p class="dim">Take one: <code>dilnas export RUN --pick knee</code>, <code>best</code> or a trial
number.</p>"""
