"""What a search leaves in its directory: rows of front.csv and trials.csv, the hypervolume."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.runs import RunDirectory
from dilnas.search.candidate import COMPLETE, Candidate, Figures, front, points
from dilnas.search.finals import HeldOut
from dilnas.search.noise import reported_front, spread, standings
from dilnas.variants import VARIANTS

__all__ = ["dominated_share", "front_rows", "trial_rows", "write_csv"]

FRONT_COLUMNS = (
    "trial", "val_accuracy", "test_accuracy", "final_accuracy", "final_std", "final_seeds",
    "final_test_accuracy", "final_test_std", "final_failed", "membership", "rival", "selected_by",
    "gflops", "mparams", "memory_mb", "layout", "dims", "depths", "dilations", "windows", "key",
    "reference", "architecture_file", "predicted_ms", "measured_ms", "measured_low_ms",
    "measured_high_ms",
)  # fmt: skip
TRIAL_COLUMNS = (
    "trial", "state", "reason", "rung", "val_accuracy", "gflops", "mparams", "memory_mb", "layout",
    "key", "origin", "seconds", "images", "rung_scores", "final_scores",
    "on_front", "predicted_ms", "dims", "depths", "dilations", "windows", "choices", "rung_images",
)  # fmt: skip

Row = dict[str, Any]


def dominated_share(
    candidates: list[Candidate], cost_name: str, reference: Mapping[str, float]
) -> float:
    """Hypervolume of the full-fidelity candidates as a share (0..1) of the reference box.

    ``reference`` holds the box's far corner by "error" and ``cost_name``.
    """
    import numpy as np

    from dilnas.cost import hypervolume

    whole = [c for c in candidates if c.state == COMPLETE]
    if not whole:
        return 0.0
    corner = np.array([reference["error"], reference[cost_name]])
    return float(hypervolume(points(whole, cost_name) / corner, np.ones(2)))


def front_rows(
    candidates: list[Candidate],
    cost_name: str,
    architecture: Callable[[Candidate], Architecture],
    tested: Mapping[int, float] | None = None,
    held_out: HeldOut | None = None,
    *,
    price: Callable[[Architecture], Figures] | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Row]:
    """The front, cheapest first, then the paper's variants that are not on it.

    A reference row has no ``trial``, because it is no member of the front; it has accuracies if the
    variant was trained to the end.

    Args:
        candidates: of the ledger.
        cost_name: the cost that is an objective.
        architecture: of a candidate.
        tested: test accuracy of the search's own networks, by number.
        held_out: the re-trainings.
        price: cost of an architecture that was no candidate; None leaves untrained variants out.
        measured: milliseconds of a batch by the architecture's key: "median", "low", "high".
    """
    held_out = held_out or HeldOut()
    tested = tested or {}
    members = reported_front(candidates, cost_name, held_out)
    sure = standings(members, held_out)
    by_search = {c.number for c in front(candidates, cost_name)}
    names = {architecture.key: name for name, architecture in VARIANTS.items()}
    rows = [
        {
            **_front_row(c, architecture(c), tested, held_out, names.get(c.key, "")),
            "membership": sure[c.number].membership,
            "rival": _blank(sure[c.number].rival),
            "selected_by": "search" if c.number in by_search else "re-training",
        }
        for c in members
    ]
    shown = {c.key for c in members}
    trained = {c.key: c for c in candidates if c.state == COMPLETE}
    for name, variant in VARIANTS.items():
        if variant.key in shown:
            continue
        if variant.key in trained:
            row = _front_row(trained[variant.key], variant, tested, held_out, name)
            rows.append({**row, "trial": ""})
        elif price is not None:
            rows.append(_described(variant, price(variant)) | {"reference": name})
    for row in rows:
        if found := (measured or {}).get(row["key"]):
            row |= {"measured_ms": found["median"]}
            row |= {f"measured_{end}_ms": found[end] for end in ("low", "high")}
    return rows


def _front_row(
    candidate: Candidate,
    architecture: Architecture,
    tested: Mapping[int, float],
    held_out: HeldOut,
    reference: str,
) -> Row:
    return {
        "trial": candidate.number,
        "val_accuracy": candidate.accuracy,
        "test_accuracy": tested.get(candidate.number, ""),
        **_retrained(candidate, held_out),
        **_described(architecture, candidate.figures),
        "reference": reference,
        "architecture_file": f"trials/{candidate.number}/architecture.yaml",
    }


def _retrained(candidate: Candidate, held_out: HeldOut) -> Row:
    """Means and standard deviations of a candidate's re-trainings; blank where there are none."""
    found = held_out.accuracies(candidate.number)
    tests = held_out.test_accuracies(candidate.number)
    failed = {s.error for s in held_out.scores.get(candidate.number, ()) if s.error}
    return {
        "final_accuracy": statistics.fmean(found) if found else "",
        "final_std": _blank(spread(found)),
        "final_seeds": len(found) if found or failed else "",
        "final_test_accuracy": statistics.fmean(tests) if tests else "",
        "final_test_std": _blank(spread(tests)),
        "final_failed": "; ".join(sorted(failed)),
    }


