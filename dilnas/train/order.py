"""Which image is trained on when and by whom: a function of (seed, epoch, update) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dilnas.errors import InputError
from dilnas.train.batches import derived_seed

__all__ = ["Order", "Pick"]

Pick = tuple[int, int, int]
"""(epoch, place in the epoch, index of the image). The place seeds the augmentation."""


@dataclass
class Order:
    """The order of a training set over a whole training.

    An epoch draws a permutation of the images and takes each image of it ``repeats`` times in a
    row, until it has filled its updates: len(images) // batch_size of them, as many as without
    repeats. So an epoch sees about 1/repeats of the images, the others have their turn in later
    ones (repeated augmentation: Hoffer et al., CVPR 2020; as DeiT's sampler).

    An update's images are dealt out one by one over micro-steps and workers: the copies of an
    image meet different ones, and which images an update sees does not depend on their number.

    Attributes:
        images: size of the training set.
        batch_size: images of an update, on all workers together.
        repeats: copies of an image.
        seed: of the permutations.
    """

    images: int
    batch_size: int
    repeats: int
    seed: int
    _epochs: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size > self.images:
            raise InputError(
                "larger than the training set", where="--batch-size",
                expected=f"<= {self.images}", got=self.batch_size,
            )  # fmt: skip

    @property
    def updates_per_epoch(self) -> int:
        """Updates of an epoch; what does not fill one is left out."""
        return self.images // self.batch_size

    def epoch(self, epoch: int) -> Tensor:
        """int64 (updates_per_epoch · batch_size,): the images of an epoch, in order."""
        if epoch not in self._epochs:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
            order = torch.randperm(self.images, generator=generator)
            order = order.repeat_interleave(max(1, self.repeats))
            kept = order[: self.updates_per_epoch * self.batch_size].clone()
            self._epochs = {epoch: kept}
        return self._epochs[epoch]

    def share(self, update: int, part: int, parts: int) -> list[Pick]:
        """What one of ``parts`` (micro-steps times workers) takes of the 0-based ``update``."""
        epoch, inside = divmod(update, self.updates_per_epoch)
        first = inside * self.batch_size
        places = range(first + part, first + self.batch_size, parts)
        order = self.epoch(epoch)
        return [(epoch, place, int(order[place])) for place in places]

    def shares(self, start: int, end: int, rank: int, world: int, micro: int) -> MicroBatches:
        """The micro-batches of worker ``rank`` of ``world``, from update ``start`` to ``end``."""
        return MicroBatches(self, start, end, rank, world, micro)


@dataclass(frozen=True)
class MicroBatches:
    """Lists of picks, ``micro`` an update; what a DataLoader takes as its batch sampler."""

    order: Order
    start: int
    end: int
    rank: int
    world: int
    micro: int

    def __len__(self) -> int:
        return (self.end - self.start) * self.micro

    def __iter__(self) -> Iterator[list[Pick]]:
        for update in range(self.start, self.end):
            for step in range(self.micro):
                part = step * self.world + self.rank
                yield self.order.share(update, part, self.micro * self.world)
