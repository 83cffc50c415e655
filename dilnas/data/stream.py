"""Data sets for full training: images are read when they are needed, whatever holds them.

An ImageFolder tree, WebDataset shards and Hugging Face ``datasets`` are indexed, never decoded as a
whole, and can be read at any place: so an epoch's order, its shares and a resumed step are exact.
Small sets (the embedded one, IDX, CIFAR) lie in memory and look the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from dilnas.data.sets import DataSplits, ImageSet, carve
from dilnas.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["VAL_SHARE", "DataStream", "Items", "MemoryItems", "Names", "open_stream", "stream_of"]

VAL_SHARE = 0.15
"""Share of a set without a validation split that becomes one."""

HF = "hf:"


class Items(Protocol):
    """Labelled images that can be read at any place; pickled into loading processes."""

    labels: np.ndarray
    """int64 (N,), classes 0 … num_classes - 1."""

    def image(self, index: int) -> Image.Image | Tensor:
        """An RGB picture, or uint8 (C, H, W). Raises DataError naming a broken one."""
        ...

    def where(self, index: int) -> str:
        """The image's file, or what else tells where it is."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class DataStream:
    """A data set for full training.

    Attributes:
        name: the spec it was opened with.
        num_classes, in_chans: of both splits.
        class_names: a name for each class.
        fingerprint: 16 hexadecimal digits: of the contents in memory; of names and labels of files.
        train: what is trained on.
        val: what is validated on.
        val_text: where that comes from, for people.
        image_size: side of images in memory; None for files, which are brought to any size.
        mean_std: of each channel, in 0..1, of images in memory; None for files.
    """

    name: str
    num_classes: int
    in_chans: int
    class_names: tuple[str, ...]
    fingerprint: str
    train: Items
    val: Items
    val_text: str
    image_size: int | None = None
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def in_memory(self) -> bool:
        """Whether images are small tensors, not files to be decoded."""
        return self.image_size is not None


@dataclass(eq=False)
class MemoryItems:
    """An ImageSet as items."""

    images: Tensor
    labels: np.ndarray

    @classmethod
    def of(cls, images: ImageSet) -> MemoryItems:
        """Without a copy of the images."""
        return cls(images.images, images.labels.numpy())

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W), a view."""
        return self.images[index]

    def where(self, index: int) -> str:
        """Its number."""
        return f"image {index}"


class Names:
    """Many strings in one block of bytes: a million paths as Python objects take half a gigabyte,
    and are copied into every process that counts references to them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self._ends[index], self._ends[index + 1]
        return self._bytes[start:end].tobytes().decode("utf-8", "surrogateescape")


def open_stream(spec: str, *, val: str | None = None, image_size: int | None = None) -> DataStream:
    """The data set ``spec`` for full training.

    Args:
        spec: what ``load_data`` takes (``embedded``, ``fashion-mnist``, a folder of IDX, CIFAR or
            class folders); WebDataset shards as a folder of ``.tar`` files, or as a pattern with
            ``*`` or ``{000..146}``; ``hf:PATH`` or ``hf:NAME`` for Hugging Face ``datasets``.
        val: shards of the validation split, as a pattern; for shards only.
        image_size: side of images in memory; None is their own.

    A published test set, or the folder or split ``val`` (``validation``, else ``test``), is what
    is validated on, all of ``train`` is trained on; where there is none, a share of each class is
    held out, the same each time.

    Raises DataError naming the file or folder that is missing, empty or corrupt, DependencyError
    for an optional package that is missing.
    """
    from dilnas.data.arrays import find_cifar, find_idx
    from dilnas.data.listing import open_folder
    from dilnas.data.load import load_data
    from dilnas.data.shards import is_shards, open_shards

    try:
        if is_shards(spec):
            return open_shards(spec, val)
        if val is not None:
            raise InputError("only shards take validation data of their own", where="--val")
        if spec.startswith(HF):
            from dilnas.data.hugging import open_hugging

            return open_hugging(spec, spec.removeprefix(HF))
        folder = Path(spec).expanduser()
        if spec not in ("embedded", "fashion-mnist") and not folder.exists():
            raise DataError(
                "no such data set", where=repr(spec),
                expected="embedded | fashion-mnist | a folder | SHARDS.tar | hf:PATH",
            )  # fmt: skip
        places = (folder, folder / "cifar-10-batches-bin", folder / "cifar-100-binary")
        is_tree = (
            spec not in ("embedded", "fashion-mnist") and folder.is_dir() and not find_idx(folder)
            and not any(place.is_dir() and find_cifar(place) for place in places)
        )  # fmt: skip
        if is_tree and (found := open_folder(spec, folder)) is not None:
            return found
    except OSError as error:
        where = str(error.filename or spec)
        raise DataError(f"cannot be read: {error.strerror or error}", where=where) from error
    return _in_memory(load_data(spec, image_size=image_size))


def _in_memory(splits: DataSplits) -> DataStream:
    """All of the published training set; the published test set to validate on."""
    train = ImageSet(
        torch.cat([splits.train.images, splits.val.images]),
        torch.cat([splits.train.labels, splits.val.labels]),
    )
    mean, std = splits.mean_std
    return DataStream(
        name=splits.name, num_classes=splits.num_classes, in_chans=splits.in_chans,
        class_names=splits.class_names, fingerprint=splits.fingerprint,
        train=MemoryItems.of(train), val=MemoryItems.of(splits.test),
        val_text="the published test set", image_size=splits.image_size,
        mean_std=(tuple(m / 255 for m in mean), tuple(s / 255 for s in std)),
    )  # fmt: skip


def stream_of(
    spec: str,
    class_names: tuple[str, ...],
    train: Items,
    val: Items,
    *,
    val_text: str,
    contents: bytes,
) -> DataStream:
    """A DataStream of files; checks that no label is foreign and no split empty.

    ``contents`` is what the fingerprint is of.
    """
    for name, items in (("train", train), ("validation", val)):
        if not len(items.labels):
            raise DataError(f"the {name} split is empty", where=spec)
        low, high = int(items.labels.min()), int(items.labels.max())
        if low < 0 or high >= len(class_names):
            at = int(np.argmax((items.labels < 0) | (items.labels >= len(class_names))))
            raise DataError(
                f"a label of the {name} split is out of range", where=items.where(at),
                expected=f"0..{len(class_names) - 1}", got=low if low < 0 else high,
            )  # fmt: skip
    if len(class_names) < 2:
        raise DataError("at least two classes are needed", where=spec, got=len(class_names))
    digest = hashlib.sha256(contents)
    for labels in (train.labels, val.labels):
        digest.update(labels.astype("<i8").tobytes())
    return DataStream(
        name=spec, num_classes=len(class_names), in_chans=3, class_names=class_names,
        fingerprint=digest.hexdigest()[:16], train=train, val=val, val_text=val_text,
    )  # fmt: skip


def held_out(
    labels: np.ndarray, keys: Sequence[str], spec: str, class_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (validation, rest) of a set that has no validation split."""
    val, rest = carve(labels.tolist(), keys, (VAL_SHARE,), where=spec, class_names=class_names)
    return np.array(val, dtype=np.int64), np.array(rest, dtype=np.int64)
