"""Records as tables, data frames, CSV and pictures; nothing here measures or decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.report.audit import audit_notes, audit_table
    from dilnas.report.breakdown import breakdown_view
    from dilnas.report.comparison import comparison_view
    from dilnas.report.counters import counters_view
    from dilnas.report.devices import devices_view
    from dilnas.report.document import (
        comparison_json,
        profile_json,
        profiles_json,
        write_profiles,
    )
    from dilnas.report.frames import cost_frame, profiles_frame
    from dilnas.report.front import front_table, write_front_html
    from dilnas.report.front_svg import write_front_svg
    from dilnas.report.roofline import write_roofline
    from dilnas.report.sweep import sweep_view
    from dilnas.report.tables import operator_table, profile_view, stage_table

__all__ = [
    "audit_notes",
    "audit_table",
    "breakdown_view",
    "comparison_json",
    "comparison_view",
    "cost_frame",
    "counters_view",
    "devices_view",
    "front_table",
    "operator_table",
    "profile_json",
    "profile_view",
    "profiles_frame",
    "profiles_json",
    "stage_table",
    "sweep_view",
    "write_front_html",
    "write_front_svg",
    "write_profiles",
    "write_roofline",
]

_HOMES = {
    "audit_notes": "audit",
    "audit_table": "audit",
    "breakdown_view": "breakdown",
    "comparison_json": "document",
    "comparison_view": "comparison",
    "cost_frame": "frames",
    "counters_view": "counters",
    "devices_view": "devices",
    "front_table": "front",
    "operator_table": "tables",
    "profile_json": "document",
    "profile_view": "tables",
    "profiles_frame": "frames",
    "profiles_json": "document",
    "stage_table": "tables",
    "sweep_view": "sweep",
    "write_front_html": "front",
    "write_front_svg": "front_svg",
    "write_profiles": "document",
    "write_roofline": "roofline",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
