"""run.json, the head of a run directory: written once, compared whenever the run goes on."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.runs import RunDirectory
from dilnas.search.settings import Settings

if TYPE_CHECKING:
    from dilnas.space_report import SpaceReport

__all__ = ["RUN_FORMAT", "opened"]

RUN_FORMAT = 1
"""Version of run.json. 1: first."""


def opened(
    run: RunDirectory, settings: Settings, identity: dict[str, Any], report: SpaceReport
) -> dict[str, Any]:
    """run.json, written if this is a new run. Raises RunError if it is of another search."""
    identity = json.loads(json.dumps(identity))
    if run.run_json_path.exists():
        head = run.run_json()
        _same_search(head, identity, run.path)
        if settings.storage is None and not run.ledger_path.exists() and run.trial_numbers():
            raise RunError("the ledger is missing", where=str(run.ledger_path))
        _check_head(head, settings, run)
        head |= settings.limits()
    else:
        if run.ledger_path.exists():
            raise RunError(
                "holds a ledger but no run.json; give another --out", where=str(run.path)
            )
        head = {
            "dilnas_run": RUN_FORMAT,
            **identity,
            **settings.limits(),
            "study": f"{run.path.resolve().name}-{uuid.uuid4().hex[:8]}",
            "reference_point": _reference(settings, report),
            "image_size": report.image_size,
            "versions": _versions(),
        }
    write_atomic(run.run_json_path, json.dumps(head, indent=2) + "\n", kind=RunError)
    return head


def _check_head(head: dict[str, Any], settings: Settings, run: RunDirectory) -> None:
    """Raise RunError where run.json lacks what only dilnas writes there."""
    corner = head.get("reference_point")
    numbers = corner.values() if isinstance(corner, dict) else ()
    whole = isinstance(head.get("study"), str) and all(isinstance(v, int | float) for v in numbers)
    if not (whole and {"error", settings.cost_name} <= set(corner or ())):
        raise RunError("damaged: study or reference_point is missing", where=str(run.run_json_path))


def _reference(settings: Settings, report: SpaceReport) -> dict[str, float]:
    """Far corner of the hypervolume's box: everything wrong, at the budget or the dearest cost."""
    name = settings.cost_name
    return {"error": 1.0, name: settings.budgets.get(name, report.ranges[name].maximum)}


def _versions() -> dict[str, str]:
    names = ("torch", "optuna", "ray", "numpy", "scipy")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}


def _same_search(written: Mapping[str, Any], identity: Mapping[str, Any], where: Path) -> None:
    """Raise RunError naming the first field in which a run.json is of another search."""
    if written.get("dilnas_run") != RUN_FORMAT:
        raise RunError(
            "unknown format", where=f"{where}/run.json", expected=RUN_FORMAT,
            got=written.get("dilnas_run"),
        )  # fmt: skip
    for name, value in identity.items():
        if written.get(name) != value:
            raise RunError(
                f"holds another search: {name} differs; give another --out", where=str(where),
                expected=written.get(name), got=value,
            )  # fmt: skip
