"""Job: a full training as plain data, which every worker gets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dilnas.arch import Architecture
from dilnas.train.full_recipe import TrainRecipe

if TYPE_CHECKING:
    from dilnas.data.stream import DataStream

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained, on what, how and where.

    Attributes:
        architecture: with the data's classes and channels.
        recipe: with its batch size and rate as they are used.
        data, val: what ``open_stream`` takes.
        image_size: side in pixels.
        seed: of everything that is drawn.
        amp: "none", "bf16" or "fp16".
        finetune: checkpoint to start from.
        directory: the training's folder, absolute.
        workers: processes that train together.
        accumulate: micro-steps of an update.
        loaders: processes that load images, for each worker.
        device: "cpu" or "cuda".
        threads: of torch, in each of several workers; 0: as torch finds them.
        skip_corrupt: put another image in place of a broken one.
        save_every: seconds between two states within an epoch.
        cwd: what relative paths are relative to.
    """

    architecture: Architecture
    recipe: TrainRecipe
    data: str
    val: str | None
    image_size: int
    seed: int
    amp: str
    finetune: str | None
    directory: Path
    workers: int
    accumulate: int
    loaders: int
    device: str
    threads: int
    skip_corrupt: bool
    save_every: float
    cwd: str

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """Type of autocast; None for none."""
        return {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.amp]

    @property
    def micro_batch(self) -> int:
        """Images of one worker in one micro-step."""
        return self.recipe.batch_size // (self.workers * self.accumulate)

    def identity(self, stream: DataStream) -> dict[str, Any]:
        """What must be equal for a training to be continued: what decides its weights, but for the
        number of workers and micro-steps.
        """
        return {
            "architecture": self.architecture.key,
            "data": self.data,
            "val": self.val,
            "data_fingerprint": stream.fingerprint,
            "img_size": self.image_size,
            "seed": self.seed,
            "amp": self.amp,
            "finetune": _digest(self.finetune),
            "recipe": self.recipe.to_dict(),
        }

    def workplace(self) -> dict[str, Any]:
        """What may differ when it goes on."""
        return {
            "workers": self.workers, "accumulate": self.accumulate, "loaders": self.loaders,
            "device": self.device,
        }  # fmt: skip


def _digest(path: str | None) -> str | None:
    """16 hexadecimal digits of a file's contents."""
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
