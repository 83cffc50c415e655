"""Train a candidate rung by rung, each call going on from the checkpoint that the last one left."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dilnas.arch import Architecture
from dilnas.data import DataSplits
from dilnas.errors import CheckpointError, InputError, RunError
from dilnas.files import write_atomic
from dilnas.model import build_model
from dilnas.train.batches import Normalise, derived_seed
from dilnas.train.proxy import Proxy, proxy_architecture, training_share
from dilnas.train.state_file import read_state, write_state
from dilnas.train.trainer import OnProgress, Trainer, score, training_device

__all__ = ["CHECKPOINT", "CURVE", "RungResult", "evaluate", "train_to_rung"]

CHECKPOINT, CURVE = "checkpoint.pt", "curve.json"
"""Files in a trial's directory: all of its state, and its scores for people."""

FORMAT = 1
"""Version of the checkpoint. 1: first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungResult:
    """A candidate's score at a rung.

    Attributes:
        rung: 0-based.
        val_accuracy: of the averaged weights on the val split, 0..1; 0 if it diverged.
        val_loss: mean cross-entropy of the same; infinite if it diverged.
        images_seen: images trained on since the start, repeats counted.
        seconds: wall seconds of training and scoring since the start.
        images_per_s: training speed of this rung, scoring left out.
        diverged: the loss stopped being finite; there are no further rungs.
        train_loss: mean training loss over this rung; infinite if it diverged.
    """

    rung: int
    val_accuracy: float
    val_loss: float
    images_seen: int
    seconds: float
    images_per_s: float
    diverged: bool = False
    train_loss: float = math.inf


def train_to_rung(
    architecture: Architecture,
    proxy: Proxy,
    rung: int,
    splits: DataSplits,
    *,
    seed: int,
    directory: str | os.PathLike[str],
    on_progress: OnProgress | None = None,
    device: str | None = None,
) -> RungResult:
    """Train ``architecture`` on ``proxy`` up to ``rung`` (0-based) and score it on the val split.

    Goes on from ``directory``'s checkpoint if there is one, and leaves a new one for each rung on
    the way; a rung already reached returns its stored result and trains nothing. Going on gives
    the weights that one uninterrupted run would have given, to the bit on a CPU. After a
    divergence the same result is returned for every later rung.

    Raises InputError if the rung or the data's image size does not fit the proxy, CheckpointError
    if the checkpoint is damaged or belongs to another candidate, RunError if ``directory`` cannot
    be written.
    """
    if not 0 <= rung < proxy.rungs:
        raise InputError("no such rung", where="rung", expected=f"0..{proxy.rungs - 1}", got=rung)
    path = Path(directory) / CHECKPOINT
    identity = _identity(architecture, proxy, splits, seed)
    state = _read(path, identity) if path.exists() else None
    results = [RungResult(**values) for values in state["results"]] if state else []
    if results and (results[-1].rung >= rung or results[-1].diverged):
        return results[min(rung, len(results) - 1)]
    trainer = _trainer(architecture, proxy, splits, seed, device)
    network = _network(architecture, proxy, splits)
    if state:
        trainer.load_state_dict(state["trainer"])
    for target in range(len(results), rung + 1):
        results.append(_one_rung(trainer, proxy, target, splits, results, on_progress=on_progress))
        _write(Path(directory), {"identity": identity, "network": network}, trainer, results)
        if results[-1].diverged:
            break
    return results[-1]


def evaluate(
    architecture: Architecture,
    proxy: Proxy,
    splits: DataSplits,
    *,
    split: str,
    directory: str | os.PathLike[str],
    device: str | None = None,
) -> dict[str, float]:
    """``accuracy`` (0..1) and ``loss`` of the averaged weights in ``directory`` on ``split``.

    ``split`` is "val", "test" or "train". Raises CheckpointError if there is no checkpoint or it
    belongs to another candidate.
    """
    path = Path(directory) / CHECKPOINT
    if not path.exists():
        raise CheckpointError("there is no checkpoint", where=str(path))
    state = _read(path, _identity(architecture, proxy, splits, None))
    target = training_device(device)
    model = build_model(proxy_architecture(architecture, proxy, splits))
    # The trainer's memory format: another one rounds differently in the last bits.
    model = model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(state["trainer"]["average"])
    normalise = Normalise(splits.mean_std, target)
    accuracy, loss = score(model, splits.split(split), normalise, target)
    return {"accuracy": accuracy, "loss": loss}


def _identity(
    architecture: Architecture, proxy: Proxy, splits: DataSplits, seed: int | None
) -> dict[str, str]:
    """What a checkpoint belongs to. Raises InputError if the data is not at the proxy's size."""
    if splits.image_size != proxy.image_size:
        raise InputError(
            f"data must be loaded at the image size of proxy {proxy.name!r}", where="image_size",
            expected=proxy.image_size, got=splits.image_size,
        )  # fmt: skip
    architecture.check_input(proxy.image_size, proxy.image_size)
    identity = {
        "architecture": architecture.key,
        "proxy": json.dumps(proxy.to_dict(), sort_keys=True),
        "data": splits.fingerprint,
    }
    return identity if seed is None else {**identity, "seed": str(seed)}


