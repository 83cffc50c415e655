"""What is known of an architecture, as plain frozen data: no torch, a unit in every name.

Cost is exact (a closed form), Measurement is observed (raw samples and what makes them doubtful),
Prediction is estimated (with an interval). They are never merged; a Profile holds them side by
side.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from dilnas.arch import Architecture

__all__ = [
    "OPERATORS",
    "Cost",
    "CostRow",
    "Environment",
    "Measurement",
    "Prediction",
    "Profile",
    "Workload",
]

OPERATORS = ("conv", "linear", "matmul", "batch_norm", "layer_norm")
"""Operators that count, in fvcore's names. Softmax, GELU, additions and unfold count 0."""

PROFILE_FORMAT = 1
"""Version of the Profile JSON. 1: first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is run: one batch of images through a network.

    ``dtype``: fp32, tf32, fp16 or bf16. ``mode``: inference or train (forward + backward).
    ``compile``: eager, compile or graph. ``threads``: CPU threads of torch, 0 as found.
    """

    batch_size: int = 1
    height: int = 224
    width: int = 224
    dtype: str = "fp32"
    device: str = "cpu"
    mode: str = "inference"
    compile: str = "eager"
    channels_last: bool = False
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a measurement was made: enough to say why two of them differ.

    ``facts`` are the device's own readings by name (clock_mhz, temperature_c, driver, …).
    """

    device_name: str
    platform: str
    python: str
    torch: str
    dilnas: str
    threads: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """Exact cost of one part (stem, a block, a downsampling layer, the head) for one image.

    ``operators`` counts multiply-adds of conv, linear and matmul and fvcore's norm terms of
    batch_norm and layer_norm. ``activation_elements`` is the number of elements that the part's
    operators write in an eager forward pass; ``height`` and ``width`` are those of its output.
    """

    name: str
    kind: str
    stage: int | None
    height: int
    width: int
    params: int
    operators: dict[str, int]
    activation_elements: int

    @property
    def flops(self) -> int:
        """fvcore's count: one multiply-add is 1, batch norm 2 and layer norm 5 an element."""
        return sum(self.operators.values())

    @property
    def macs(self) -> int:
        """Multiply-adds alone."""
        return sum(self.operators.get(name, 0) for name in ("conv", "linear", "matmul"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Exact cost of a network for one image of ``height`` x ``width``.

    The rows sum to every total. ``peak_activation_elements`` is the largest number of activation
    elements alive at once in an eager inference pass.
    """

    height: int
    width: int
    rows: tuple[CostRow, ...]
    peak_activation_elements: int

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(row.params for row in self.rows)

    @property
    def by_operator(self) -> dict[str, int]:
        """Count by operator, in fvcore's names; operators that do not occur are left out."""
        totals = {name: sum(r.operators.get(name, 0) for r in self.rows) for name in OPERATORS}
        return {name: total for name, total in totals.items() if total}

    @property
    def flops(self) -> int:
        """fvcore's total, the paper's FLOPs: one multiply-add counts 1, norm terms included."""
        return sum(row.flops for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds alone: conv + linear + matmul."""
        return sum(row.macs for row in self.rows)

    @property
    def activation_elements(self) -> int:
        """Elements written by all operators in one eager forward pass."""
        return sum(row.activation_elements for row in self.rows)

    def weight_bytes(self, bytes_per_element: int = 4) -> int:
        """Bytes of the parameters."""
        return self.params * bytes_per_element

    def activation_bytes(self, bytes_per_element: int = 4) -> int:
        """Bytes written by all operators for one image."""
        return self.activation_elements * bytes_per_element

    def memory_bytes(self, batch_size: int = 1, bytes_per_element: int = 4) -> int:
        """Weights plus the largest set of live activations in inference: ``--budget-mb``."""
        return (self.params + batch_size * self.peak_activation_elements) * bytes_per_element

    def stage_rows(self) -> tuple[CostRow, ...]:
        """Rows summed by part: stem, stage 1, stage 2, …, head; a stage has its downsampling."""
        groups: dict[str, list[CostRow]] = {}
        for row in self.rows:
            name = row.kind if row.stage is None else f"stage {row.stage + 1}"
            groups.setdefault(name, []).append(row)
        return tuple(_sum_rows(name, rows) for name, rows in groups.items())


def _sum_rows(name: str, rows: list[CostRow]) -> CostRow:
    return CostRow(
        name=name,
        kind=rows[0].kind if rows[0].stage is None else "stage",
        stage=rows[0].stage,
        height=rows[0].height,
        width=rows[0].width,
        params=sum(r.params for r in rows),
        operators={
            op: total for op in OPERATORS if (total := sum(r.operators.get(op, 0) for r in rows))
        },
        activation_elements=sum(r.activation_elements for r in rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was observed: raw samples, everything else derived from them.

    Attributes:
        quantity: what was sampled ("latency_s": seconds for one batch).
        samples: the raw values, in the order taken, warm-up left out.
        warmup: number of runs before the first sample.
        doubts: what makes the samples doubtful, a sentence each; empty if nothing is known.
        extra: other readings of the same run by name, with the unit in the name
            ("peak_memory_bytes", "rss_bytes").
    """

    quantity: str
    samples: tuple[float, ...]
    warmup: int = 0
    doubts: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median of the samples, in the quantity's unit."""
        return statistics.median(self.samples)

    def percentile(self, percent: float) -> float:
        """Linearly interpolated percentile of the samples, in the quantity's unit."""
        ordered = sorted(self.samples)
        position = (len(ordered) - 1) * percent / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's estimate: value and interval [low, high] at ``coverage``, held-out error beside.

    ``quantity`` names the unit ("latency_s").
    """

    quantity: str
    value: float
    low: float
    high: float
    coverage: float
    held_out_error: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Architecture, workload, exact cost, and what was measured where (None: not measured)."""

    name: str
    architecture: Architecture
    workload: Workload
    cost: Cost
    environment: Environment | None = None
    measurement: Measurement | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, raw samples and derived figures included, a unit in every name."""
        out: dict[str, Any] = {
            "dilnas_profile": PROFILE_FORMAT,
            "name": self.name,
            "key": self.architecture.key,
            "architecture": self.architecture.to_dict(),
            "workload": asdict(self.workload),
            "cost": _cost_to_dict(self.cost),
            "environment": asdict(self.environment) if self.environment else None,
            "measurement": None,
            "notes": list(self.notes),
        }
        if self.measurement is not None:
            m = self.measurement
            out["measurement"] = {
                **asdict(m),
                "median_s": m.median,
                "p5_s": m.percentile(5),
                "p95_s": m.percentile(95),
                "p99_s": m.percentile(99),
                "images_per_s": self.workload.batch_size / m.median,
            }
        return out


def _cost_to_dict(cost: Cost) -> dict[str, Any]:
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
