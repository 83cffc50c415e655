"""Records as JSON-ready dictionaries: raw values and derived figures, a unit in every name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dilnas.records.comparison import Comparison
from dilnas.records.costs import Cost
from dilnas.records.profile import Profile

__all__ = ["PROFILE_FORMAT", "comparison_dict", "profile_dict"]

PROFILE_FORMAT = 2
"""Version of the Profile JSON.

1: first (dilnas 0.1): memory and energy notes among the measurement's ``extra``.
2: memory, energy, breakdown, counters, predictions, failure and missing beside it.
"""


def profile_dict(profile: Profile) -> dict[str, Any]:
    """JSON-ready, in the newest format."""
    out: dict[str, Any] = {
        "dilnas_profile": PROFILE_FORMAT,
        "name": profile.name,
        "key": profile.architecture.key,
        "architecture": profile.architecture.to_dict(),
        "workload": asdict(profile.workload),
        "cost": _cost(profile.cost),
        "environment": asdict(profile.environment) if profile.environment else None,
        "measurement": _measurement(profile),
        "memory": asdict(profile.memory) if profile.memory else None,
        "energy": asdict(profile.energy) if profile.energy else None,
        "breakdown": asdict(profile.breakdown) if profile.breakdown else None,
        "counters": [asdict(report) for report in profile.counters],
        "predictions": [asdict(prediction) for prediction in profile.predictions],
        "failure": profile.failure,
        "missing": dict(profile.missing or {}),
        "notes": list(profile.notes),
    }
    return out


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """JSON-ready, in the newest format."""
    return {"dilnas_comparison": 1, **asdict(comparison)}


def _measurement(profile: Profile) -> dict[str, Any] | None:
    m = profile.measurement
    if m is None:
        return None
    return {
        **asdict(m),
        "median_s": m.median,
        "p5_s": m.percentile(5),
        "p95_s": m.percentile(95),
        "p99_s": m.percentile(99),
        "images_per_s": profile.workload.batch_size / m.median,
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "height": cost.height,
        "width": cost.width,
        "params": cost.params,
        "flops": cost.flops,
        "macs": cost.macs,
        "by_operator": cost.by_operator,
        "weight_bytes_fp32": cost.weight_bytes(),
        "activation_bytes_fp32": cost.activation_bytes(),
        "memory_bytes_fp32": cost.memory_bytes(),
        "rows": [{**asdict(r), "flops": r.flops, "macs": r.macs} for r in cost.rows],
    }
