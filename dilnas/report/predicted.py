"""Calibrations and predictions as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dilnas.predict.calibration import FIT, HELD_OUT, Calibration
from dilnas.predict.forecasts import Forecast
from dilnas.predict.latency import LatencyPredictor
from dilnas.predict.memory import MemoryForecast

__all__ = ["calibration_json", "calibration_view", "forecasts_json", "forecasts_view"]


def calibration_view(calibration: Calibration, path: Path) -> RenderableType:
    """What was measured, what was fitted, how far off it is, where it is."""
    fit = calibration.fit
    assert fit is not None
    counts = {role: len(calibration.by_role(role)) for role in (FIT, HELD_OUT)}
    rows = [
        ("device", f"{calibration.environment.device_name}, {_workload(calibration)}"),
        (
            "measured",
            f"{counts[FIT]} networks of {calibration.space} to fit, {counts[HELD_OUT]} to check; "
            f"{len(calibration.pieces)} distinct parts; {calibration.seconds:.0f} s",
        ),
        ("model", f"{fit.model}; " + _errors(fit.errors)),
        (
            "held out",
            f"median error {fit.error_median:.1%}, nine of ten within {fit.error_p90:.1%}; "
            f"{fit.within_5:.0%} within 5 %, {fit.within_10:.0%} within 10 %; "
            f"rank correlation {fit.spearman:.3f}",
        ),
        (
            "steady",
            f"median error {fit.steady_error_median:.1%}, rank correlation "
            f"{fit.steady_spearman:.3f}: what the anchor shows of the machine taken out",
        ),
        (
            "interval",
            f"{fit.coverage:.0%}: {math.expm1(-fit.reach):+.1%} to {math.expm1(fit.reach):+.1%} of "
            "the prediction",
        ),
        (
            "noise",
            f"the anchor differs by {fit.noise_floor:.1%} from one moment to another; "
            f"{abs(fit.drift):.1%} {'slower' if fit.drift >= 0 else 'faster'} at the end",
        ),
    ]
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    lines: list[RenderableType] = [table]
    lines += [Text(f"doubt: {doubt}", style="yellow") for doubt in calibration.doubts]
    lines += [Text(f"written: {path}"), Text(f"next: dilnas predict tiny --profile {_named(path)}")]
    return Group(*lines)


def calibration_json(calibration: Calibration) -> str:
    """The figures without the samples, which are in the file."""
    data = asdict(calibration)
    counts = {role: len(calibration.by_role(role)) for role in (FIT, HELD_OUT)}
    data["networks"], data["pieces"] = counts, len(calibration.pieces)
    return json.dumps({"name": calibration.name, **data}, indent=2, allow_nan=False)


def forecasts_view(rows: Sequence[Forecast], predictor: LatencyPredictor) -> RenderableType:
    """A row an architecture."""
    calibration, fit = predictor.calibration, predictor.fit
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("architecture")
    for title in ("latency", f"{fit.coverage:.0%} interval", "images/s", "inference", "training"):
        table.add_column(title, justify="right")
    batch = predictor.workload.batch_size
    for row in rows:
        found = row.latency
        table.add_row(
            row.name, f"{found.value * 1e3:.2f} ms",
            f"{found.low * 1e3:.2f} to {found.high * 1e3:.2f} ms", f"{batch / found.value:.1f}",
            _megabytes(row.inference), _megabytes(row.training),
        )  # fmt: skip
    notes = [
        f"predicted for {calibration.environment.device_name}, {_workload(calibration)}, from "
        f"{calibration.name}: median error {fit.error_median:.1%} on {fit.held_out} networks that "
        "were not fitted",
        "inference, training: memory at its peak, in closed form; training with the optimizer's "
        "states",
    ]
    reasons = {f"training: {row.training.why}" for row in rows if row.training.why}
    reasons |= {f"inference: {row.inference.why}" for row in rows if row.inference.why}
    doubts = [f"doubt: {doubt}" for doubt in calibration.doubts]
    return Group(table, *(Text(n, style="dim") for n in (*notes, *sorted(reasons), *doubts)))


def forecasts_json(rows: Sequence[Forecast], predictor: LatencyPredictor) -> str:
    """One document: the calibration's figures once, then a network each."""
    data: dict[str, Any] = {
        "dilnas_forecast": 1,
        "profile": predictor.calibration.name,
        "workload": asdict(predictor.workload),
        "fit": asdict(predictor.fit),
        "architectures": [
            {
                "name": row.name, "key": row.architecture.key,
                "latency": asdict(row.latency),
                "images_per_s": predictor.workload.batch_size / row.latency.value,
                "inference": asdict(row.inference), "training": asdict(row.training),
            }
            for row in rows
        ],
    }  # fmt: skip
    return json.dumps(data, indent=2, allow_nan=False)


def _workload(calibration: Calibration) -> str:
    w = calibration.workload
    words = [f"batch {w.batch_size}", f"{w.height}x{w.width}", w.dtype]
    if w.compile != "eager":
        words.append(w.compile)
    words.append(f"{calibration.environment.threads} threads" if w.device == "cpu" else "")
    return ", ".join(word for word in words if word)


def _errors(errors: dict[str, float]) -> str:
    return "errs by " + ", ".join(f"{value:.1%} ({name})" for name, value in errors.items())


def _megabytes(found: MemoryForecast) -> str:
    return "?" if found.peak_bytes is None else f"{found.peak_bytes / 1e6:.0f} MB"


def _named(path: Path) -> str:
    """As ``--profile`` takes it."""
    parts = path.with_suffix("").parts
    return "/".join(parts[1:]) if parts[0] == "profiles" else str(path)
