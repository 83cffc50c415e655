"""What is done to an image before a network sees it: in training, by chance; else not.

Files go through timm's pipeline, the one that the paper's recipe is written for. Images in memory
are small (28 to 64 pixels, often grey): they are shifted and mirrored, nothing else, and need no
library.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dilnas.errors import DependencyError, InputError
from dilnas.posterizing import posterized
from dilnas.train.batches import augment
from dilnas.train.full_recipe import TrainRecipe

if TYPE_CHECKING:
    from dilnas.data.stream import DataStream

__all__ = ["SHIFT_SHARE", "Transform", "seeded", "transforms"]

SHIFT_SHARE = 8
"""An image in memory is shifted by up to 1/8 of its side: 4 of 32 pixels, as is usual there."""

Transform = Callable[[Any], Tensor]
"""From a picture, or uint8 (C, H, W), to normalised float32 (C, H, W)."""


def transforms(
    stream: DataStream, recipe: TrainRecipe, image_size: int
) -> tuple[Transform, Transform]:
    """(training, validation). Raises DependencyError where files are to be read without timm."""
    if stream.mean_std is not None:
        plain = MemoryTransform(stream.mean_std, 0, 0.0)
        shift = image_size // SHIFT_SHARE
        return MemoryTransform(stream.mean_std, shift, recipe.hflip), plain
    try:
        from timm.data import create_transform
    except (ImportError, RuntimeError) as error:  # RuntimeError: beside a broken torchvision
        raise DependencyError(
            f"training on image files needs timm ({error}): pip install 'dilnas[timm]'",
            where="--data",
        ) from error
    shared = {
        "input_size": (3, image_size, image_size), "mean": recipe.mean, "std": recipe.std,
    }  # fmt: skip
    try:
        train = create_transform(
            **shared, is_training=True, scale=recipe.scale, ratio=recipe.ratio, hflip=recipe.hflip,
            color_jitter=recipe.color_jitter, auto_augment=recipe.aa,
            interpolation=recipe.interpolation, re_prob=recipe.reprob, re_mode=recipe.remode,
            re_count=recipe.recount,
        )  # fmt: skip
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            "not an augmentation that timm knows", where="aa", got=recipe.aa
        ) from error
    _mend(train)
    still = "bicubic" if recipe.interpolation == "random" else recipe.interpolation
    crop = {"interpolation": still, "crop_pct": recipe.crop_pct}
    return train, create_transform(**shared, **crop, is_training=False)


def _mend(transform: Any) -> None:
    """Posterise by ``posterized`` in this transform; the process may have others of timm's."""
    for step in transform.transforms:
        policies = getattr(step, "policy", ())
        for op in (*getattr(step, "ops", ()), *(op for policy in policies for op in policy)):
            if op.name.startswith("Posterize"):
                op.aug_fn = posterized


class MemoryTransform:
    """uint8 (C, H, W) shifted by up to ``shift`` pixels, mirrored with chance ``flip``, normalised.

    Args:
        mean_std: of each channel, in 0..1.
        shift: in pixels.
        flip: 0..1.
    """

    def __init__(
        self, mean_std: tuple[tuple[float, ...], tuple[float, ...]], shift: int, flip: float
    ) -> None:
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) for v in mean_std)
        self.shift, self.flip = shift, flip

    def __call__(self, image: Tensor) -> Tensor:
        """float32 (C, H, W). Draws from torch's global generator."""
        if self.shift:
            seed = int(torch.randint(1 << 62, ()))
            generator = torch.Generator().manual_seed(seed)
            image = augment(image[None], self.shift, False, generator)[0]
        if self.flip and float(torch.rand(())) < self.flip:
            image = image.flip(-1)
        return (image.float() / 255 - self.mean) / self.std


def seeded(transform: Transform, seed: int) -> Transform:
    """``transform`` with every generator that the libraries draw from set to ``seed`` first."""
    import numpy as np

    def apply(image: Any) -> Tensor:
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.manual_seed(seed)
        return transform(image)

    return apply
