"""Updater: one update of the weights, of one or several micro-steps, by one or several workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dilnas.model import build_model, load_pretrained
from dilnas.train.average import DecayAverage
from dilnas.train.batches import derived_seed
from dilnas.train.group import Group
from dilnas.train.job import Job
from dilnas.train.loader import Batch
from dilnas.train.mixing import mixed_batch
from dilnas.train.schedule import learning_rate
from dilnas.train.trainer import parameter_groups

__all__ = ["Updater"]


def _network(job: Job) -> nn.Module:
    """The network with its first weights: drawn by the seed, or those of ``job.finetune``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(job.seed, "init"))
        model = build_model(job.architecture, drop_path_rate=job.recipe.drop_path)
    if job.finetune is not None:
        load_pretrained(model, job.finetune)
    return model


class Updater:
    """A worker's network with all that an update changes: weights, average, optimiser, scaler.

    Dropped paths and mixing are drawn from seeds of the update's number and the worker's rank.

    Args:
        job: what is trained.
        group: this worker among the others.
        num_classes: of the data.
        updates_per_epoch: for the learning rate.
    """

    def __init__(self, job: Job, group: Group, num_classes: int, updates_per_epoch: int) -> None:
        self.job, self.group, self.recipe = job, group, job.recipe
        self.num_classes, self.updates_per_epoch = num_classes, updates_per_epoch
        self.device = group.device
        self.model = _network(job).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe = job.recipe
        self.average = (
            DecayAverage(self.model, recipe.model_ema_decay) if recipe.model_ema else None
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, recipe.weight_decay), lr=recipe.peak_lr,
            betas=recipe.opt_betas, eps=recipe.opt_eps, fused=True,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=job.amp_dtype is torch.float16)
        self.wrapped: nn.Module = self.model

    def join(self) -> None:
        """Average gradients with the other workers from here on: once all hold equal weights."""
        self.wrapped = self.group.wrapped(self.model)

    @property
    def averaged(self) -> nn.Module | None:
        """The network with the averaged weights; None where none are kept."""
        return None if self.average is None else self.average.model

    @property
    def rate(self) -> float:
        """Learning rate of the last update."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Of the job's precision, for training and validation alike."""
        if self.job.amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.job.amp_dtype)

    def step(self, update: int, batches: Iterator[Batch]) -> tuple[Tensor, list[str]]:
        """The 0-based ``update``: (mean loss of this worker, texts of broken images)."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, update, self.updates_per_epoch)
        total = torch.zeros((), device=self.device)
        skipped: list[str] = []
        self.optimizer.zero_grad(set_to_none=True)
        for micro in range(self.job.accumulate):
            batch = next(batches)
            skipped += batch.skipped
            loss = self._backward(batch, update * self.job.accumulate + micro)
            total += loss / self.job.accumulate
        if recipe.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(update + 1)
        return total, skipped

    def _backward(self, batch: Batch, number: int) -> Tensor:
        """Add the gradient of micro-step ``number``; its loss. The last of an update is shared."""
        accumulate = self.job.accumulate
        seed = derived_seed(self.job.seed, f"step {self.group.rank}", number)
        images = batch.images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        labels = batch.labels.to(self.device, non_blocking=True)
        images, targets = mixed_batch(images, labels, self.recipe, self.num_classes, seed)
        torch.manual_seed(seed)  # for stochastic depth
        with self._synchronised((number + 1) % accumulate == 0):
            with self.autocast():
                logits = self.wrapped(images)
            loss = functional.cross_entropy(
                logits.float(), targets, label_smoothing=self.recipe.smoothing
            )
            self.scaler.scale(loss / accumulate).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the workers once an update, at its last micro-step."""
        if last or self.group.world == 1:
            return contextlib.nullcontext()
        return self.wrapped.no_sync()  # type: ignore[operator, no-any-return]

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``; others' entries may lie beside."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
