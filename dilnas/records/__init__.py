"""What is known of an architecture, as plain frozen data: no torch, a unit in every name.

Cost is exact (a closed form), Measurement, Memory, Energy and Breakdown are observed (raw samples
and what makes them doubtful), Prediction is estimated (with an interval). They are never merged; a
Profile holds them side by side, and ``profile_dict`` and ``profile_from_dict`` take it to JSON and
back.
"""

from __future__ import annotations

from dilnas.records.breakdown import Breakdown, BreakdownRow, DeviceRates
from dilnas.records.comparison import VERDICTS, Comparison, Contender, Verdict
from dilnas.records.costs import OPERATORS, Cost, CostRow
from dilnas.records.counters import CounterReport, CounterRow
from dilnas.records.documents import (
    COMPARISON_FORMAT,
    PROFILE_FORMAT,
    TASK_FORMAT,
    comparison_dict,
    images_per_s,
    profile_dict,
    profiles_dict,
    task_profile_dict,
)
from dilnas.records.observed import Energy, Measurement, Memory
from dilnas.records.paths import profile_path
from dilnas.records.prediction import Prediction
from dilnas.records.profile import Profile
from dilnas.records.reading import comparison_from_dict, load_profiles, profile_from_dict
from dilnas.records.schemas import schema
from dilnas.records.tasks import ROLES, TaskCost, TaskPart, TaskProfile
from dilnas.records.workload import Environment, Workload

__all__ = [
    "COMPARISON_FORMAT",
    "OPERATORS",
    "PROFILE_FORMAT",
    "ROLES",
    "TASK_FORMAT",
    "VERDICTS",
    "Breakdown",
    "BreakdownRow",
    "Comparison",
    "Contender",
    "Cost",
    "CostRow",
    "CounterReport",
    "CounterRow",
    "DeviceRates",
    "Energy",
    "Environment",
    "Measurement",
    "Memory",
    "Prediction",
    "Profile",
    "TaskCost",
    "TaskPart",
    "TaskProfile",
    "Verdict",
    "Workload",
    "comparison_dict",
    "comparison_from_dict",
    "images_per_s",
    "load_profiles",
    "profile_dict",
    "profile_from_dict",
    "profile_path",
    "profiles_dict",
    "schema",
    "task_profile_dict",
]
