"""What is known of an architecture, as plain frozen data: no torch, a unit in every name.

Cost is exact (a closed form), Measurement, Memory, Energy and Breakdown are observed (raw samples
and what makes them doubtful), Prediction is estimated (with an interval). They are never merged; a
Profile holds them side by side, and ``to_dict`` and ``from_dict`` take it to JSON and back.
"""

from __future__ import annotations

from dilnas.records.breakdown import Breakdown, BreakdownRow, DeviceRates
from dilnas.records.comparison import VERDICTS, Comparison, Contender, Verdict
from dilnas.records.costs import OPERATORS, Cost, CostRow
from dilnas.records.counters import CounterReport, CounterRow
from dilnas.records.documents import PROFILE_FORMAT, comparison_dict, profile_dict
from dilnas.records.observed import Energy, Measurement, Memory
from dilnas.records.prediction import Prediction
from dilnas.records.profile import Profile
from dilnas.records.workload import Environment, Workload

__all__ = [
    "OPERATORS",
    "PROFILE_FORMAT",
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
    "Verdict",
    "Workload",
    "comparison_dict",
    "profile_dict",
]
