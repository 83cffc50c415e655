"""``dilnas profile --task``: what a dense task costs on an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.errors import InputError

if TYPE_CHECKING:
    from dilnas.measure import Protocol

__all__ = ["check_task", "run_task"]


def check_task(axes: Mapping[str, Sequence[Any]], foreign: Mapping[str, bool]) -> None:
    """Raise InputError for a list of workloads, and for options that say nothing of a dense task.

    ``foreign``: by option, whether it was given.
    """
    if given := [option for option, there in foreign.items() if there]:
        raise InputError("says nothing of a dense task", where=given[0], got="--task")
    for option, values in axes.items():
        if len(values) > 1:
            raise InputError(
                "one workload at a time with --task", where=option,
                got=",".join(f"{v[0]}x{v[1]}" if isinstance(v, tuple) else str(v) for v in values),
            )  # fmt: skip


def run_task(
    spec: str,
    task: str,
    *,
    json: bool,
    out: Path | None,
    protocol: Protocol,
    **workload: Any,
) -> None:
    """Count, measure the backbone if asked, show it and write it."""
    import sys

    from dilnas.cli.profile_options import check_writable
    from dilnas.cli.progress import Progress, console
    from dilnas.dense import profile_task
    from dilnas.files import write_atomic
    from dilnas.report.document import task_json
    from dilnas.report.tasks import task_view

    if out is not None:
        if not out.suffix:
            raise InputError("a file is needed with --task", where="--out", got=str(out))
        check_writable(out, "--out")
    with Progress() as progress:
        found = profile_task(spec, task, protocol=protocol, on_progress=progress, **workload)
    console(stderr=json).print(task_view(found))
    if json:
        print(task_json(found), flush=True)
    if out is not None:
        write_atomic(out, task_json(found) + "\n")
        print(f"written: {out}", file=sys.stderr)
