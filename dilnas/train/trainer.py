"""Trainer: the training loop of proxies; that of full training is ``dilnas.train.loop``.

A proxy counts images and holds its data in memory; a full training counts epochs, reads files, and
may be several processes. What an update does to the weights is the same: ``dilnas.train.weights``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dilnas.data import ImageSet
from dilnas.errors import DeviceError
from dilnas.train.average import WeightAverage
from dilnas.train.batches import BatchStream, Normalise, derived_seed
from dilnas.train.recipe import Recipe
from dilnas.train.weights import UpdateRule, Weights

__all__ = ["FitResult", "OnProgress", "Trainer", "score", "training_device"]

OnProgress = Callable[[int, float], None]
"""Called about once a second as ``on_progress(images_seen, images_per_s)``."""

PROGRESS_EVERY_S = 1.0

CHECK_EVERY_CUDA = 25
"""Steps between two looks at the loss on a GPU, where looking makes the CPU wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """One call of ``Trainer.fit``: images and wall seconds of this call alone."""

    images: int
    seconds: float
    train_loss: float
    diverged: bool


def training_device(name: str | None = None) -> torch.device:
    """The device of that name; without one, CUDA where there is any, else the CPU.

    Raises DeviceError for a device that this machine does not have.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError("unknown device", where=name) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("this machine has no CUDA device", where=name)
    return device


def amp_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The autocast type that ``Recipe.amp`` means on ``device``; None for none."""
    if amp == "auto":
        return torch.bfloat16 if device.type == "cuda" else None
    return {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


class Trainer:
    """A model in training: weights, their average, the optimiser's state and the step.

    Equal arguments give equal weights, bit for bit on a CPU with equal thread counts, whether the
    run is interrupted (``state_dict``, ``load_state_dict``) or not.

    Args:
        model: what is trained; moved to ``device``.
        train: images and labels of the training split.
        mean_std: of each channel, in 0..255.
        seed: decides the order of the data, augmentation and the model's own dropping.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        train: ImageSet,
        mean_std: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        num_classes: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.recipe, self.device, self.seed = recipe, device, seed
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rule = UpdateRule(
            betas=recipe.betas, weight_decay=recipe.weight_decay, clip=recipe.clip_norm or None,
            smoothing=recipe.label_smoothing, amp=amp_dtype(recipe.amp, device),
        )  # fmt: skip
        self.average = WeightAverage(self.model, recipe.ema_gamma)
        self.weights = Weights(self.model, rule, self.average, device)
        self.stream = BatchStream(
            train, mean_std, recipe, num_classes=num_classes, seed=seed, device=device
        )
        self.step = 0

    @property
    def images_seen(self) -> int:
        """Images trained on so far, repeats counted."""
        return self.step * self.recipe.batch_size

    def fit(self, until_images: int, on_progress: OnProgress | None = None) -> FitResult:
        """Train until at least ``until_images`` have been seen, or until the loss is not finite."""
        self.model.train()
        first, started = self.step, time.perf_counter()
        last_step = math.ceil(until_images / self.recipe.batch_size)
        check_every = 1 if self.device.type == "cpu" else CHECK_EVERY_CUDA
        losses: list[Tensor] = []
        total, finite, due = 0.0, True, started + PROGRESS_EVERY_S
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            while self.step < last_step and finite:
                losses.append(self._train_step())
                if len(losses) >= check_every or self.step == last_step:
                    recent = float(torch.stack(losses).sum())
                    finite, total = math.isfinite(recent), total + recent
                    losses.clear()
                now = time.perf_counter()
                if on_progress is not None and now >= due:
                    due = now + PROGRESS_EVERY_S
                    speed = (self.step - first) * self.recipe.batch_size / (now - started)
                    on_progress(self.images_seen, speed)
        steps = self.step - first
        return FitResult(
            images=steps * self.recipe.batch_size,
            seconds=time.perf_counter() - started,
            train_loss=total / max(1, steps),
            diverged=not finite,
        )

    def _train_step(self) -> Tensor:
        self.weights.begin(self.recipe.lr_at(self.images_seen))
        images, targets = self.stream.batch(self.step)
        torch.manual_seed(derived_seed(self.seed, "step", self.step))  # for stochastic depth
        loss = self.weights.backward(images, targets)
        self.step += 1
        self.weights.finish(self.step)
        return loss

    def evaluate(self, images: ImageSet) -> tuple[float, float]:
        """(accuracy in 0..1, mean cross-entropy) of the averaged weights on ``images``."""
        with self.weights.autocast():
            return score(self.average.model, images, self.stream.normalise, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors, numbers and plain containers."""
        return {"step": self.step, **self.weights.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of a trainer with the same arguments."""
        self.weights.load_state_dict(state)
        self.step = int(state["step"])


@torch.inference_mode()
def score(
    model: nn.Module, images: ImageSet, normalise: Normalise, device: torch.device
) -> tuple[float, float]:
    """(accuracy in 0..1, mean cross-entropy) of ``model`` on ``images``."""
    model.eval()
    correct, loss = 0.0, 0.0
    for batch, labels in images.batches(500):
        logits = model(normalise(batch.to(device))).float()
        targets = labels.to(device)
        correct += float((logits.argmax(1) == targets).sum())
        loss += float(functional.cross_entropy(logits, targets, reduction="sum"))
    return correct / len(images), loss / len(images)
