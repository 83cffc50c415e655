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
from dilnas.report.front_data import FrontPicture, Point, number
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
    page = _PAGE.format(
        title=title,
        figure=_figure(picture).to_html(
            full_html=False, include_plotlyjs=True, div_id="front", config={"displaylogo": False}
        ),
        table=_html_table(run.front_rows()),
    )
    write_atomic(run.report_html, page, kind=RunError)
    return run.report_html


def _figure(picture: FrontPicture) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    corners = picture.steps()
    figure.add_scatter(
        x=[a for a, _ in corners], y=[100 * b for _, b in corners], mode="lines",
        line={"color": "#0072B2", "width": 2}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    trained = [p for p in picture.references if p.accuracy is not None]
    for points, name, color, symbol, size in (
        (picture.others, "other trials", "#999999", "circle", 7),
        (picture.front, "front", "#0072B2", "diamond", 11),
        (trained, "the paper's variants", "#D55E00", "square", 10),
    ):
        if points:
            figure.add_scatter(**_markers(points), name=name, marker={
                "color": color, "symbol": symbol, "size": size, "line": {"width": 0},
            })  # fmt: skip
    for point in picture.references:
        if point.accuracy is None:
            figure.add_vline(
                x=point.x, line={"color": "#D55E00", "dash": "dot", "width": 1},
                annotation_text=escape(point.label), annotation_font_color="#D55E00",
            )  # fmt: skip
    figure.update_layout(
        xaxis_title=picture.axis_label,
        yaxis_title="validation accuracy (%)",
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=560,
        margin={"t": 30, "r": 20},
        legend={"orientation": "h", "y": 1.08},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return figure


def _markers(points: Sequence[Point]) -> dict[str, Any]:
    return {
        "x": [p.x for p in points],
        "y": [None if p.accuracy is None else 100 * p.accuracy for p in points],
        "mode": "markers",
        # Plotly reads a few HTML tags in hover texts: what came from files is escaped.
        "hovertext": ["<br>".join(escape(line) for line in p.hover) for p in points],
        "hoverinfo": "text",
    }


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = _columns(rows)
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _ in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(_shown(row.get(n), f))}</td>" for n, _, f in columns)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}: front</title>
<style>
 :root {{ color-scheme: light dark; --ink: #222; --page: #fff; --rule: #8884 }}
 @media (prefers-color-scheme: dark) {{ :root {{ --ink: #ddd; --page: #16181c }} }}
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
        padding: 0 1rem; color: var(--ink); background: var(--page) }}
 h1 {{ font-size: 1.4rem }} .wide {{ overflow-x: auto }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
 th, td {{ padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left;
          white-space: nowrap }}
</style></head><body>
<h1>Front of {title}</h1>
{figure}
<div class="wide">{table}</div>
<script>
 const dark = matchMedia("(prefers-color-scheme: dark)");
 const ink = () => Plotly.relayout("front", {{"font.color": dark.matches ? "#ddd" : "#222"}});
 dark.addEventListener("change", ink); ink();
</script>
</body></html>
"""
