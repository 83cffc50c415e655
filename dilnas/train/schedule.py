"""The learning rate of a full training: a linear warm-up, a cosine, a floor."""

from __future__ import annotations

import math

from dilnas.train.full_recipe import TrainRecipe

__all__ = ["learning_rate"]


def learning_rate(recipe: TrainRecipe, update: int, updates_per_epoch: int) -> float:
    """The rate of the 0-based ``update``, as timm's cosine scheduler has it.

    With t in epochs: below warmup_epochs, warmup_lr + t/warmup_epochs · (peak - warmup_lr); below
    epochs, min_lr + (peak - min_lr)/2 · (1 + cos(π t / epochs)); then min_lr. The cosine runs from
    epoch 0, so at the end of the warm-up the rate is a little below its peak. t is the number of
    whole epochs done, or with ``sched_on_updates`` of updates, as a fraction. (The authors' loop
    sets each epoch's rate one epoch late, as DeiT's does: its first two are both at warmup_lr.)
    """
    t = update / updates_per_epoch
    if not recipe.sched_on_updates:
        t = float(update // updates_per_epoch)
    peak = recipe.peak_lr
    if t < recipe.warmup_epochs:
        return recipe.warmup_lr + t / recipe.warmup_epochs * (peak - recipe.warmup_lr)
    if t >= recipe.epochs:
        return recipe.min_lr
    low = min(recipe.min_lr, peak)
    return low + (peak - low) / 2 * (1 + math.cos(math.pi * t / recipe.epochs))
