"""Roofs and what lies beneath them, as an interactive plotly figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from dilnas.records import Breakdown, BreakdownRow, DeviceRates
from dilnas.report.breakdown import OPERATOR_NAMES

__all__ = ["roofline_figure"]

COLORS = ("#2a8bd0", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#888888")
"""One a breakdown, after Okabe and Ito: told apart by every kind of colour vision."""

GRID = "rgba(128,128,128,0.25)"
CLEAR = "rgba(0,0,0,0)"
LABELLED = 0.02
"""Share of the time from which on a mark bears its name."""

SMALLEST, LARGEST = 7.0, 44.0
"""Diameter in pixels of a mark with no time and of one with all of it."""


def roofline_figure(breakdowns: Sequence[tuple[str, Breakdown]]) -> Any:
    """A ``plotly.graph_objects.Figure`` of breakdowns, each under its heading.

    Operators, then parts: multiply-adds a second over multiply-adds a byte, all axes logarithmic,
    with a roof for each breakdown. Right: bytes a second of the operators that multiply nothing.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1, cols=3, column_widths=[0.4, 0.33, 0.27], horizontal_spacing=0.07,
        subplot_titles=("operators", "parts", "operators that only move"),
    )  # fmt: skip
    span = _span([breakdown for _, breakdown in breakdowns])
    alone = len(breakdowns) == 1
    for i, (heading, breakdown) in enumerate(breakdowns):
        color = COLORS[i % len(COLORS)]
        for column, rows, symbol in (
            (1, breakdown.operators, "diamond"),
            (2, breakdown.parts, "circle"),
        ):
            figure.add_scatter(
                **_roof(breakdown.rates, span, color), name=escape(heading), row=1, col=column,
                legendgroup=str(i), showlegend=not alone and column == 1,
            )  # fmt: skip
            works = [row for row in rows if row.macs and row.time_s > 0]
            works.sort(key=lambda row: row.macs_per_byte)
            if works:
                figure.add_scatter(
                    **_marks(works, breakdown, named=alone), legendgroup=str(i), showlegend=False,
                    row=1, col=column,
                    marker={
                        "color": color, "symbol": symbol, "opacity": 0.75,
                        "size": [_diameter(row, breakdown) for row in works],
                        "line": {"color": color, "width": 1.5},
                    },
                )  # fmt: skip
        _add_movers(figure, breakdown, color, str(i))
    _lay_out(figure)
    return figure


def _span(breakdowns: Sequence[Breakdown]) -> tuple[float, float]:
    """Least and largest intensity of the picture: every mark and every knee lies within."""
    found = [b.rates.macs_per_s / b.rates.bytes_per_s for b in breakdowns]
    for b in breakdowns:
        found += [row.macs_per_byte for row in (*b.parts, *b.operators) if row.macs_per_byte > 0]
    return min(found) / 2, max(found) * 2


def _roof(rates: DeviceRates, span: tuple[float, float], color: str) -> dict[str, Any]:
    """Copies bound the left, products the right; they meet in the knee."""
    (low, high), knee = span, rates.macs_per_s / rates.bytes_per_s
    return {
        "x": [low, knee, high],
        "y": [low * rates.bytes_per_s / 1e9, rates.macs_per_s / 1e9, rates.macs_per_s / 1e9],
        "mode": "lines",
        "line": {"color": color, "width": 2},
        "hoverinfo": "text",
        "hovertext": [
            f"{rates.bytes_per_s / 1e9:,.1f} GB/s in copies",
            f"the roofs meet at {knee:.3g} MACs/byte",
            f"{rates.macs_per_s / 1e9:,.1f} GMAC/s in matrix products",
        ],
    }


def _marks(rows: Sequence[BreakdownRow], breakdown: Breakdown, *, named: bool) -> dict[str, Any]:
    """Positions and texts; the names stand above and below in turn."""
    least = LABELLED * breakdown.total_s if named else math.inf
    return {
        "x": [row.macs_per_byte for row in rows],
        "y": [row.macs / row.time_s / 1e9 for row in rows],
        "mode": "markers+text",
        "text": [_name(row) if row.time_s >= least else "" for row in rows],
        "textposition": [("top center", "bottom center")[i % 2] for i in range(len(rows))],
        "hovertext": [_hover(row, breakdown) for row in rows],
        "hoverinfo": "text",
    }


def _add_movers(figure: Any, breakdown: Breakdown, color: str, group: str) -> None:
    """Bars of operators that multiply nothing, and the copy rate beside them."""
    movers = [r for r in breakdown.operators if not r.macs and r.moved_bytes and r.time_s > 0]
    if movers:
        figure.add_bar(
            x=[_name(row) for row in movers],
            y=[row.moved_bytes / row.time_s / 1e9 for row in movers],
            hovertext=[_hover(row, breakdown) for row in movers],
            hoverinfo="text", marker={"color": color}, showlegend=False, legendgroup=group,
            row=1, col=3,
        )  # fmt: skip
        figure.add_hline(
            y=breakdown.rates.bytes_per_s / 1e9, line={"color": color, "dash": "dash", "width": 1},
            annotation_text="copy rate", annotation_position="top right",
            annotation_font_color=color, row=1, col=3,
        )  # fmt: skip


def _name(row: BreakdownRow) -> str:
    return escape(OPERATOR_NAMES.get(row.name, row.name))


def _diameter(row: BreakdownRow, breakdown: Breakdown) -> float:
    """A mark's area grows with its share of the time."""
    share = row.time_s / breakdown.total_s if breakdown.total_s else 0.0
    return SMALLEST + (LARGEST - SMALLEST) * math.sqrt(share)


def _hover(row: BreakdownRow, breakdown: Breakdown) -> str:
    """Plotly reads a few HTML tags in hover texts: the name is escaped."""
    share = row.time_s / breakdown.total_s if breakdown.total_s else 0.0
    lines = [
        _name(row),
        f"{row.time_s * 1e3:.3f} ms, {share:.1%} of the time",
        f"{row.macs / 1e9:.4g} GMACs, {row.moved_bytes / 1e6:.4g} MB",
        f"{row.macs_per_byte:.3g} MACs/byte",
        f"{row.attained(breakdown.rates):.0%} of the {row.bound(breakdown.rates)} roof",
    ]
    if row.copy_s > 0:
        lines.append(f"{row.copy_s * 1e3:.3f} ms in layout copies")
    return "<br>".join(lines)


def _lay_out(figure: Any) -> None:
    figure.update_layout(
        template="none", paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, height=560, barmode="group",
        margin={"t": 70, "r": 12, "l": 62, "b": 90},
        legend={"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
    )  # fmt: skip
    logarithmic = {"type": "log", "gridcolor": GRID, "zeroline": False, "dtick": "D2"}
    for column in (1, 2):
        figure.update_xaxes(title_text="MACs/byte", row=1, col=column, **logarithmic)
        figure.update_yaxes(row=1, col=column, **logarithmic)
    figure.update_yaxes(title_text="GMAC/s", row=1, col=1)
    figure.update_yaxes(matches="y", row=1, col=2)
    figure.update_yaxes(title_text="GB/s", gridcolor=GRID, rangemode="tozero", row=1, col=3)
