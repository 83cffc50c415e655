"""Cost of a dense task's model, backbone, neck and heads apart, and the time of its backbone."""

from __future__ import annotations

from dataclasses import dataclass

from dilnas.arch import Architecture
from dilnas.records.observed import Measurement
from dilnas.records.workload import Environment, Workload

__all__ = ["ROLES", "TaskCost", "TaskPart", "TaskProfile"]

ROLES = ("backbone", "neck", "head", "auxiliary")
"""What a part is there for; an auxiliary head serves training only and is in no total."""

MULTIPLY_ADDS = ("conv", "linear", "matmul")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPart:
    """Exact cost of one part of a dense task's model for one image.

    Attributes:
        name: for a table: "backbone", "FPN", "box head".
        role: one of ``ROLES``.
        params: trainable parameters.
        operators: counts by operator in fvcore's names: multiply-adds of conv, linear and matmul;
            norms 2 (batch) and 5 (layer) an element; nearest upsampling 1 and bilinear 4 an output
            element, adaptive pooling 1 an input element.
    """

    name: str
    role: str
    params: int
    operators: dict[str, int]

    @property
    def flops(self) -> int:
        """fvcore's count: one multiply-add is 1, norms and resampling as said above."""
        return sum(self.operators.values())

    @property
    def macs(self) -> int:
        """Multiply-adds alone."""
        return sum(self.operators.get(name, 0) for name in MULTIPLY_ADDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCost:
    """Exact cost of a dense task's model for one image.

    Attributes:
        task: "detection" or "segmentation".
        model: which model that is, in words.
        height, width: of the image, in pixels.
        num_classes: outputs of the classifiers.
        parts: in the order in which an image passes them.
        global_matmul: multiply-adds of the products in the backbone's global attention; they are
            in the backbone's count and grow with the square of the image's area.
        assumptions: what the count rests on, a sentence each.
    """

    task: str
    model: str
    height: int
    width: int
    num_classes: int
    parts: tuple[TaskPart, ...]
    global_matmul: int
    assumptions: tuple[str, ...] = ()

    def by_role(self) -> dict[str, tuple[int, int]]:
        """Parameters and FLOPs of backbone, neck, heads and, if there is one, auxiliary head."""
        found = {role: [p for p in self.parts if p.role == role] for role in ROLES}
        return {
            role: (sum(part.params for part in parts), sum(part.flops for part in parts))
            for role, parts in found.items()
            if parts
        }

    @property
    def counted(self) -> tuple[TaskPart, ...]:
        """The parts of a total: all but auxiliary heads."""
        return tuple(part for part in self.parts if part.role != "auxiliary")

    @property
    def params(self) -> int:
        """Trainable parameters without auxiliary heads."""
        return sum(part.params for part in self.counted)

    @property
    def flops(self) -> int:
        """fvcore's count of one inference pass without auxiliary heads."""
        return sum(part.flops for part in self.counted)

    @property
    def macs(self) -> int:
        """Multiply-adds of the same."""
        return sum(part.macs for part in self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProfile:
    """Architecture, workload, a dense task's exact cost, and the backbone's time where measured.

    ``measurement`` is of the feature pyramid with its norms, without neck and heads; None where
    nothing was run.
    """

    name: str
    architecture: Architecture
    workload: Workload
    cost: TaskCost
    environment: Environment | None = None
    measurement: Measurement | None = None
    notes: tuple[str, ...] = ()
