"""What ``dilnas search`` shows at its end of what it took and how the front grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dilnas.cli.search_screen import clock

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["growth", "spend_table"]

NAMES = {
    "complete": "trained to the end",
    "pruned": "stopped early",
    "running": "not ended yet",
    "failed": "failed",
    "rejected": "rejected",
    "lost": "lost with a kill, begun again",
    "final": "trained again at the end",
    "total": "in all",
}

BARS = "▁▂▃▄▅▆▇█"

STEPS = 4
"""Values of a history that are named."""


def growth(history: Sequence[Mapping[str, Any]]) -> str:
    """The hypervolume as candidates were trained, in a line: bars from 0 to the last, and values.

    >>> growth([{"started": 3, "hypervolume": 0.25}, {"started": 5, "hypervolume": 0.5}])
    'hypervolume ▄█ 0.2500 after 3 candidates, 0.5000 after 5'
    """
    values = [float(row["hypervolume"]) for row in history]
    top = values[-1] or 1.0
    shown = _spread(len(values), 24)
    bars = "".join(BARS[min(7, int(8 * values[i] / top - 1e-9))] for i in shown)
    steps = [f"{values[i]:.4f} after {history[i]['started']}" for i in _spread(len(values), STEPS)]
    steps[0] += " candidate" if steps[0].endswith(" after 1") else " candidates"
    return f"hypervolume {bars} {', '.join(steps)}"


def _spread(length: int, most: int) -> list[int]:
    """At most ``most`` indices up to the last, evenly; all if there are no more."""
    count = min(length, most)
    return [(i + 1) * length // count - 1 for i in range(count)]


def spend_table(rows: Sequence[Mapping[str, Any]], seconds: float) -> Table:
    """What was spent on whom; without rows and columns that are empty."""
    from rich import box
    from rich.table import Table

    gpus = any(row["gpu_seconds"] for row in rows)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(f"spent in {clock(seconds)}", no_wrap=True)
    titles = ("candidates", "trainings", "worker time", *(("GPU time",) if gpus else ()), "images")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        total = row["on"] == "total"
        if not (total or row["candidates"] or row["units"]):
            continue
        table.add_row(
            NAMES[row["on"]], f"{row['candidates']}", f"{row['units']}",
            clock(row["worker_seconds"]),
            *((clock(row["gpu_seconds"]),) if gpus else ()), f"{row['images']:,}",
            style="bold" if total else "",
        )  # fmt: skip
    return table
