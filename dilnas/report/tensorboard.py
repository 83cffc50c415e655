"""The trials of a search as TensorBoard shows them: a run a trial, a curve over images.

    tensorboard --logdir runs/NAME/tensorboard

A trial's folder gets one small file a rung and one at its end, each written once and never changed,
so that a search that goes on adds to them. The format is TensorFlow's (records of length,
checksum, protobuf); ``tensorboardX``, which Ray Tune brings, knows it.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dilnas.errors import DependencyError, RunError
from dilnas.report.front_data import number
from dilnas.report.run_rows import cell_mapping, rungs_of
from dilnas.runs import RunDirectory

__all__ = ["write_tensorboard"]

ENDED = ("complete", "pruned", "failed")
COSTS = ("gflops", "mparams", "memory_mb", "predicted_ms")

Row = Mapping[str, Any]


def write_tensorboard(run: RunDirectory, known: set[str] | None = None) -> int:
    """Write what trials.csv has and TensorBoard's folder lacks; how many files that were.

    Tags: ``accuracy/val`` by images seen, ``loss/train`` and ``loss/val`` where the trial kept its
    curve, the costs, and the trial's choices as hyperparameters.

    Args:
        run: with its trials.csv.
        known: files that need no look any more; those that are written are added.

    Raises RunError where a file cannot be written, DependencyError without tensorboardX.
    """
    _need_tensorboardx()
    known = set() if known is None else known
    settings = run.run_json()
    written = 0
    for row in run.trial_rows():
        for name, make in _files(run, row, settings):
            path = run.tensorboard / f"trial-{row['trial']}" / name
            if str(path) in known:
                continue
            data = b"".join(_record(event) for event in make())
            if not (path.is_file() and path.stat().st_size == len(data)):
                _write(path, data)
                written += 1
            known.add(str(path))
    return written


def _write(path: Path, data: bytes) -> None:
    """In one go and in its place: a reader takes every file whose name it knows, halves too."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise RunError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def _files(run: RunDirectory, row: Row, settings: Row) -> Iterator[tuple[str, Any]]:
    """(name, what makes its events) of the files that a trial should have by now."""
    rungs = rungs_of(row, settings)
    for rung, (step, score) in enumerate(rungs):
        yield f"events.out.tfevents.{rung:010d}.rung", partial(_rung, run, row, rung, step, score)
    if row.get("state") in ENDED and rungs:
        yield "events.out.tfevents.9999999999.end", partial(_end, run, row, rungs[-1][0])


def _rung(run: RunDirectory, row: Row, rung: int, step: int, score: float | None) -> list[Any]:
    curve = _curve(run, row["trial"], rung)
    values = {
        "accuracy/val": score,
        "loss/train": number(curve.get("train_loss")),
        "loss/val": number(curve.get("val_loss")),
        "speed/images_per_s": number(curve.get("images_per_s")),
    }
    seconds = number(curve.get("seconds")) or number(row.get("seconds")) or 0.0
    return [_scalars(values, step, _begun(run, row["trial"]) + seconds)]


def _end(run: RunDirectory, row: Row, step: int) -> list[Any]:
    """Its choices as hyperparameters, its cost and last accuracy as their metrics."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import hparams

    at = _begun(run, row["trial"]) + (number(row.get("seconds")) or 0.0)
    chosen = cell_mapping(row.get("choices")) or {
        "layout": str(row.get("layout")),
        "dims": str(row.get("dims")),
    }
    chosen |= {"state": str(row["state"]), "origin": str(row.get("origin"))}
    metrics = {f"cost/{name}": number(row.get(name)) for name in COSTS}
    metrics = {name: value for name, value in metrics.items() if value is not None}
    said = hparams(chosen, {"accuracy/val": 0.0, **metrics})
    return [*(Event(wall_time=at, summary=one) for one in said), _scalars(metrics, step, at)]


def _scalars(values: Mapping[str, float | None], step: int, at: float) -> Any:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    shown = [
        Summary.Value(tag=tag, simple_value=value)
        for tag, value in values.items()
        if value is not None
    ]
    return Event(wall_time=at, step=step, summary=Summary(value=shown))


def _record(event: Any) -> bytes:
    """An event as the file has it: length, its checksum, the event, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    data: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + sums[0] + data + sums[1]


def _begun(run: RunDirectory, trial: int) -> float:
    """When a trial began, in seconds since 1970: when its architecture was written down."""
    for path in (run.architecture_path(trial), run.run_json_path):
        if path.is_file():
            return path.stat().st_mtime
    return 0.0


def _curve(run: RunDirectory, trial: int, rung: int) -> Row:
    """What a trial's training kept of a rung; nothing where it did not."""
    try:
        text = (run.trial_directory(trial) / "curve.json").read_text(encoding="utf-8")
        rungs = json.loads(text)["rungs"]
        return dict(rungs[rung]) if rung < len(rungs) else {}
    except (OSError, ValueError, KeyError, TypeError):  # no curve, or one of another evaluator
        return {}


def _need_tensorboardx() -> None:
    try:
        importlib.import_module("tensorboardX")
    except ImportError as error:
        raise DependencyError(
            "TensorBoard's files need tensorboardX, which comes with pip install 'ray[tune]'"
        ) from error
