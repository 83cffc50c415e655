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
from dilnas.report.page import figure_html, html_page, html_table

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
    title = escape(" and ".join(dict.fromkeys(_heading(profile) for profile, _ in shown)))
    body = _BODY.format(
        title=title,
        device=escape("; ".join(dict.fromkeys(_device(profile) for profile, _ in shown))),
        figure=figure_html(figure, "roofline"),
        breakdowns="".join(_section(profile, one) for profile, one in shown),
    )
    page = html_page(title=f"{title}: roofline", body=body, figure="roofline")
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
    return html_table(
        [title for title, _, _ in _COLUMNS],
        [
            [_shown(row, field or title, form) for title, field, form in _COLUMNS]
            for row in breakdown_rows(breakdown)
        ],
        [bool(form) for _, _, form in _COLUMNS],
    )


def _shown(row: dict[str, Any], field: str, form: str) -> str:
    value = row[field]
    if value is None:
        return "–"
    if field == "name":
        return OPERATOR_NAMES.get(str(value), str(value))
    return f"{value:{form}}"


_BODY = """<h1>{title}</h1>
<p class="dim">{device}</p>
{figure}
<p class="dim">Left and middle: each mark is an operator or a part of the network, as large as its
share of the time. It lies as high as it multiplies, and as far right as it multiplies for each byte
that it must move; the lines are what this device was seen to do with large matrix products and
large copies. Right: operators that multiply nothing, by the bytes that they must move a second;
beyond the dashed line their data stay in caches. Bytes are counted once for each operator: inputs,
outputs and weights.</p>
{breakdowns}"""
