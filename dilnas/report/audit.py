"""The audit of a search as a table: how well each cheap score ranks candidates, and its verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dilnas.errors import RunError
from dilnas.files import read_text
from dilnas.runs import RunDirectory

__all__ = [
    "AUDIT_FORMAT",
    "AUDIT_TITLES",
    "audit_cells",
    "audit_notes",
    "audit_table",
    "read_audit",
]

AUDIT_FORMAT = 1
"""Version of audit.json. 1: first."""

AUDIT_TITLES = ("proxy", "ranks", "n", "τ all pairs", "pairs", "τ at ±10 % cost", "verdict", "why")

_NAMES = {"nsc": "NSC (free)", "gflops": "GFLOPs", "mparams": "parameters", "mb": "memory"}


def read_audit(run: RunDirectory) -> dict[str, Any]:
    """What the run's audit.json holds. Raises RunError where it is damaged."""
    path = run.audit_json_path
    try:
        data = json.loads(read_text(path, kind=RunError))
    except ValueError as error:
        raise RunError(f"not JSON: {error}", where=str(path)) from error
    if not isinstance(data, dict) or data.get("dilnas_audit") != AUDIT_FORMAT:
        raise RunError("not an audit of this version of dilnas", where=str(path))
    return data


def audit_cells(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of texts for each proxy, in the order of ``AUDIT_TITLES``."""
    return [
        (
            _NAMES.get(line["proxy"], line["proxy"]), line["target"], str(line["candidates"]),
            _tau(line["overall"]), str(line["near"]["pairs"]), _tau(line["near"]), line["verdict"],
            line["why"],
        )
        for line in document["lines"]
    ]  # fmt: skip


def audit_notes(document: Mapping[str, Any]) -> list[str]:
    """What must be known to read the table, a sentence each."""
    return [
        f"Kendall's tau-b, 95 % bootstrap interval; {document['selection']}.",
    ]


def audit_table(document: Mapping[str, Any]) -> Table:
    """audit.json as a table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in AUDIT_TITLES:
        table.add_column(title, justify="right" if title in ("n", "pairs") else "left")
    for cells in audit_cells(document):
        table.add_row(*map(Text, cells))
    return table


def _tau(estimate: Mapping[str, Any]) -> str:
    tau, low, high = (estimate[name] for name in ("tau", "low", "high"))
    if tau is None:
        return "–"
    return f"{tau:.2f}" if low is None else f"{tau:.2f} [{low:.2f}, {high:.2f}]"