def _trainer(
    architecture: Architecture, proxy: Proxy, splits: DataSplits, seed: int, device: str | None
) -> Trainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "init"))
        model = build_model(
            proxy_architecture(architecture, proxy, splits),
            drop_path_rate=proxy.recipe.drop_path_rate,
        )
    return Trainer(
        model, proxy.recipe, training_share(splits, proxy), splits.mean_std,
        num_classes=splits.num_classes, seed=seed, device=training_device(device),
    )  # fmt: skip


def _one_rung(
    trainer: Trainer,
    proxy: Proxy,
    rung: int,
    splits: DataSplits,
    before: list[RungResult],
    *,
    on_progress: OnProgress | None,
) -> RungResult:
    started = time.perf_counter()
    fit = trainer.fit(proxy.images[rung], on_progress)
    accuracy, loss = 0.0, math.inf
    if not fit.diverged:
        accuracy, loss = trainer.evaluate(splits.val)
    diverged = not math.isfinite(loss)
    return RungResult(
        rung=rung,
        val_accuracy=0.0 if diverged else accuracy,
        val_loss=math.inf if diverged else loss,
        images_seen=trainer.images_seen,
        seconds=time.perf_counter() - started + (before[-1].seconds if before else 0.0),
        images_per_s=fit.images / fit.seconds,
        diverged=diverged,
        train_loss=math.inf if diverged else fit.train_loss,
    )


def _network(architecture: Architecture, proxy: Proxy, splits: DataSplits) -> dict[str, Any]:
    """What was trained and how its input is normalised, for readers without the data."""
    mean, std = splits.mean_std
    return {
        "architecture": proxy_architecture(architecture, proxy, splits).to_dict(),
        "mean": list(mean),
        "std": list(std),
    }


def _write(
    directory: Path, labels: dict[str, Any], trainer: Trainer, results: list[RungResult]
) -> None:
    """Checkpoint first: it is the truth, the curve is its readable part."""
    rows = [asdict(result) for result in results]
    state = {
        "dilnas_checkpoint": FORMAT,
        **labels,
        "results": rows,
        "trainer": trainer.state_dict(),
    }
    write_state(directory / CHECKPOINT, state)
    curve = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]
    text = json.dumps({**labels["identity"], "rungs": curve}, indent=1, allow_nan=False)
    write_atomic(directory / CURVE, text + "\n", kind=RunError)


def _read(path: Path, identity: dict[str, str]) -> dict[str, Any]:
    """The checkpoint at ``path``, tensors and plain data only, if it belongs to ``identity``."""
    state = read_state(path, "dilnas_checkpoint", FORMAT)
    for name, expected in identity.items():
        got = state["identity"].get(name)
        if got != expected:
            raise CheckpointError(
                f"belongs to another candidate: its {name} differs", where=str(path),
                expected=expected, got=got,
            )  # fmt: skip
    return state
