"""Records as JSON-ready dictionaries: raw values and derived figures, a unit in every name.

``dilnas.records.reading`` is the inverse; ``schema/*.schema.json`` describes the same documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from dilnas.arch import Architecture
from dilnas.records.comparison import Comparison, Contender
from dilnas.records.costs import Cost, CostRow
from dilnas.records.counters import CounterReport, CounterRow
from dilnas.records.observed import Measurement
from dilnas.records.profile import Profile
from dilnas.records.tasks import TaskCost, TaskPart, TaskProfile

__all__ = [
    "COMPARISON_FORMAT",
    "DERIVED",
    "PROFILE_FORMAT",
    "TASK_FORMAT",
    "comparison_dict",
    "images_per_s",
    "profile_dict",
    "profiles_dict",
    "task_profile_dict",
]

PROFILE_FORMAT = 2
"""Version of the Profile JSON, of a single one and of each in a list of them.

1: first (dilnas 0.1): memory and energy notes among the measurement's ``extra``; no
   ``peak_activation_elements``, which is read from ``memory_bytes_fp32``.
2: memory, energy, breakdown, counters, predictions, failure and missing beside it; a list of
   profiles is ``{"dilnas_profiles": 2, "profiles": […]}``.

A field that is added, removed or means something else makes a new version, with a step in
``dilnas.records.reading`` that lifts files of the old one and a file of it under
``tests/records/old``. Fields of the free-form ``facts`` and ``extra`` may come and go.
"""

COMPARISON_FORMAT = 1
"""Version of the Comparison JSON. 1: first."""

TASK_FORMAT = 1
"""Version of the JSON of a dense task's cost. 1: first."""


def images_per_s(batch_size: int, median_s: float) -> float | None:
    """Images a second; None where a median of 0 or almost 0 seconds says nothing."""
    rate = batch_size / median_s if median_s > 0 else math.inf
    return rate if math.isfinite(rate) else None


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "params": cost.params,
        "flops": cost.flops,
        "macs": cost.macs,
        "by_operator": cost.by_operator,
        "weight_bytes_fp32": cost.weight_bytes(),
        "activation_bytes_fp32": cost.activation_bytes(),
        "memory_bytes_fp32": cost.memory_bytes(),
    }


def _task_cost(cost: TaskCost) -> dict[str, Any]:
    return {
        "params": cost.params,
        "flops": cost.flops,
        "macs": cost.macs,
        "by_role": {
            role: {"params": params, "flops": flops}
            for role, (params, flops) in cost.by_role().items()
        },
    }


def _measurement(m: Measurement) -> dict[str, Any]:
    return {
        "median_s": m.median,
        "p5_s": m.percentile(5),
        "p95_s": m.percentile(95),
        "p99_s": m.percentile(99),
    }


DERIVED: dict[type, Callable[[Any], dict[str, Any]]] = {
    Cost: _cost,
    CostRow: lambda row: {"flops": row.flops, "macs": row.macs},
    Measurement: _measurement,
    CounterRow: lambda row: {"residual": row.residual},
    CounterReport: lambda report: {"total": report.total, "residual": report.residual},
    Contender: lambda contender: {"median_s": contender.median_s},
    TaskCost: _task_cost,
    TaskPart: lambda part: {"flops": part.flops, "macs": part.macs},
}
"""Figures that are written beside the raw ones of a record, and checked when they are read."""


def profile_dict(profile: Profile) -> dict[str, Any]:
    """JSON-ready, in the newest format; one that was only counted has None where others measured.

    ``measurement`` has one more figure, ``images_per_s``: the batch over the median.
    """
    plain = _plain(profile)
    out = {
        "dilnas_profile": PROFILE_FORMAT,
        "name": plain.pop("name"),
        "key": profile.architecture.key,
        **plain,
        "missing": dict(profile.missing or {}),
    }
    if (m := profile.measurement) is not None:
        out["measurement"]["images_per_s"] = images_per_s(profile.workload.batch_size, m.median)
    return out


def profiles_dict(profiles: Iterable[Profile]) -> dict[str, Any]:
    """JSON-ready: several profiles (a sweep, a device's folder) as one document."""
    return {"dilnas_profiles": PROFILE_FORMAT, "profiles": [profile_dict(p) for p in profiles]}


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """JSON-ready, in the newest format."""
    return {"dilnas_comparison": COMPARISON_FORMAT, **_plain(comparison)}


def task_profile_dict(profile: TaskProfile) -> dict[str, Any]:
    """JSON-ready: a dense task's cost and, where it was measured, the time of the backbone."""
    plain = _plain(profile)
    out = {
        "dilnas_task_profile": TASK_FORMAT,
        "name": plain.pop("name"),
        "key": profile.architecture.key,
        **plain,
    }
    if (m := profile.measurement) is not None:
        out["measurement"]["images_per_s"] = images_per_s(profile.workload.batch_size, m.median)
    return out


def _plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings; a record's derived figures beside its own, rows last."""
    if isinstance(value, Architecture):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        out = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        if type(value) in DERIVED:
            out |= DERIVED[type(value)](value)
        if "rows" in out:
            out["rows"] = out.pop("rows")
        return out
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
