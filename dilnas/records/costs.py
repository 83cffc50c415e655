"""Exact cost of a network, from a closed form: counted, never measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OPERATORS", "Cost", "CostRow"]

OPERATORS = ("conv", "linear", "matmul", "batch_norm", "layer_norm")
"""Operators that count, in fvcore's names. Softmax, GELU, additions and unfold count 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """Exact cost of one part (stem, a block, a downsampling layer, the head) for one image.

    Attributes:
        name: of the part in the model.
        kind: stem, block, downsample, head, ….
        stage: index of its stage, None for stem and head.
        height, width: of its output, in pixels of the map.
        params: trainable parameters.
        operators: counts by operator: multiply-adds of conv, linear and matmul, fvcore's norm
            terms of batch_norm and layer_norm.
        activation_elements: elements that its operators write in an eager forward pass.
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
    """Exact cost of a network for one image.

    Attributes:
        height, width: of the image, in pixels.
        rows: the parts of the network; they sum to every total.
        peak_activation_elements: largest number of activation elements alive at once in an eager
            inference pass.
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
