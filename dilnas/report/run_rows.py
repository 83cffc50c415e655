"""What the cells of a run's tables hold beside numbers: rungs, stages, choices. Plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dilnas.arch import Architecture
from dilnas.report.front_data import number

__all__ = ["cell_list", "cell_mapping", "choices_of", "rungs_of", "stages_of"]

Row = Mapping[str, Any]


def cell_list(text: Any) -> list[Any]:
    """The JSON list in a cell; empty where there is none."""
    found = _json(text)
    return found if isinstance(found, list) else []


def cell_mapping(text: Any) -> dict[str, Any]:
    """The JSON object in a cell, plain values only; empty where there is none."""
    found = _json(text)
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str | int | float)}


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def rungs_of(row: Row, settings: Row) -> list[tuple[int, float | None]]:
    """(images seen, accuracy 0..1) at each finished rung of a trial.

    Tables of older versions have no images: then those that the proxy in ``settings`` plans, and
    where it does not say, the rung's number from 1.
    """
    proxy = settings.get("proxy_settings")
    planned = proxy.get("images") if isinstance(proxy, Mapping) else None
    seen = cell_list(row.get("rung_images"))
    seen += (planned if isinstance(planned, list) else [])[len(seen) :]
    scores = cell_list(row.get("rung_scores"))
    steps = [
        int(seen[i]) if i < len(seen) and number(seen[i]) else i + 1 for i in range(len(scores))
    ]
    return [(step, number(score)) for step, score in zip(steps, scores, strict=True)]


def stages_of(row: Row, architecture: Architecture | None = None) -> list[dict[str, Any]]:
    """Each stage: dim, msda, global, window, dilations, and heads and mlp where they are known.

    From the architecture, or from a row's layout, dims, windows and dilations; empty where the row
    does not have them or they do not belong together.
    """
    if architecture is not None:
        return [
            {
                "dim": s.dim, "msda": s.msda_depth, "global": s.global_depth,
                "window": s.window_size, "dilations": list(s.dilations), "heads": s.num_heads,
                "mlp": s.mlp_ratio,
            }
            for s in architecture.stages
        ]  # fmt: skip
    layout, dims, windows, dilations = (
        str(row.get(name) or "").split() for name in ("layout", "dims", "windows", "dilations")
    )
    numbers = [text for text in (*dims, *windows) if not text.isdecimal()]
    dilated = sum("D" in stage for stage in layout)
    if numbers or len(layout) != len(dims) or {len(windows), len(dilations)} != {dilated}:
        return []
    stages = []
    left = iter(zip(windows, dilations, strict=True))
    for text, dim in zip(layout, dims, strict=True):
        counts = {kind: int(n) for kind, n in re.findall(r"([DG])(\d{1,4})", text)}
        window, rates = next(left) if "D" in text else ("", "")
        stages.append(
            {
                "dim": int(dim), "msda": counts.get("D", 0), "global": counts.get("G", 0),
                "window": int(window) if window else None,
                "dilations": [int(rate) for rate in rates.split(",") if rate.isdecimal()],
                "heads": None, "mlp": None,
            }
        )  # fmt: skip
    return stages


def choices_of(row: Row) -> dict[str, float | str]:
    """What was chosen for a trial, by name: the space's axes, or what its layout and widths say."""
    found = cell_mapping(row.get("choices"))
    if found:
        return found
    out: dict[str, float | str] = {}
    for place, text in enumerate(str(row.get("layout") or "").split(), 1):
        counts = {kind: int(n) for kind, n in re.findall(r"([DG])(\d{1,4})", text)}
        out |= {f"D blocks {place}": counts.get("D", 0), f"G blocks {place}": counts.get("G", 0)}
    for place, text in enumerate(str(row.get("dims") or "").split(), 1):
        if text.isdecimal():
            out[f"dim {place}"] = int(text)
    return out
