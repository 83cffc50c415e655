"""What a table shows, as plain rows: the same for rich, pandas and CSV. A unit in every name."""

from __future__ import annotations

from typing import Any

from dilnas.arch import Architecture
from dilnas.records import OPERATORS, Cost, CostRow, Profile

__all__ = [
    "RUN_NAMES",
    "latency_row",
    "operator_rows",
    "peak_memory_bytes",
    "profile_row",
    "run_words",
    "stage_rows",
]


def stage_rows(cost: Cost, architecture: Architecture) -> list[dict[str, Any]]:
    """One row a part (stem, stage 1, …, head): they sum to the cost's totals."""
    return [
        {
            "part": row.name,
            "blocks": _blocks(row, architecture),
            "dim": None if row.stage is None else architecture.stages[row.stage].dim,
            "map": f"{row.height}x{row.width}",
            "params": row.params,
            "flops": row.flops,
            "macs": row.macs,
            "flops_share": row.flops / cost.flops,
        }
        for row in cost.stage_rows()
    ]


def _blocks(row: CostRow, architecture: Architecture) -> str:
    """``D2 w3 d1,2,3`` for two MSDA blocks with window 3 and those dilations; ``G6`` for global."""
    if row.stage is None:
        return ""
    stage = architecture.stages[row.stage]
    words = []
    if stage.msda_depth:
        dilations = ",".join(str(d) for d in stage.dilations)
        words.append(f"D{stage.msda_depth} w{stage.window_size} d{dilations}")
    if stage.global_depth:
        words.append(f"G{stage.global_depth}")
    return " + ".join(words)


def operator_rows(cost: Cost) -> list[dict[str, Any]]:
    """One row an operator that counts, in fvcore's names: they sum to the FLOPs."""
    return [
        {"operator": name, "flops": count, "flops_share": count / cost.flops}
        for name in OPERATORS
        if (count := cost.by_operator.get(name))
    ]


def latency_row(profile: Profile) -> dict[str, Any] | None:
    """Figures derived from the samples; None without a measurement."""
    m = profile.measurement
    if m is None:
        return None
    return {
        "median_ms": m.median * 1e3,
        "median_low_ms": _milli(m.extra.get("median_low_s")),
        "median_high_ms": _milli(m.extra.get("median_high_s")),
        "p5_ms": m.percentile(5) * 1e3,
        "p95_ms": m.percentile(95) * 1e3,
        "p99_ms": m.percentile(99) * 1e3,
        "images_per_s": profile.workload.batch_size / m.median,
        "samples": len(m.samples),
    }


def peak_memory_bytes(profile: Profile) -> int | None:
    """The one figure for a table: the allocator's peak on CUDA, all tensors at their peak on a CPU.

    From a fresh process where that was measured, else as seen in the process that took the time.
    """
    memory, m = profile.memory, profile.measurement
    if memory is not None and memory.reserved_peak_bytes is not None:
        return memory.allocated_peak_bytes
    if memory is not None and memory.activation_peak_bytes is not None:
        return memory.weights_bytes + memory.input_bytes + memory.activation_peak_bytes
    seen = m.extra.get("peak_memory_bytes") if m is not None else None
    return None if seen is None else int(seen)


def profile_row(profile: Profile) -> dict[str, Any]:
    """A profile on one row, for a table over architectures, workloads or devices."""
    w, e, energy = profile.workload, profile.environment, profile.energy
    return {
        "name": profile.name,
        "key": profile.architecture.key,
        "layout": profile.architecture.layout,
        "device": e.device_name if e else None,
        "batch_size": w.batch_size,
        "height": w.height,
        "width": w.width,
        "dtype": w.dtype,
        "mode": w.mode,
        "compile": w.compile,
        "channels_last": w.channels_last,
        "msda": profile.msda or None,
        "mparams": profile.cost.params / 1e6,
        "gflops": profile.cost.flops / 1e9,
        **(latency_row(profile) or {}),
        "peak_memory_mb": _mega(peak_memory_bytes(profile)),
        "joules_per_image": energy.joules_per_image if energy else None,
        "doubts": len(profile.doubts) if profile.measurement else None,
        "failure": profile.failure or None,
    }


def run_words(profile: Profile) -> str:
    """How it was run, in words: ``inference, eager`` or ``train, CUDA graph, channels last``."""
    w = profile.workload
    words = [w.mode, RUN_NAMES.get(w.compile, w.compile)]
    return ", ".join(words + ["channels last"] * w.channels_last)


RUN_NAMES = {"compile": "torch.compile", "graph": "CUDA graph"}
"""Ways to run as people call them; eager is called eager."""


def _milli(seconds: Any) -> float | None:
    return None if seconds is None else float(seconds) * 1e3


def _mega(count: Any) -> float | None:
    return None if count is None else float(count) / 1e6
