"""Breakdowns under the roofs of their devices, as one HTML file that needs no network.

Source of the picture: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance
Model for Multicore Architectures", CACM 2009. Here the roofs are rates that the device itself was
seen to reach, not those of a data sheet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from typing import Any

from dilnas.errors import DependencyError, InputError
from dilnas.files import write_atomic
from dilnas.records import Breakdown, Profile
from dilnas.report.breakdown import OPERATOR_NAMES, breakdown_rows
from dilnas.report.measured import workload_words

__all__ = ["write_roofline"]

_COLUMNS = (
    ("kind", "", ""),
    ("name", "", ""),
    ("ms", "time_ms", ".2f"),
    ("of the time", "time_share", ".1%"),
    ("in copies, ms", "copy_ms", ".2f"),
    ("GMACs", "gmacs", ".3f"),
    ("MB", "moved_mb", ".1f"),
    ("MACs/byte", "macs_per_byte", ".2f"),
    ("of its roof", "attained", ".0%"),
    ("nearer roof", "bound", ""),
)
"""Title of a column, the field of ``breakdown_rows`` and how its numbers are shown."""


def write_roofline(profiles: Profile | Sequence[Profile], path: str | os.PathLike[str]) -> None:
    """Write ``path``: parts and operators of each profile's breakdown under its device's roofs.

    About 5 MB, plotly inside. Profiles without a breakdown are left out. Raises InputError when
    none has one or the file cannot be written, DependencyError without plotly.
    """
    given = (profiles,) if isinstance(profiles, Profile) else tuple(profiles)
    shown = [(p, p.breakdown) for p in given if p.breakdown is not None]
    if not shown:
        raise InputError("there is no breakdown to draw", where="--roofline")
    try:
        from dilnas.report.roofline_figure import roofline_figure

        figure = roofline_figure([(_heading(profile), one) for profile, one in shown])
    except ImportError as error:
        raise DependencyError("needs plotly, which is not installed", where="--roofline") from error
    page = _PAGE.format(
        title=escape(" and ".join(dict.fromkeys(_heading(profile) for profile, _ in shown))),
        device=escape("; ".join(dict.fromkeys(_device(profile) for profile, _ in shown))),
        figure=figure.to_html(
            full_html=False, include_plotlyjs=True, div_id="roofline",
            config={"displayModeBar": False, "responsive": True},
        ),
        breakdowns="".join(_section(profile, one) for profile, one in shown),
    )  # fmt: skip
    write_atomic(path, page)


def _heading(profile: Profile) -> str:
    return f"{profile.name}, {workload_words(profile)}"


def _device(profile: Profile) -> str:
    e = profile.environment
    if e is None:
        return profile.workload.device
    cpu = not profile.workload.device.startswith("cuda")
    return f"{e.device_name}{f', {e.threads} threads' if cpu else ''}, torch {e.torch}"


def _section(profile: Profile, breakdown: Breakdown) -> str:
    """Sentences and the table of one breakdown; every text escaped."""
    doubts = (*breakdown.doubts, *(f"roofs: {text}" for text in breakdown.rates.doubts))
    sentences = "".join(f'<p class="dim">doubt: {escape(text)}</p>' for text in doubts)
    return (
        f"<h2>{escape(_heading(profile))}</h2><p>{escape(breakdown.bottleneck)}</p>"
        f'<p class="dim">{escape(breakdown.method)}; sum {breakdown.total_s * 1e3:.2f} ms, plain'
        f" median {breakdown.plain_s * 1e3:.2f} ms.</p>{sentences}"
        f'<div class="wide">{_table(breakdown)}</div>'
    )


def _table(breakdown: Breakdown) -> str:
    head = "".join(f"<th{_side(form)}>{title}</th>" for title, _, form in _COLUMNS)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_side(form)}>{escape(_shown(row, field or title, form))}</td>"
            for title, field, form in _COLUMNS
        )
        + "</tr>"
        for row in breakdown_rows(breakdown)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(row: dict[str, Any], field: str, form: str) -> str:
    value = row[field]
    if value is None:
        return "–"
    if field == "name":
        return OPERATOR_NAMES.get(str(value), str(value))
    return f"{value:{form}}"


def _side(form: str) -> str:
    """Numbers are aligned on the right."""
    return ' class="number"' if form else ""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: roofline</title>
<style>
 :root {{ color-scheme: light dark; --ink: #222; --dim: #666; --page: #fff; --rule: #8884 }}
 @media (prefers-color-scheme: dark) {{
   :root {{ --ink: #ddd; --dim: #a0a4ab; --page: #16181c }}
 }}
 body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem;
        padding: 0 1rem; color: var(--ink); background: var(--page) }}
 h1 {{ font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }}
 h2 {{ font-size: 1.1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere }}
 p {{ margin: 0; max-width: 60rem; overflow-wrap: anywhere }} .dim {{ color: var(--dim) }}
 .wide {{ overflow-x: auto; margin: .5rem 0 1rem }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
 th, td {{ padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left;
          white-space: nowrap }}
 .number {{ text-align: right }}
</style></head><body>
<h1>{title}</h1>
<p class="dim">{device}</p>
{figure}
<p class="dim">Left and middle: each mark is an operator or a part of the network, as large as its
share of the time. It lies as high as it multiplies, and as far right as it multiplies for each byte
that it must move; the lines are what this device was seen to do with large matrix products and
large copies. Right: operators that multiply nothing, by the bytes that they must move a second;
beyond the dashed line their data stay in caches. Bytes are counted once for each operator: inputs,
outputs and weights.</p>
{breakdowns}
<script>
 const dark = matchMedia("(prefers-color-scheme: dark)");
 const ink = () => Plotly.relayout("roofline", {{"font.color": dark.matches ? "#ddd" : "#222"}});
 dark.addEventListener("change", ink); ink();
</script>
</body></html>
"""
