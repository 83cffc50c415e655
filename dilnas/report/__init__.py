"""Records as tables, data frames, CSV and pictures; nothing here measures or decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.report.document import profile_json
    from dilnas.report.frames import cost_frame, profiles_frame
    from dilnas.report.front import front_table, write_front_html
    from dilnas.report.front_svg import write_front_svg
    from dilnas.report.tables import operator_table, profile_view, stage_table

__all__ = [
    "cost_frame",
    "front_table",
    "operator_table",
    "profile_json",
    "profile_view",
    "profiles_frame",
    "stage_table",
    "write_front_html",
    "write_front_svg",
]

_HOMES = {
    "cost_frame": "frames",
    "front_table": "front",
    "operator_table": "tables",
    "profile_json": "document",
    "profile_view": "tables",
    "profiles_frame": "frames",
    "stage_table": "tables",
    "write_front_html": "front",
    "write_front_svg": "front_svg",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
