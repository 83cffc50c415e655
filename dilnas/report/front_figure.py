"""A front as an interactive plotly figure; plotly is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from dilnas.report.front_data import FrontPicture, Point

__all__ = ["front_figure"]

BLUE, ORANGE, GREY = "#2a8bd0", "#d55e00", "#888888"
"""After Okabe and Ito, told apart by every kind of colour vision, on white and on near-black.
Each group has a shape of its own too."""

INK = "#7a5195"
"""Of re-trainings; a bar and not a mark, so that its shape tells it apart."""

GRID = "rgba(128,128,128,0.25)"
CLEAR = "rgba(0,0,0,0)"


def front_figure(picture: FrontPicture) -> Any:
    """A ``plotly.graph_objects.Figure``: accuracy in percent against cost, text as hover."""
    import plotly.graph_objects as go

    figure = go.Figure()
    corners = picture.steps()
    figure.add_scatter(
        x=[a for a, _ in corners], y=[100 * b for _, b in corners], mode="lines",
        line={"color": BLUE, "width": 2}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    trained = [p for p in picture.drawn if p.accuracy is not None]
    for points, name, color, symbol, size in (
        (picture.stopped, "stopped early", GREY, "circle-open", 7),
        (picture.others, "trained to the end", GREY, "circle", 8),
        (_at_the_bottom(picture), "failed", GREY, "x-thin-open", 8),
        (picture.front, "front", BLUE, "diamond", 12),
        (trained, "the paper's variants", ORANGE, "square", 10),
    ):
        if points:
            figure.add_scatter(**_markers(points), name=name, marker={
                "color": color, "symbol": symbol, "size": size,
                "line": {"width": 1.5, "color": color},
            })  # fmt: skip
    _add_retrained(figure, picture)
    _add_lines(figure, picture)
    _lay_out(figure, picture)
    return figure


def _add_retrained(figure: Any, picture: FrontPicture) -> None:
    """Mean of each point's re-trainings, with their standard deviation as a bar."""
    known = [(p.x, *p.final) for p in picture.retrained if p.final is not None]
    if known:
        figure.add_scatter(
            x=[x for x, _, _ in known], y=[100 * mean for _, mean, _ in known], mode="markers",
            name="re-trained, mean and sd", hoverinfo="skip",
            error_y={"type": "data", "array": [100 * std for _, _, std in known], "width": 4},
            marker={"color": INK, "symbol": "line-ew-open", "size": 12, "line": {"width": 2}},
        )  # fmt: skip


def _at_the_bottom(picture: FrontPicture) -> list[Point]:
    """Failed trials have a cost but no accuracy: they stand on the lower edge."""
    scored = (*picture.front, *picture.others, *picture.stopped)
    lowest = min(p.accuracy for p in scored if p.accuracy is not None)
    return [Point(p.x, lowest, p.label, p.row) for p in picture.failed]


def _markers(points: Sequence[Point]) -> dict[str, Any]:
    return {
        "x": [p.x for p in points],
        "y": [None if p.accuracy is None else 100 * p.accuracy for p in points],
        "mode": "markers",
        # Plotly reads a few HTML tags in hover texts: what came from files is escaped.
        "hovertext": ["<br>".join(escape(line) for line in p.hover) for p in points],
        "hoverinfo": "text",
    }


def _add_lines(figure: Any, picture: FrontPicture) -> None:
    """The budget, variants that were not trained, and the names of those on the front."""
    lines = [(p.x, p.short, ORANGE, "dot", "top right") for p in picture.drawn if not p.accuracy]
    if picture.budget is not None:
        lines.append((picture.budget, "budget", GREY, "dash", "bottom left"))
    for x, text, color, dash, side in lines:
        figure.add_vline(
            x=x, line={"color": color, "dash": dash, "width": 1}, annotation_text=escape(text),
            annotation_font_color=color, annotation_position=side,
        )  # fmt: skip
    for point in (*picture.front, *picture.drawn):
        if point.accuracy is not None and point.row.get("reference") is not None:
            figure.add_annotation(
                x=point.x, y=100 * point.accuracy, text=escape(point.short), showarrow=False,
                yshift=14, font={"color": ORANGE},
            )  # fmt: skip


def _lay_out(figure: Any, picture: FrontPicture) -> None:
    figure.update_layout(
        template="none",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        height=540,
        margin={"t": 50, "r": 12, "l": 58, "b": 60},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
    )
    right = picture.highest_cost()
    figure.update_xaxes(
        title_text=picture.axis_label, range=[0, 1.08 * right], gridcolor=GRID, zeroline=False
    )
    figure.update_yaxes(title_text="validation accuracy (%)", gridcolor=GRID, zeroline=False)
