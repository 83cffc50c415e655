"""load_data: a data set by name or path, split and decoded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from dilnas.data.arrays import Arrays, find_cifar, find_idx, read_cifar, read_idx_folder
from dilnas.data.folder import OnProgress, find_image_files, read_image_files
from dilnas.data.resize import check_image_size, fit_images, native_size
from dilnas.data.sets import MAX_BYTES, SPLIT_FORMAT, DataSplits, ImageSet, carve
from dilnas.errors import DataError

__all__ = ["EMBEDDED", "load_data"]

EMBEDDED = Path(__file__).parent / "fashion_mnist"
"""A balanced subset of Fashion-MNIST (10,000 + 2,000 images) that travels with the package."""

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the full set."""

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

VAL_SHARE, MAX_VAL = 0.2, 10_000
"""Share of the training set that becomes the val split, and its largest size in images."""

FOLDER_SIZE = 224
"""Image size of an ImageFolder tree where none is asked for."""


def load_data(
    spec: str, *, image_size: int | None = None, on_progress: OnProgress | None = None
) -> DataSplits:
    """The data set ``spec``, in memory, as fixed train, val and test splits.

    ``spec`` is "embedded" (a balanced subset of Fashion-MNIST, always there), "fashion-mnist"
    (the full set, from Debian's package) or a folder, whose kind is detected: IDX files (gzipped
    or not), CIFAR-10 or -100 in the binary version, or an ImageFolder tree of JPEG and PNG files
    (``train/ val/ [test/]`` with class folders, or plain class folders).

    A published test set stays the test split; val is carved from train, 20 % of it and at most
    10,000 images, all classes in proportion, the same ones each time. Images are brought to
    ``image_size`` pixels a side, a multiple of 32 (None: the smallest that holds the images; 224
    for an ImageFolder tree).

    Raises DataError naming the file or folder that is missing, empty, corrupt or too large;
    InputError for an image size that is not a multiple of 32.
    """
    if image_size is not None:
        check_image_size(image_size)
    if spec == "embedded":
        return _from_idx(spec, EMBEDDED, image_size, FASHION_CLASSES)
    if spec == "fashion-mnist":
        if not FASHION_MNIST.is_dir():
            raise DataError(
                "Fashion-MNIST is not installed: apt install dataset-fashion-mnist, or give the "
                "path of a folder that holds its four files", where=str(FASHION_MNIST),
            )  # fmt: skip
        return _from_idx(spec, FASHION_MNIST, image_size, FASHION_CLASSES)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        raise DataError(
            "no such data set" if not folder.exists() else "a folder is needed, this is a file",
            where=repr(spec), expected="embedded | fashion-mnist | a folder",
        )  # fmt: skip
    try:
        return _from_folder(spec, folder, image_size, on_progress)
    except OSError as error:
        where = str(error.filename or folder)
        raise DataError(f"cannot be read: {error.strerror or error}", where=where) from error


def _from_folder(
    spec: str, folder: Path, image_size: int | None, on_progress: OnProgress | None
) -> DataSplits:
    if find_idx(folder):
        return _from_idx(spec, folder, image_size, None)
    for place in (folder, folder / "cifar-10-batches-bin", folder / "cifar-100-binary"):
        cifar = find_cifar(place) if place.is_dir() else None
        if cifar is not None:
            return _from_arrays(spec, folder, read_cifar(*cifar), image_size, None)
    files = find_image_files(folder, VAL_SHARE)
    if files is None:
        pickled = any((folder / name).exists() for name in ("data_batch_1", "batches.meta"))
        hint = "; this is CIFAR's pickled version, which is never read" if pickled else ""
        raise DataError(
            f"holds no data set{hint}", where=str(folder),
            expected="train-images-idx3-ubyte[.gz] (IDX), data_batch_1.bin or train.bin (CIFAR, "
            "binary version), or class folders with .jpg or .png",
        )  # fmt: skip
    size = image_size or FOLDER_SIZE
    splits, digest = read_image_files(files, size, on_progress)
    return DataSplits(
        name=spec, num_classes=len(files.class_names), in_chans=3, image_size=size,
        fingerprint=_fingerprint("folder", digest), class_names=files.class_names, **splits,
    )  # fmt: skip


def _fingerprint(kind: str, digest: str) -> str:
    return hashlib.sha256(f"{kind}:{SPLIT_FORMAT}:{digest}".encode()).hexdigest()[:16]


def _from_idx(
    spec: str, folder: Path, image_size: int | None, names: tuple[str, ...] | None
) -> DataSplits:
    files = find_idx(folder) if folder.is_dir() else {}
    if not files:
        raise DataError("its IDX files are missing", where=str(folder))
    return _from_arrays(spec, folder, read_idx_folder(files), image_size, names)


def _from_arrays(
    spec: str, folder: Path, arrays: Arrays, image_size: int | None, names: tuple[str, ...] | None
) -> DataSplits:
    classes = np.unique(arrays.train_labels)
    strange = np.setdiff1d(arrays.test_labels, classes)
    if len(strange):
        raise DataError(
            "a test label that train does not have", where=str(folder), got=int(strange[0])
        )
    size = image_size or native_size(*arrays.train_images.shape[-2:])
    total = len(arrays.train_images) + len(arrays.test_images)
    if total * arrays.train_images.shape[1] * size * size > MAX_BYTES:
        raise DataError(
            "too large to be held in memory at this image size", where=str(folder),
            expected=f"<= {MAX_BYTES >> 30} GiB", got=f"{total} images of {size} px",
        )  # fmt: skip
    # Labels need not start at 0 (EMNIST's letters do not): classes are numbered in their order.
    labels = np.searchsorted(classes, arrays.train_labels)
    share = min(VAL_SHARE, MAX_VAL / len(labels))
    keys = [str(i) for i in range(len(labels))]
    val, train = carve(labels.tolist(), keys, (share,), where=str(folder))

    def made(images: np.ndarray, numbers: np.ndarray) -> ImageSet:
        return ImageSet(fit_images(torch.from_numpy(images.copy()), size), torch.tensor(numbers))

    return DataSplits(
        name=spec,
        num_classes=len(classes),
        in_chans=arrays.train_images.shape[1],
        image_size=size,
        fingerprint=_fingerprint("arrays", arrays.digest),
        train=made(arrays.train_images[train], labels[train]),
        val=made(arrays.train_images[val], labels[val]),
        test=made(arrays.test_images, np.searchsorted(classes, arrays.test_labels)),
        class_names=names if names and len(names) == len(classes) else tuple(map(str, classes)),
    )
