"""A training's folder: what lies where, written so that a kill leaves the old or the new.

    DIR/train.json             what is trained: settings, data, classes, versions; then the result
    DIR/architecture.yaml      the network, with the data's classes and channels
    DIR/recipe.yaml            the recipe with the batch size, rate and epochs that are used
    DIR/state.pt               everything that the next update depends on
    DIR/last.safetensors       the weights of the last state
    DIR/last-ema.safetensors   their average
    DIR/best.safetensors       the weights with the best validation top-1
    DIR/log.csv                a row for each epoch

``state.pt`` is the truth: it is written last, and what lies beside it is written again from it.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from dilnas.errors import RunError
from dilnas.files import read_text, remove_leftovers, write_atomic
from dilnas.model import save_weights
from dilnas.train.events import EpochRow
from dilnas.train.state_file import read_state, write_state

__all__ = ["BEST", "LAST", "LAST_EMA", "TrainingFolder"]

LAST, LAST_EMA, BEST = "last.safetensors", "last-ema.safetensors", "best.safetensors"
MARK, FORMAT = "dilnas_training_state", 1
HEAD_FORMAT = 1
WRITER_SECONDS = 90.0
"""How long a worker waits for one of a driver that was killed to be gone."""


@dataclass(frozen=True)
class TrainingFolder:
    """Paths and contents."""

    path: Path

    @property
    def state_path(self) -> Path:
        """The state; there is none before the first was saved."""
        return self.path / "state.pt"

    def head(self) -> dict[str, Any] | None:
        """train.json; None where nothing was trained. Raises RunError if it is damaged."""
        file = self.path / "train.json"
        if not file.is_file():
            return None
        try:
            data = json.loads(read_text(file, kind=RunError))
        except ValueError as error:
            raise RunError(f"not JSON: {error}", where=str(file)) from error
        known = isinstance(data, dict) and data.get("dilnas_training") == HEAD_FORMAT
        if not known or not isinstance(data.get("identity"), dict):
            raise RunError("was not written by this version of dilnas", where=str(file))
        return dict(data)

    def check(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was trained here before, if that was the same training.

        Raises RunError naming the first setting that differs, or if the folder holds other things.
        """
        head = self.head()
        if head is None:
            if self.path.is_dir() and any(e.name != ".lock" for e in self.path.iterdir()):
                raise RunError(
                    "the folder holds other things", where=str(self.path),
                    expected="--out of a new or empty folder",
                )  # fmt: skip
            return None
        for name, given, found in _differing(identity, head["identity"]):
            raise RunError(
                f"another training lies here: its {name} differs; --out names another folder",
                where=str(self.path), expected=found, got=given,
            )  # fmt: skip
        return head

    def begin(self, head: Mapping[str, Any], architecture: str, recipe: Mapping[str, Any]) -> None:
        """Write what is known before training."""
        import yaml

        self.write_head({"dilnas_training": HEAD_FORMAT, **head, "versions": _versions()})
        write_atomic(self.path / "architecture.yaml", architecture, kind=RunError)
        text = "# As it was trained; names as in timm's train script, batch_size of all workers.\n"
        text += yaml.safe_dump(dict(recipe), sort_keys=False, default_flow_style=None)
        write_atomic(self.path / "recipe.yaml", text, kind=RunError)

    def write_head(self, head: Mapping[str, Any]) -> None:
        """Write train.json."""
        text = json.dumps(head, indent=1, allow_nan=False) + "\n"
        write_atomic(self.path / "train.json", text, kind=RunError)

    def state(self) -> dict[str, Any] | None:
        """What was saved last. Raises CheckpointError if it is damaged."""
        if not self.state_path.exists():
            return None
        return read_state(self.state_path, MARK, FORMAT)

    def save(self, state: Mapping[str, Any], model: nn.Module, average: nn.Module | None) -> None:
        """Weights for people first, the state last."""
        save_weights(model, self.path / LAST)
        if average is not None:
            save_weights(average, self.path / LAST_EMA)
        write_state(self.state_path, {MARK: FORMAT, **state})
        self.write_log([EpochRow(**row) for row in state["rows"]])

    def save_best(self, model: nn.Module) -> None:
        """Write best.safetensors."""
        save_weights(model, self.path / BEST)

    def write_log(self, rows: list[EpochRow]) -> None:
        """Write log.csv."""
        text = io.StringIO()
        table = csv.DictWriter(text, [f.name for f in fields(EpochRow)], lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: _cell(v) for k, v in asdict(row).items()})
        write_atomic(self.path / "log.csv", text.getvalue(), kind=RunError)

    def tidy(self) -> None:
        """Remove what a killed writer had half written."""
        remove_leftovers(self.path)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the folder for writing while the block runs.

        A driver that was killed may leave a worker behind for some seconds: it must be gone before
        another writes. Raises RunError if it is not after a while.
        """
        with (self.path / ".writer").open("w") as file:
            until = time.monotonic() + WRITER_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() > until:
                        raise RunError(
                            "a worker of an earlier training still writes here",
                            where=str(self.path),
                        ) from error
                    time.sleep(0.5)
            yield


def _differing(
    given: Mapping[str, Any], found: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for name in {**given, **found}:
        one, other = given.get(name), found.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(one, other, f"{name}: ")
        elif one != other:
            yield f"{above}{name}", one, other


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.7g}"


def _versions() -> dict[str, str]:
    from importlib import metadata

    import torch

    from dilnas import __version__

    out = {"dilnas": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in ("ray", "timm"):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**out, "platform": platform.platform(), "host_cores": str(os.cpu_count())}
