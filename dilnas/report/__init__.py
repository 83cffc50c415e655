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
    from dilnas.report.front import front_table
    from dilnas.report.front_svg import write_front_svg
    from dilnas.report.roofline import write_roofline
    from dilnas.report.run_compare import RunComparison
    from dilnas.report.run_data import RunData
    from dilnas.report.run_page import write_report
    from dilnas.report.sweep import sweep_view
    from dilnas.report.tables import operator_table, profile_view, stage_table
    from dilnas.report.tensorboard import write_tensorboard

__all__ = [
    "RunComparison",
    "RunData",
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
    "write_front_svg",
    "write_profiles",
    "write_report",
    "write_roofline",
    "write_tensorboard",
]

_HOMES = {
    "RunComparison": "run_compare",
    "RunData": "run_data",
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
    "write_front_svg": "front_svg",
    "write_profiles": "document",
    "write_report": "run_page",
    "write_roofline": "roofline",
    "write_tensorboard": "tensorboard",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
