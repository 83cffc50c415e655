"""``dilnas profile --task``: what a dense task costs on an architecture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.cli.profile_options import check_writable
from dilnas.cli.progress import Progress, console
from dilnas.errors import InputError
from dilnas.files import write_atomic

if TYPE_CHECKING:
    from dilnas.measure import Protocol

__all__ = ["profile_dense"]

AXES = {
    "batch_sizes": ("batch_size", "--batch-size"),
    "img_sizes": ("img_size", "--img-size"),
    "dtypes": ("dtype", "--dtype"),
    "modes": ("mode", "--mode"),
    "compiles": ("compile", "--compile"),
}
"""Axes of a sweep: the one value's name, and the option that gives it."""


def profile_dense(
    spec: str,
    task: str,
    axes: Mapping[str, Sequence[Any]],
    *,
    own_size: bool,
    foreign: Sequence[str],
    json: bool,
    out: Path | None,
    protocol: Protocol,
    **more: Any,
) -> None:
    """Count, measure the backbone if asked, show it and write it.

    Args:
        spec: of the architecture.
        task: detection or segmentation.
        axes: of a sweep; each must have one value.
        own_size: whether the size is left to the task.
        foreign: options that were given and say nothing of a dense task.
        json: the document on stdout, the tables on stderr.
        out: a file for the document.
        protocol: how samples are taken.
        more: what ``profile_task`` takes besides.

    Raises InputError for what makes no sense here, before anything is measured.
    """
    from dilnas.dense import profile_task
    from dilnas.report.document import task_json
    from dilnas.report.tasks import task_view

    if foreign:
        raise InputError("says nothing of a dense task", where=foreign[0], got=f"--task {task}")
    workload = {name: _one(option, axes[axis]) for axis, (name, option) in AXES.items()}
    if own_size:
        workload["img_size"] = None
    if out is not None:
        if out.is_dir() or not out.suffix:
            raise InputError("a file is needed with --task", where="--out", got=str(out))
        check_writable(out, "--out")
    with Progress() as progress:
        found = profile_task(
            spec, task, protocol=protocol, on_progress=progress, **workload, **more
        )
    console(stderr=json).print(task_view(found))
    if json:
        print(task_json(found), flush=True)
    if out is not None:
        write_atomic(out, task_json(found) + "\n")
        print(f"written: {out}", file=sys.stderr)


def _one(option: str, values: Sequence[Any]) -> Any:
    if len(values) > 1:
        shown = ("x".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)
        raise InputError("one workload at a time with --task", where=option, got=",".join(shown))
    return values[0]
