"""Updater: one update of the weights, of one or several micro-steps, by one or several workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dilnas.model import build_model, load_pretrained
from dilnas.train.average import DecayAverage
from dilnas.train.batches import derived_seed
from dilnas.train.group import Group
from dilnas.train.job import Job
from dilnas.train.loader import Batch
from dilnas.train.mixing import mixed_batch
from dilnas.train.schedule import learning_rate
from dilnas.train.weights import UpdateRule, Weights

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
    """A worker's ``Weights``, updated from batches that the group's workers share.

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
        rule = UpdateRule(
            betas=recipe.opt_betas, eps=recipe.opt_eps, weight_decay=recipe.weight_decay,
            clip=recipe.clip_grad, smoothing=recipe.smoothing, amp=job.amp_dtype,
        )  # fmt: skip
        average = DecayAverage(self.model, recipe.model_ema_decay) if recipe.model_ema else None
        self.weights = Weights(self.model, rule, average, self.device)
        self.wrapped: nn.Module = self.model

    def join(self) -> None:
        """Average gradients with the other workers from here on: once all hold equal weights."""
        self.wrapped = self.group.wrapped(self.model)

    @property
    def averaged(self) -> nn.Module | None:
        """The network with the averaged weights; None where none are kept."""
        average = self.weights.average
        return None if average is None else average.model

    def step(self, update: int, batches: Iterator[Batch]) -> tuple[Tensor, list[str]]:
        """The 0-based ``update``: (mean loss of this worker, texts of broken images)."""
        self.weights.begin(learning_rate(self.recipe, update, self.updates_per_epoch))
        total = torch.zeros((), device=self.device)
        skipped: list[str] = []
        for micro in range(self.job.accumulate):
            batch = next(batches)
            skipped += batch.skipped
            loss = self._backward(batch, update * self.job.accumulate + micro)
            total += loss / self.job.accumulate
        self.weights.finish(update + 1)
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
            return self.weights.backward(images, targets, share=accumulate, through=self.wrapped)

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the workers once an update, at its last micro-step."""
        if last or self.group.world == 1:
            return contextlib.nullcontext()
        return self.wrapped.no_sync()  # type: ignore[operator, no-any-return]
