"""What ``msda.py`` found, as tables to read and as data to keep."""

from __future__ import annotations

from typing import Any

from msda_cases import COMPILED, Case
from msda_cores import BASELINE, FREE, INEXACT
from msda_rounds import Result, quartiles, rounded

__all__ = ["as_data", "table"]

APART = 0.05
"""Share by which results may differ: bfloat16 through a whole model differs by some percent."""


def baselines(results: dict[str, Result]) -> dict[str, str]:
    """Column heads and the contender that each compares with, as far as it ran."""
    named = {
        "× unfold": BASELINE,
        "× compiled unfold": BASELINE + COMPILED,
        "of free": FREE,
        "of compiled free": FREE + COMPILED,
    }
    return {head: name for head, name in named.items() if name in results}


def table(case: Case, results: dict[str, Result], copy_bytes_per_s: float) -> str:
    """One case: a line for each contender, ratios with their quartiles over the rounds."""
    rounds = max((len(r.seconds) for r in results.values()), default=0)
    columns = baselines(results)
    compiled = any(name.endswith(COMPILED) for name in results)
    head = [*columns, *(["× eager"] if compiled else []), "MiB", "× memory"]
    head += ["of copy"] if case.maps_bytes else []
    lines = [[f"{case.level} {case.name}, {case.way}", "ms", *head]]
    for name, result in results.items():
        if not result.seconds:
            lines.append([name, "–", f"not run: {result.why_not or 'the time was over'}"])
            continue
        cells = [name, f"{quartiles(result.seconds)[1] * 1e3:.3f}"]
        for other in columns.values():
            percent = other.startswith(FREE)
            cells.append(_ratio(result, results[other], percent) if other != name else "1")
        if compiled:
            eager = results.get(name.removesuffix(COMPILED))
            own = name.endswith(COMPILED) and eager is not None
            cells.append(_ratio(result, eager) if own and eager else "")
        cells += _memory(result, results[BASELINE])
        if case.maps_bytes:
            cells.append(f"{share_of_copy(case, result, copy_bytes_per_s):.0%}")
        if (result.apart or 0) > APART and not name.startswith(FREE):
            why = "other borders" if name.startswith(INEXACT) else "WRONG"
            cells.append(f"{why}: {result.apart:.1%} apart")
        lines.append(cells)
    return f"{_aligned(lines)}\n  {rounds} rounds"


def share_of_copy(case: Case, result: Result, copy_bytes_per_s: float) -> float:
    """Time of the bytes that must move, at the rate of a copy, over the time it took."""
    return case.maps_bytes / copy_bytes_per_s / quartiles(result.seconds)[1]


def as_data(case: Case, results: dict[str, Result], copy_bytes_per_s: float) -> dict[str, Any]:
    """The same for JSON, with the seconds of every round."""
    out: dict[str, Any] = {"level": case.level, "name": case.name, "way": case.way}
    out["contenders"] = {}
    for name, result in results.items():
        row: dict[str, Any] = {"why_not": result.why_not, "memory_bytes": result.memory_bytes}
        if result.seconds:
            row["median_ms"] = quartiles(result.seconds)[1] * 1e3
            row["seconds"] = rounded(result.seconds, 5)
            row["apart"] = result.apart
            if case.maps_bytes:
                row["share_of_copy"] = share_of_copy(case, result, copy_bytes_per_s)
            eager = name.removesuffix(COMPILED)
            others = {*baselines(results).values(), eager} - {name}
            row["speed_up_over"] = {
                other: rounded(found)
                for other in sorted(others)
                if (found := result.over(results[other]))
            }
        out["contenders"][name] = row
    return out


def _ratio(result: Result, other: Result, percent: bool = False) -> str:
    """Median with quartiles of the speed-up over ``other``."""
    found = result.over(other)
    if found is None:
        return "–"
    low, middle, high = (f"{x:.0%}" if percent else f"{x:.2f}" for x in found)
    return f"{middle} [{low}–{high}]"


def _memory(result: Result, base: Result) -> list[str]:
    """MiB, and the share of the baseline's."""
    if result.memory_bytes is None:
        return ["–", "–"]
    cells = [f"{result.memory_bytes / 2**20:.1f}"]
    return [*cells, f"{result.memory_bytes / base.memory_bytes:.2f}" if base.memory_bytes else "–"]


def _aligned(lines: list[list[str]]) -> str:
    """Columns under one another; a line of two cells and a remark keeps the remark whole."""
    width = max(map(len, lines))
    plain = [line for line in lines if len(line) > 3 or line is lines[0]]
    widths = [max((len(c[i]) for c in plain if i < len(c)), default=0) for i in range(width)]
    out = []
    for line in lines:
        cells = [cell.rjust(widths[i]) for i, cell in enumerate(line)]
        cells[0] = line[0].ljust(widths[0])
        if line not in plain:
            cells = [line[0].ljust(widths[0]), line[1].rjust(widths[1]), line[2]]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
