"""Batches: which images a step sees and what is done to them, a function of (seed, step) alone.

Nothing depends on the state of a global random generator, so a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import math
import random

import torch
from torch import Tensor
from torch.nn import functional

from dilnas.data import ImageSet
from dilnas.train.recipe import Recipe

__all__ = ["BatchStream", "Normalise", "derived_seed"]

ON_DEVICE_BYTES = 2 << 30
"""A training set up to this size lives on the device; a larger one is copied a batch at a time."""


def derived_seed(seed: int, purpose: str, number: int = 0) -> int:
    """A 63-bit seed for one purpose ("init", "order", …) of a run; independent between them."""
    text = f"dilnas:{seed}:{purpose}:{number}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1


class Normalise:
    """uint8 (B, C, H, W) → float32 of mean 0 and standard deviation 1 by channel."""

    def __init__(
        self, mean_std: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device
    ) -> None:
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in mean_std)
        self.scale = 1 / std
        self.offset = -mean / std

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised copy, channels-last in memory."""
        floats = images.to(self.scale.dtype).mul_(self.scale).add_(self.offset)
        return floats.contiguous(memory_format=torch.channels_last)


class BatchStream:
    """The endless stream of training batches of one seed.

    Every epoch is a permutation of the whole set; batches run across the border of two epochs, so
    that each one is full.
    """

    def __init__(
        self,
        images: ImageSet,
        mean_std: tuple[tuple[float, ...], tuple[float, ...]],
        recipe: Recipe,
        *,
        num_classes: int,
        seed: int,
        device: torch.device,
    ) -> None:
        fits = images.images.nbytes <= ON_DEVICE_BYTES
        self.images = images.images.to(device) if fits else images.images
        self.labels = images.labels.to(self.images.device)
        self.normalise = Normalise(mean_std, device)
        self.recipe, self.num_classes = recipe, num_classes
        self.seed, self.device = seed, device
        self._epochs: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
            self._epochs = {e: order for e, order in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = torch.randperm(len(self), generator=generator)
        return self._epochs[epoch]

    def indices(self, step: int) -> Tensor:
        """int64 (batch_size,): the images of ``step``."""
        start, size = step * self.recipe.batch_size, self.recipe.batch_size
        parts = []
        while size:
            epoch, offset = divmod(start, len(self))
            part = self._order(epoch)[offset : offset + size]
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Normalised float32 images (B, C, H, W) and their targets.

        Targets are int64 (B,), or probabilities (B, classes) when mixup or CutMix is on.
        """
        chosen = self.indices(step).to(self.images.device)
        images, labels = self.images[chosen], self.labels[chosen]
        recipe = self.recipe
        if recipe.shift or recipe.flip:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "augment", step))
            images = augment(images, recipe.shift, recipe.flip, generator)
        floats = self.normalise(images.to(self.device, non_blocking=True))
        labels = labels.to(self.device, non_blocking=True)
        if recipe.mixup or recipe.cutmix:
            source = random.Random(derived_seed(self.seed, "mix", step))
            return mix(floats, labels, recipe, self.num_classes, source)
        return floats, labels


def augment(images: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift each uint8 (B, C, H, W) image by up to ``shift`` pixels and mirror half of them."""
    count, _, height, width = images.shape
    device = images.device
    if shift:
        offsets = torch.randint(0, 2 * shift + 1, (2, count), generator=generator).to(device)
        padded = functional.pad(images, (shift, shift, shift, shift))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(count, device=device), :, offsets[0], offsets[1]]
    if flip:
        mirrored = torch.randint(0, 2, (count, 1, 1, 1), generator=generator).to(device)
        images = torch.where(mirrored.bool(), images.flip(-1), images)
    return images


def mix(
    images: Tensor, labels: Tensor, recipe: Recipe, num_classes: int, source: random.Random
) -> tuple[Tensor, Tensor]:
    """``mixed`` by the alphas of ``recipe``; with both, each takes half the batches."""
    return mixed(images, labels, num_classes, source, mixup=recipe.mixup, cutmix=recipe.cutmix)


def mixed(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    source: random.Random,
    *,
    mixup: float,
    cutmix: float,
    switch: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Blend (mixup) or paste (CutMix) each image of a batch with its opposite in the batch.

    Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899. The targets are blended by the
    share of each image. ``mixup`` and ``cutmix`` are alphas, 0 is off; with both, CutMix has the
    chance ``switch``.
    """
    cut = cutmix > 0 and (mixup == 0 or source.random() < switch)
    alpha = cutmix if cut else mixup
    share = source.betavariate(alpha, alpha)
    if cut:
        height, width = images.shape[-2:]
        side = math.sqrt(1 - share)
        top, bottom = _span(source.random(), side, height)
        left, right = _span(source.random(), side, width)
        blended = images.clone()
        blended[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        blended = torch.lerp(images.flip(0), images, share)
    targets = functional.one_hot(labels, num_classes).to(images.dtype)
    return blended, torch.lerp(targets.flip(0), targets, share)


def _span(centre: float, side: float, length: int) -> tuple[int, int]:
    middle, half = int(centre * length), int(side * length) // 2
    return max(0, middle - half), min(length, middle + half)
