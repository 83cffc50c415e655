"""The report of a run as one HTML file that needs no network: tables by Python, charts by plotly.

Every text from files is escaped here, or given to the page's script as JSON, which escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.report.audit import AUDIT_TITLES, audit_cells, audit_notes, read_audit
from dilnas.report.front import front_cells
from dilnas.report.front_data import Point, number
from dilnas.report.importance import importance
from dilnas.report.page import chart_page, html_table, section, warnings_html
from dilnas.report.run_data import RunData
from dilnas.runs import RunDirectory

__all__ = ["report_html", "spend_cells", "spend_table", "write_report"]

MOST_TRIALS = 1000
"""Rows of the table of all trials; more make a page slow, and are in trials.csv."""

COSTS = {"gflops": "GFLOPs", "mparams": "params M", "memory_mb": "MB", "predicted_ms": "pred. ms"}
"""Columns of trials.csv and their titles."""

SPEND_TITLES = ("spent on", "candidates", "trainings", "worker hours", "GPU hours", "images")

SPENT_ON = {
    "complete": "trained to the end", "pruned": "stopped early", "running": "not ended yet",
    "failed": "failed", "rejected": "rejected", "lost": "lost with a kill, begun again",
    "final": "trained again at the end", "total": "in all",
}  # fmt: skip


def write_report(run: RunDirectory, out: Path | None = None) -> Path:
    """Write the report of ``run`` to ``out`` (None: its ``report.html``) and say where it is.

    About 5 MB, plotly inside. Raises RunError where no trial was trained to the end yet, a file of
    the run is damaged, or the report cannot be written; nothing is written then.
    """
    path = run.report_html if out is None else out
    write_atomic(path, report_html(RunData.of(run)), kind=RunError)
    return path


def report_html(data: RunData) -> str:
    """The page."""
    picture, document = data.picture, data.document()
    found = data.choices()
    scores = [point.accuracy or 0.0 for point, _ in found]
    ranked = importance([choices for _, choices in found], scores)
    document["importance"] = ranked.shares
    document["parallel"] = _parallel(found)
    title = escape(picture.title)
    body = "".join(
        [
            _head(data),
            _front(data),
            section("All trials", _trials(data)),
            _choices(document["parallel"], ranked.note, bool(ranked.shares)),
            section("Learning curves", _chart("curves-chart"), CURVES),
            _growth(data.history),
            section("Spent", _spend(data.spend)) if data.spend else "",
            _audit(data.run),
            section("How to read this", READ),
        ]
    )
    return chart_page(title=f"{title}: report", body=body, data=document, script="run.js")


def _head(data: RunData) -> str:
    p, shown = data.picture, warnings_html([data.so_far, data.profiled.problem])
    return (
        f"<h1>{escape(p.title)}</h1><p>{escape(p.summary())}</p>"
        f'<p class="dim">{escape(p.origin())}</p>{shown}'
    )


def _front(data: RunData) -> str:
    titles, rows, numeric = front_cells(data.front)
    trials = [row.get("trial") for row in data.front]
    table = html_table(
        titles, rows, numeric, ["reference" if t is None else "" for t in trials], trials=trials
    )
    return section(
        "Front",
        '<div class="controls"><label>across <select id="x-axis"></select></label>'
        '<label>up <select id="y-axis"></select></label></div>'
        f'{_chart("front-chart", "")}<p class="dim" id="beyond"></p>'
        '<p class="dim">Hover or tap a point to see its architecture; click it, or a row below, to'
        ' pick it.</p><div id="picked" aria-live="polite"></div>'
        f'<div class="wide">{table}</div>',
    )  # fmt: skip


def _chart(name: str, size: str = "small") -> str:
    return f'<div id="{name}" class="chart {size}"></div>'


def _trials(data: RunData) -> str:
    """Every trial with its state and why, in a table that opens on demand."""
    columns = ("trial", "state", "val_accuracy", "gflops", "mparams", "memory_mb", "predicted_ms",
               "layout", "origin", "images", "reason")  # fmt: skip
    names = [c for c in columns if any(row.get(c) is not None for row in data.trials)]
    rows = [[_cell(name, row.get(name)) for name in names] for row in data.trials[:MOST_TRIALS]]
    numeric = [name not in ("state", "layout", "origin", "reason") for name in names]
    titles = {"val_accuracy": "val %", **COSTS}
    table = html_table(
        [titles.get(name, name) for name in names], rows, numeric,
        trials=[row.get("trial") for row in data.trials[:MOST_TRIALS]], long="reason",
    )  # fmt: skip
    cut = len(data.trials) - len(rows)
    more = f"<p>{cut:,} more are in trials.csv.</p>" if cut > 0 else ""
    count = f"{len(data.trials):,} trials, each with its state and the reason"
    return f'<details><summary>{count}</summary><div class="wide">{table}</div>{more}</details>'


def _cell(name: str, value: Any) -> str:
    plain = number(value)
    if value is None or plain is None:
        return "–" if value is None else str(value)
    if name == "val_accuracy":
        return f"{100 * plain:.2f}"
    return f"{plain:,.0f}" if isinstance(value, int) else f"{plain:.3f}"


def _parallel(found: Sequence[tuple[Point, Mapping[str, float | str]]]) -> dict[str, Any]:
    """Choices that vary and costs as axes, a line a trial, coloured by its accuracy in percent."""
    scored = [(p, choices) for p, choices in found if p.accuracy is not None]
    names = [n for n in scored[0][1] if all(n in c for _, c in scored)] if scored else []
    dimensions = [_axis(name, [choices[name] for _, choices in scored]) for name in names]
    dimensions = [axis for axis in dimensions if len(set(axis["values"])) > 1]
    for name, title in COSTS.items():
        values = [number(point.row.get(name)) for point, _ in scored]
        if None not in values and len(set(values)) > 1:
            dimensions.append({"label": title, "values": values})
    accuracy = [100 * (point.accuracy or 0.0) for point, _ in scored]
    dimensions.append({"label": "accuracy (%)", "values": accuracy})
    return {"dimensions": dimensions, "accuracy": accuracy}


def _axis(name: str, values: Sequence[float | str]) -> dict[str, Any]:
    """Numbers as they are, texts at whole numbers with the texts beside them."""
    if all(isinstance(value, int | float) for value in values):
        return {"label": name, "values": list(values)}
    texts = sorted(set(map(str, values)))
    return {
        "label": name, "values": [texts.index(str(value)) for value in values],
        "tickvals": list(range(len(texts))), "ticktext": texts,
    }  # fmt: skip


def _choices(parallel: Mapping[str, Any], note: str, ranked: bool) -> str:
    width = max(20, 4.6 * len(parallel["dimensions"]))
    lines = f'<div class="scroll"><div style="min-width: {width:.0f}rem">'
    lines += f"{_chart('parallel-chart')}</div></div>"
    bars = _chart("importance-chart") if ranked else ""
    return section("Choices and accuracy", lines, PARALLEL) + section(
        "Which choices matter", bars, escape(note)
    )


def _growth(history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return ""
    charts = _chart("growth-trials")
    if any(number(row.get("seconds")) is not None for row in history):
        charts += _chart("growth-seconds")
    return section("How the front grew", f'<div class="two">{charts}</div>', GROWTH)


def spend_cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Texts of spend.csv: on what, candidates, trainings, hours of workers and GPUs, images."""
    shown = [r for r in rows if r.get("on") == "total" or r.get("candidates") or r.get("units")]
    return [
        [
            SPENT_ON.get(str(row.get("on")), str(row.get("on"))),
            *(f"{number(row.get(n)) or 0:,.0f}" for n in ("candidates", "units")),
            *(f"{(number(row.get(n)) or 0) / 3600:.3f}" for n in ("worker_seconds", "gpu_seconds")),
            f"{number(row.get('images')) or 0:,.0f}",
        ]
        for row in shown
    ]


