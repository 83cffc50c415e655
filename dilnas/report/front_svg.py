"""A front as a small SVG written by hand: no dependency, light and dark, safe for any text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.report.front_data import FrontPicture, Point
from dilnas.runs import RunDirectory

__all__ = ["front_svg", "ticks", "write_front_svg"]

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 48, 56
MOST_TITLE = 20
"""Characters of a run's name that fit beside the legend."""

# Okabe and Ito's colours, told apart by every kind of colour vision, and shapes beside them.
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px }
  .page { fill: #fff } .grid { stroke: #8884 } .front { fill: #0072b2 }
  .trial { fill: #888 } .stopped { fill: none; stroke: #888 } .failed { stroke: #888 }
  .budget { stroke: #888; stroke-dasharray: 7 4 } text.name.front { fill: #0072b2 }
  .line { stroke: #0072b2; stroke-width: 2; fill: none }
  .reference { stroke: #d55e00; stroke-dasharray: 4 3 } .known { fill: #d55e00 }
  text.name { fill: #b04a00 } .again { stroke: #7a5195; stroke-width: 2; fill: none }
  @media (prefers-color-scheme: dark) {
    .page { fill: #16181c } text { fill: #ddd } .line { stroke: #56b4e9 }
    .front, text.name.front { fill: #56b4e9 }
    .again { stroke: #c9a6e0 } .reference { stroke: #e69f00 } .known { fill: #e69f00 }
    text.name { fill: #e69f00 }
  }
"""


def write_front_svg(run: RunDirectory) -> Path:
    """Write ``front.svg`` into the run's directory and return its path.

    Raises RunError when there is no front or the directory cannot be written.
    """
    write_atomic(run.front_svg, front_svg(FrontPicture.of(run)), kind=RunError)
    return run.front_svg


@dataclass(frozen=True, slots=True)
class _Scale:
    """Linear map of [low, high] onto pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose [low, high]."""
    if not high - low > max(1e-6 * abs(low), 1e-12):  # one point, or none that an eye tells apart
        reach = abs(low) * 0.1 or 1.0
        low, high = low - reach, high + reach
    raw = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def front_svg(picture: FrontPicture) -> str:
    """The picture as an SVG document."""
    scored = (*picture.front, *picture.others, *picture.stopped, *picture.drawn)
    ys = [100 * p.accuracy for p in scored if p.accuracy is not None]
    ys += [100 * y for p in picture.retrained for y in _ends(p)]
    lowest = min(0.0, *(p.x for p in picture.front))
    x_ticks, y_ticks = ticks(lowest, picture.highest_cost()), ticks(min(ys), max(ys))
    x = _Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    y = _Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    title = escape(picture.title)
    size = f'width="{1.25 * WIDTH:.0f}" height="{1.25 * HEIGHT:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' role="img">',
        f"<title>Front of {title}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="24">{_shortened(picture.title)}</text>',
        *_axes(picture, x, y, x_ticks, y_ticks),
        *_budget(picture, x),
        *_references(picture.drawn, x, y),
        *(_circle(p, x, y, "stopped", 3) for p in picture.stopped),
        *(_circle(p, x, y, "trial", 3) for p in picture.others),
        *(_cross(p, x(p.x)) for p in picture.failed),
        _staircase(picture, x, y),
        *(_circle(p, x, y, "front", 5) for p in picture.front),
        *(_again(p, x, y) for p in picture.retrained),
        *(_front_name(p, x, y) for p in picture.front),
        *_legend(picture),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _shortened(title: str) -> str:
    """Room for the legend beside it; the whole name is the picture's <title>."""
    return escape(title if len(title) <= MOST_TITLE else title[: MOST_TITLE - 1] + "…")


def _axes(
    picture: FrontPicture, x: _Scale, y: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]
) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in x_ticks:
        at = f"{x(value):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    for value in y_ticks:
        at = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        label = f'<text x="{LEFT - 8}" y="{at}" dy="4" text-anchor="end">{value:g} %</text>'
        parts.append(label)
    name, beyond = escape(picture.axis_label), picture.beyond
    place = f'x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle"'
    if len(beyond) > 1:  # room for their names
        place = f'x="{LEFT}" y="{HEIGHT - 14}"'
    parts.append(f"<text {place}>{name}</text>")
    parts.append(f'<text class="small" x="{LEFT}" y="{TOP - 8}">validation accuracy</text>')
    if beyond:
        names = ", ".join(f"{p.short} {p.x:.3g}" for p in beyond)
        place = f'x="{right}" y="{HEIGHT - 14}" text-anchor="end"'
        parts.append(f'<text class="name small" {place}>{escape(names)} →</text>')
    return parts


def _budget(picture: FrontPicture, x: _Scale) -> list[str]:
    """The limit that the search kept to, as a dashed line with its name on the left."""
    if picture.budget is None:
        return []
    at = f"{x(picture.budget):.1f}"
    place = f'x="{at}" y="{HEIGHT - BOTTOM - 8}" dx="-6" text-anchor="end"'
    return [
        f'<line class="budget" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="small" {place}>budget {picture.budget:g}</text>',
    ]


def _references(points: Sequence[Point], x: _Scale, y: _Scale) -> list[str]:
    """A trained variant is a square; one that was not trained has a cost only: a dashed line."""
    parts = []
    for point in points:
        at = x(point.x)
        tip = f"<title>{escape(chr(10).join(point.hover))}</title>"
        if point.accuracy is None:
            line = f'x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
            parts.append(f'<line class="reference" {line}>{tip}</line>')
            height: float = TOP + 12
        else:
            height = y(100 * point.accuracy)
            box = f'x="{at - 5:.1f}" y="{height - 5:.1f}" width="10" height="10"'
            parts.append(f'<rect class="known" {box}>{tip}</rect>')
        parts.append(_name(point, at, height))
    return parts


def _ends(point: Point) -> tuple[float, float]:
    """Mean of a point's re-trainings less and plus their standard deviation."""
    assert point.final is not None
    mean, std = point.final
    return mean - std, mean + std


def _again(point: Point, x: _Scale, y: _Scale) -> str:
    """A bar from the mean less to the mean plus the standard deviation, a dash at the mean."""
    assert point.final is not None
    at, (low, high) = x(point.x), _ends(point)
    middle = y(100 * point.final[0])
    path = f"M{at:.1f} {y(100 * low):.1f}V{y(100 * high):.1f}M{at - 7:.1f} {middle:.1f}h14"
    return f'<path class="again" d="{path}"/>'


def _name(point: Point, x: float, y: float) -> str:
    """The name beside a point, on the side where there is room."""
    side = 'dx="-8" text-anchor="end"' if x > WIDTH * 0.8 else 'dx="8"'
    name = escape(point.short)
    return f'<text class="name small" x="{x:.1f}" y="{y:.1f}" {side}>{name}</text>'


def _front_name(point: Point, x: _Scale, y: _Scale) -> str:
    """The trial's number at the upper left of its mark, where no step of the front passes."""
    place = f'x="{x(point.x) - 6:.1f}" y="{y(100 * (point.accuracy or 0)) - 6:.1f}"'
    kind = "name small" if point.row.get("reference") is not None else "name front small"
    return f'<text class="{kind}" {place} text-anchor="end">{escape(point.short)}</text>'


def _cross(point: Point, x: float) -> str:
    """A failed trial has a cost but no accuracy: a cross on the lower edge."""
    tip, y = escape("\n".join(point.hover)), HEIGHT - BOTTOM
    path = f"M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"
    return f'<path class="failed" d="{path}"><title>{tip}</title></path>'


def _circle(point: Point, x: _Scale, y: _Scale, kind: str, radius: int) -> str:
    assert point.accuracy is not None
    tip = escape("\n".join(point.hover))
    place = f'cx="{x(point.x):.1f}" cy="{y(100 * point.accuracy):.1f}" r="{radius}"'
    return f'<circle class="{kind}" {place}><title>{tip}</title></circle>'


def _staircase(picture: FrontPicture, x: _Scale, y: _Scale) -> str:
    corners = " ".join(f"{x(a):.1f},{y(100 * b):.1f}" for a, b in picture.steps())
    return f'<polyline class="line" points="{corners}"/>'


def _legend(picture: FrontPicture) -> list[str]:
    """Marks with their names and numbers, right-aligned in the title's line."""
    entries = [
        ('<circle class="front" cx="{x}" cy="20" r="5"/>', "front", len(picture.front)),
        ('<circle class="trial" cx="{x}" cy="20" r="3"/>', "trained", len(picture.others)),
        ('<circle class="stopped" cx="{x}" cy="20" r="3"/>', "stopped early", len(picture.stopped)),
        ('<path class="failed" d="M{x} 20m-4 -4l8 8m0 -8l-8 8"/>', "failed", len(picture.failed)),
        ('<path class="again" d="M{x} 14v12m-7 -6h14"/>', "re-trained", len(picture.retrained)),
    ]
    shown = [(mark, f"{name} ({count})") for mark, name, count in entries if count]
    at = WIDTH - RIGHT - sum(24 + 6 * len(text) for _, text in shown)
    parts = []
    for mark, text in shown:
        parts.append(mark.format(x=at + 6))
        parts.append(f'<text class="small" x="{at + 15}" y="24">{text}</text>')
        at += 24 + 6 * len(text)
    return parts
