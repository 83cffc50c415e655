"""Mixup and CutMix by a recipe of timm's names."""

from __future__ import annotations

import random

from torch import Tensor
from torch.nn import functional

from dilnas.train.batches import mixed
from dilnas.train.full_recipe import TrainRecipe

__all__ = ["mixed_batch"]


def mixed_batch(
    images: Tensor, labels: Tensor, recipe: TrainRecipe, num_classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """(images, targets): float32 (B, C, H, W) and probabilities (B, num_classes) or labels.

    With both on, a batch is cut with chance ``mixup_switch_prob``, as timm draws it. Label
    smoothing is the loss's.
    """
    if not (recipe.mixup or recipe.cutmix):
        return images, labels
    source = random.Random(seed)
    if source.random() >= recipe.mixup_prob:
        return images, functional.one_hot(labels, num_classes).to(images.dtype)
    return mixed(
        images, labels, num_classes, source,
        mixup=recipe.mixup, cutmix=recipe.cutmix, switch=recipe.mixup_switch_prob,
    )  # fmt: skip
