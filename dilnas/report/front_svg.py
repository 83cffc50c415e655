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

# Okabe and Ito's colours, told apart by every kind of colour vision, and shapes beside them.
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px }
  .grid { stroke: #8884; } .trial { fill: #8889 } .front { fill: #0072b2 }
  .line { stroke: #0072b2; stroke-width: 2; fill: none }
  .reference { stroke: #d55e00; stroke-dasharray: 4 3 } .known { fill: #d55e00 }
  text.name { fill: #b04a00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .front { fill: #56b4e9 } .line { stroke: #56b4e9 }
    .reference { stroke: #e69f00 } .known { fill: #e69f00 } text.name { fill: #e69f00 }
  }
"""


def write_front_svg(run: RunDirectory) -> Path:
    """Write ``front.svg`` into the run's directory and return its path.

    Raises RunError when there is no front or the directory cannot be written.
    """
    path = run.path / "front.svg"
    write_atomic(path, front_svg(FrontPicture.of(run)), kind=RunError)
    return path


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
    points = (*picture.front, *picture.others, *picture.references)
    xs = [p.x for p in points]
    ys = [100 * p.accuracy for p in points if p.accuracy is not None]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x = _Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    y = _Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    title = escape(picture.title)
    known = [p for p in picture.front if p.row.get("reference") is not None]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>Front of {title}</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{title}</text>',
        *_axes(picture, x, y, x_ticks, y_ticks),
        *_references(picture.references, x, y),
        *(_circle(p, x, y, "trial", 3) for p in picture.others),
        _staircase(picture, x, y),
        *(_circle(p, x, y, "front", 5) for p in picture.front),
        *(_name(p, x(p.x), y(100 * (p.accuracy or 0)) - 9) for p in known),
        *_legend(picture),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


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
    middle = (LEFT + right) / 2
    name = escape(picture.axis_label)
    parts.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{name}</text>')
    parts.append(f'<text class="small" x="{LEFT}" y="{TOP - 8}">validation accuracy</text>')
    return parts


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


def _name(point: Point, x: float, y: float) -> str:
    """The name beside a point, on the side where there is room."""
    side = 'dx="-8" text-anchor="end"' if x > WIDTH * 0.8 else 'dx="8"'
    name = escape(point.label)
    return f'<text class="name small" x="{x:.1f}" y="{y:.1f}" {side}>{name}</text>'


def _circle(point: Point, x: _Scale, y: _Scale, kind: str, radius: int) -> str:
    assert point.accuracy is not None
    tip = escape("\n".join(point.hover))
    place = f'cx="{x(point.x):.1f}" cy="{y(100 * point.accuracy):.1f}" r="{radius}"'
    return f'<circle class="{kind}" {place}><title>{tip}</title></circle>'


def _staircase(picture: FrontPicture, x: _Scale, y: _Scale) -> str:
    corners = " ".join(f"{x(a):.1f},{y(100 * b):.1f}" for a, b in picture.steps())
    return f'<polyline class="line" points="{corners}"/>'


def _legend(picture: FrontPicture) -> list[str]:
    at = WIDTH - RIGHT - 260
    return [
        f'<circle class="front" cx="{at}" cy="18" r="5"/>',
        f'<text class="small" x="{at + 10}" y="22">front ({len(picture.front)})</text>',
        f'<circle class="trial" cx="{at + 84}" cy="18" r="3"/>',
        f'<text class="small" x="{at + 94}" y="22">other trials ({len(picture.others)})</text>',
        f'<line class="reference" x1="{at + 194}" x2="{at + 210}" y1="18" y2="18"/>',
        f'<text class="small" x="{at + 214}" y="22">paper</text>',
    ]
