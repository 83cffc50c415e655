"""A dense task's cost for people: backbone, neck and heads apart, and the time of the backbone."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from dilnas.cost import cost
from dilnas.records import Profile, TaskCost, TaskProfile
from dilnas.report.measured import doubt_lines, measured_lines, pairs, sentences
from dilnas.report.tables import ShareBar, _table, header

__all__ = ["task_table", "task_view"]

ROLE_NAMES = {"backbone": "backbone", "neck": "neck", "head": "heads", "auxiliary": "training"}
"""Roles as a table calls them."""


def task_table(found: TaskCost) -> Table:
    """A row a part, the share of the total beside it; an auxiliary head stands below the total."""
    table = _table(
        ("part", "left", ""), ("role", "left", "dim"), ("params", "right", ""),
        ("GFLOPs", "right", "bold"), ("share", "right", ""),
    )  # fmt: skip
    table.add_column("", justify="left", style="blue")
    largest = max(part.flops for part in found.counted) / found.flops
    for part in found.counted:
        share = part.flops / found.flops
        table.add_row(
            part.name, ROLE_NAMES[part.role], *_figures(part.params, part.flops), f"{share:.1%}",
            ShareBar(share, largest),
        )  # fmt: skip
        if part.role == "backbone" and found.global_matmul:
            table.add_row(
                "  of it global attention", "", "", f"{found.global_matmul / 1e9:.3f}",
                f"{found.global_matmul / found.flops:.1%}", "", style="dim",
            )  # fmt: skip
    table.add_row("total", "", *_figures(found.params, found.flops), "100.0%", "", style="bold")
    for part in found.parts:
        if part.role == "auxiliary":
            table.add_row(
                part.name, ROLE_NAMES[part.role], *_figures(part.params, part.flops), "", "",
                style="dim",
            )  # fmt: skip
    return table


def _figures(params: int, flops: int) -> tuple[str, str]:
    return f"{params / 1e6:.3f} M", f"{flops / 1e9:.3f}"


def task_view(found: TaskProfile) -> RenderableType:
    """Header, cost by part, sums by role, what was measured and where, doubts, notes."""
    exact = found.cost
    plain = Profile(
        name=found.name, architecture=found.architecture, workload=found.workload,
        cost=cost(found.architecture, exact.height, exact.width), environment=found.environment,
        measurement=found.measurement,
    )  # fmt: skip
    return Group(
        header(plain),
        pairs((exact.task, exact.model), ("classes", str(exact.num_classes))),
        pairs(
            *(
                (ROLE_NAMES[role], f"{params / 1e6:.3f} M, {flops / 1e9:.3f} GFLOPs")
                for role, (params, flops) in exact.by_role().items()
                if role != "auxiliary"
            ),
            ("", "(exact, one image)"),
        ),
        "",
        task_table(exact),
        "",
        *(
            [pairs(("measured", "the backbone's maps, norms included"))]
            if found.measurement
            else []
        ),
        *measured_lines(plain),
        *doubt_lines(plain),
        *sentences("note", "cyan", found.notes),
    )