def _blank(value: float | None) -> float | str:
    return "" if value is None else value


def _described(architecture: Architecture, cost: Figures) -> Row:
    return {
        "gflops": round(cost.gflops, 9),
        "mparams": round(cost.mparams, 6),
        "memory_mb": round(cost.mb, 6),
        "predicted_ms": _milliseconds(cost),
        "layout": architecture.layout,
        **_stages(architecture),
        "key": architecture.key,
    }


def _stages(architecture: Architecture) -> Row:
    """Texts, one part a stage; of dilations and windows one a stage with dilated blocks."""
    stages = architecture.stages
    dilated = [stage for stage in stages if stage.msda_depth]
    return {
        "dims": " ".join(str(stage.dim) for stage in stages),
        "depths": " ".join(str(stage.depth) for stage in stages),
        "dilations": " ".join(",".join(map(str, stage.dilations)) for stage in dilated),
        "windows": " ".join(str(stage.window_size) for stage in dilated),
    }


def trial_rows(
    candidates: list[Candidate],
    cost_name: str,
    held_out: HeldOut | None = None,
    *,
    architecture: Callable[[Candidate], Architecture] | None = None,
    choices: Callable[[Candidate], Mapping[str, Any]] | None = None,
) -> list[Row]:
    """Every candidate, rejected ones too, by number.

    Args:
        candidates: of the ledger.
        cost_name: the cost that is an objective.
        held_out: the re-trainings.
        architecture: of a candidate; None leaves its stages blank.
        choices: the value of each axis of the space by its name; None leaves them blank.
    """
    held_out = held_out or HeldOut()
    on_front = {c.number for c in reported_front(candidates, cost_name, held_out)}
    return [
        {
            "trial": c.number,
            "state": c.state,
            "reason": c.reason,
            "rung": c.rung if c.scores else "",
            "val_accuracy": c.accuracy if c.scores else "",
            "gflops": round(c.figures.gflops, 9),
            "mparams": round(c.figures.mparams, 6),
            "memory_mb": round(c.figures.mb, 6),
            "layout": c.layout,
            "key": c.key,
            "origin": c.origin,
            "seconds": round(c.scores[-1].seconds, 3) if c.scores else "",
            "images": c.scores[-1].images if c.scores else "",
            "rung_scores": json.dumps([s.accuracy for s in c.scores]),
            "final_scores": _final_scores(c, held_out),
            "on_front": int(c.number in on_front),
            "predicted_ms": _milliseconds(c.figures),
            **({} if architecture is None else _stages(architecture(c))),
            "choices": "" if choices is None else json.dumps(choices(c)),
            "rung_images": json.dumps([s.images for s in c.scores]),
        }
        for c in candidates
    ]


def _milliseconds(cost: Figures) -> float | str:
    """Predicted; blank where nothing is."""
    known = cost.ms is not None and math.isfinite(cost.ms)
    return round(cost.ms, 6) if known and cost.ms is not None else ""


def _final_scores(candidate: Candidate, held_out: HeldOut) -> str:
    """JSON list of the validation accuracies of the re-trainings, null for one that failed."""
    scores = held_out.scores.get(candidate.number)
    return json.dumps([s.accuracy for s in scores]) if scores else ""


def write_csv(run: RunDirectory, rows: Sequence[Row], trials: Sequence[Row]) -> None:
    """Write front.csv and trials.csv. Raises RunError if the directory cannot be written."""
    for path, columns, table in (
        (run.front_csv, FRONT_COLUMNS, rows),
        (run.trials_csv, TRIAL_COLUMNS, trials),
    ):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        write_atomic(path, text.getvalue(), kind=RunError)
