"""ImageSet and DataSplits: labelled images in memory, and the fixed splits of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dilnas.errors import DataError

__all__ = ["MAX_BYTES", "DataSplits", "ImageSet", "carve", "statistics"]

MAX_BYTES = 8 << 30
"""Decoded images above this are refused: data sets are held in memory."""

SPLIT_FORMAT = 1
"""Part of every fingerprint and of every split's hash. 1: first."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, decoded once.

    Attributes:
        images: uint8 (N, C, H, W), H = W = the image size.
        labels: int64 (N,), classes 0 … num_classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` (int64 (n,)), copied."""
        return ImageSet(self.images[indices], self.labels[indices])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Consecutive (images, labels) of at most ``size`` images, as views."""
        for start in range(0, len(self), size):
            yield self.images[start : start + size], self.labels[start : start + size]


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSplits:
    """A data set at one image size.

    Attributes:
        name: the spec it was loaded from.
        num_classes, in_chans, image_size: of every split; the image size is a side in pixels.
        fingerprint: 16 hexadecimal digits of the files' contents; the same at every image size.
        train: what is trained on.
        val: what a search compares candidates on; never trained on.
        test: what the final table is computed on; never seen by a search.
        class_names: a name for each class.
    """

    name: str
    num_classes: int
    in_chans: int
    image_size: int
    fingerprint: str
    train: ImageSet
    val: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]

    def split(self, name: str) -> ImageSet:
        """The split called "train", "val" or "test"."""
        if name not in ("train", "val", "test"):
            raise DataError("unknown split", where="split", expected="train|val|test", got=name)
        chosen: ImageSet = getattr(self, name)
        return chosen

    @cached_property
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of ``train``, in 0..255."""
        return statistics(self.train.images)


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (at least 1) of each channel of uint8 (N, C, H, W), in 0..255.

    At most 10,000 images, evenly spaced, are looked at.
    """
    step = max(1, len(images) // 10_000)
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    square, count = torch.zeros_like(total), 0
    for chunk in torch.split(images[::step], 1024):
        values = chunk.double()
        total += values.sum((0, 2, 3))
        square += values.square().sum((0, 2, 3))
        count += values.numel() // values.shape[1]
    mean = total / count
    std = (square / count - mean.square()).clamp(min=1.0).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def carve(
    labels: Sequence[int],
    names: Sequence[str],
    shares: Sequence[float],
    *,
    where: str,
    class_names: Sequence[str] = (),
) -> list[list[int]]:
    """Split items deterministically and with every class in proportion.

    Within a class the items are ordered by a hash of their name, so that adding a file moves no
    other. Returns index lists, ascending: one for each share, then the rest. Every list has at
    least one item of each class, else DataError, which names the class.
    """
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for index, (label, name) in enumerate(zip(labels, names, strict=True)):
        digest = hashlib.sha256(f"dilnas-split-{SPLIT_FORMAT}:{name}".encode()).digest()
        by_class.setdefault(label, []).append((digest, index))
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for label in sorted(by_class):
        ordered = [index for _, index in sorted(by_class[label])]
        if len(ordered) <= len(shares):
            called = class_names[label] if class_names else label
            raise DataError(
                f"class {called} has too few images to be split", where=where,
                expected=f">= {len(shares) + 1}", got=len(ordered),
            )  # fmt: skip
        start = 0
        for part, share in zip(parts, shares, strict=False):
            size = min(max(1, round(share * len(ordered))), len(ordered) - len(shares))
            part.extend(ordered[start : start + size])
            start += size
        parts[-1].extend(ordered[start:])
    return [sorted(part) for part in parts]