def spend_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in SPEND_TITLES:
        table.add_column(title, justify="left" if title == "spent on" else "right")
    for cells in spend_cells(rows):
        table.add_row(*map(Text, cells))
    return table


def _spend(rows: Sequence[Mapping[str, Any]]) -> str:
    numeric = [title != "spent on" for title in SPEND_TITLES]
    return f'<div class="wide">{html_table(SPEND_TITLES, spend_cells(rows), numeric)}</div>'


def _audit(run: RunDirectory) -> str:
    """The audit as a section of the page; empty where the run has none."""
    if not run.audit_json_path.is_file():
        return ""
    document = read_audit(run)
    table = html_table(
        AUDIT_TITLES, audit_cells(document), [title in ("n", "pairs") for title in AUDIT_TITLES]
    )
    notes = escape(" ".join(audit_notes(document)))
    return section("Audit", f'<div class="wide">{table}</div>', notes)


CURVES = (
    "Each trial's score at every rung; the front is drawn thicker. Only trials at the same number"
    " of images compare."
)
PARALLEL = (
    "A line is a trial that was trained to the end; drag along an axis to keep only the trials that"
    " pass there."
)
GROWTH = (
    "Share of the box between zero cost, zero error and the reference point that the front"
    " dominates, after each trial that was trained to the end."
)
READ = """<p class="dim">D: blocks with multi-scale dilated attention, G: with global attention;
dilations and windows of the stages that have D blocks. MB: weights and live activations of one
image in fp32. GFLOPs as in the paper and fvcore: one multiply-add counts 1. Accuracies are those of
small, short proxy trainings: they rank the candidates of this search and say nothing of full
training. Those of trials that were stopped early come from fewer images and compare only with one
another. The front was chosen on the validation split by one training each, so its accuracies there
are partly luck. final: mean ± standard deviation of trainings with other seeds (the bars in the
picture); test: of the same on the test split, or of the search's own network where none were made.
noise: clear, better than every cheaper member by more than the noise; = #N, no better than the
cheaper #N as far as can be told; &lt; #N, worse than it. Failed and rejected trials have no score
and stand on the lower edge.</p>
"""
