"""Loading: from picks to batches of tensors, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dilnas.errors import DataError, RunError
from dilnas.train.batches import derived_seed
from dilnas.train.order import MicroBatches, Pick
from dilnas.train.transforms import Transform, seeded

if TYPE_CHECKING:
    from dilnas.data.stream import Items

__all__ = ["Batch", "Broken", "train_batches", "val_batches"]

MOST_IN_A_ROW = 16
"""Broken images in a row after which even a training that skips them gives up."""

Sample = tuple[Tensor, int, tuple[str, ...]]
"""Image, label, and the broken ones that it stands in for."""

VAL = -1
"""In place of the epoch: the image is not augmented."""


@dataclass(frozen=True)
class Broken:
    """An image that cannot be read: the error travels as data, since a process that raises it in a
    DataLoader hands on its text only.
    """

    error: DataError
    label: int


@dataclass(frozen=True)
class Batch:
    """float32 (B, C, H, W) and int64 (B,); which images were left out for being broken."""

    images: Tensor
    labels: Tensor
    skipped: tuple[str, ...] = ()

    def pin_memory(self) -> Batch:
        """In page-locked memory; a DataLoader's thread calls this by its name."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.skipped)


class _Loaded(Dataset[Any]):
    """A sample by its pick."""

    def __init__(self, items: Items, transform: Transform, seed: int, *, skip: bool) -> None:
        self.items, self.transform, self.seed, self.skip = items, transform, seed, skip

    def __getitem__(self, pick: Pick) -> Sample | Broken:
        epoch, place, index = pick
        if epoch == VAL:
            return self._one(index, self.transform)
        seed = derived_seed(self.seed, f"augment {epoch}", place)
        transform = seeded(self.transform, seed)
        found = self._one(index, transform)
        skipped: list[str] = []
        while isinstance(found, Broken) and self.skip and len(skipped) < MOST_IN_A_ROW:
            skipped.append(str(found.error))
            index = (index + 1) % len(self.items.labels)  # the next one takes its place
            found = self._one(index, transform)
        return found if isinstance(found, Broken) else (found[0], found[1], tuple(skipped))

    def _one(
        self, index: int, transform: Transform
    ) -> tuple[Tensor, int, tuple[str, ...]] | Broken:
        label = int(self.items.labels[index])
        try:
            image = self.items.image(index)
        except DataError as error:
            return Broken(error, label)
        return transform(image), label, ()


class _Collate:
    """A list of samples as one batch, or the first broken one."""

    def __init__(self, *, drop: bool) -> None:
        self.drop = drop

    def __call__(self, samples: Sequence[Any]) -> Batch | Broken:
        broken = [sample for sample in samples if isinstance(sample, Broken)]
        good = [sample for sample in samples if not isinstance(sample, Broken)]
        if broken and not (self.drop and good):
            return broken[0]
        skipped = [text for _, _, texts in good for text in texts]
        skipped += [str(sample.error) for sample in broken]
        labels = torch.tensor([label for _, label, _ in good])
        return Batch(torch.stack([image for image, _, _ in good]), labels, tuple(skipped))


def train_batches(
    items: Items, transform: Transform, batches: MicroBatches, *, loaders: int, skip: bool,
    pin: bool,
) -> Iterator[Batch]:  # fmt: skip
    """The micro-batches of one worker, in order; each image's augmentation has a seed of its own.

    Args:
        items: the training set.
        transform: what is done to each image.
        batches: which ones.
        loaders: processes that load; 0: this one does.
        skip: put the next image in place of a broken one.
        pin: into page-locked memory, for a GPU.

    Raises DataError naming the first broken image, when its batch is due.
    """
    dataset = _Loaded(items, transform, batches.order.seed, skip=skip)
    return _run(dataset, batches, loaders, pin, _Collate(drop=False))


def val_batches(
    items: Items, transform: Transform, indices: Sequence[int], size: int, *, loaders: int,
    skip: bool, pin: bool,
) -> Iterator[Batch]:  # fmt: skip
    """Batches of at most ``size`` images at ``indices``; with ``skip`` without broken ones."""
    dataset = _Loaded(items, transform, 0, skip=False)
    picks = [
        [(VAL, 0, int(i)) for i in indices[at : at + size]] for at in range(0, len(indices), size)
    ]
    return _run(dataset, picks, loaders, pin, _Collate(drop=skip))


def _run(
    dataset: _Loaded, batches: Any, loaders: int, pin: bool, collate: _Collate
) -> Iterator[Batch]:
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_sampler=batches, num_workers=loaders, collate_fn=collate, pin_memory=pin
    )
    try:
        for batch in loader:
            if isinstance(batch, Broken):
                raise batch.error
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "a process that loads images died, perhaps for lack of memory or of /dev/shm; the same "
            "command goes on from the last state",
            where="--loaders", got=loaders,
        ) from error  # fmt: skip
