"""Data sets of small images in a few files: IDX (MNIST's format) and CIFAR's binary version.

Both are read byte by byte against their published layout; nothing is unpickled.
IDX: http://yann.lecun.com/exdb/mnist. CIFAR: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dilnas.data.sets import MAX_BYTES
from dilnas.errors import DataError

__all__ = ["Arrays", "find_cifar", "find_idx", "read_cifar", "read_idx_folder"]

IDX_NAME = re.compile(r".*?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
UNSIGNED_BYTE = 0x08
CIFAR_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images uint8 (N, C, H, W) and labels int64 (N,) of the published train and test sets."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    digest: str


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """Files of an IDX data set by ("train"|"test", "images"|"labels"); {} if there are none.

    Raises DataError if some of the four are missing or there are two of a kind.
    """
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.iterdir()):
        match = IDX_NAME.fullmatch(file.name)
        if match is None:
            continue
        role = ("train" if match[1] == "train" else "test", match[2])
        if role in found and found[role].name.removesuffix(".gz") != file.name.removesuffix(".gz"):
            raise DataError(
                f"two IDX files of {role[0]} {role[1]}", where=str(folder),
                got=f"{found[role].name}, {file.name}",
            )  # fmt: skip
        found[role] = file
    if not found:
        return {}
    for role in (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")):
        if role not in found:
            prefix = "train" if role[0] == "train" else "t10k"
            rank = 3 if role[1] == "images" else 1
            raise DataError(
                "an IDX file is missing", where=str(folder),
                expected=f"{prefix}-{role[1]}-idx{rank}-ubyte[.gz]",
            )  # fmt: skip
    return found


def read_idx(file: Path, dimensions: int) -> tuple[np.ndarray, bytes]:
    """The uint8 array in an IDX file, gzipped or not, and the SHA-256 of its bytes."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != UNSIGNED_BYTE:
                raise DataError("not an IDX file of bytes", where=str(file), got=head.hex())
            if head[3] != dimensions:
                raise DataError(
                    "wrong number of dimensions", where=str(file),
                    expected=dimensions, got=head[3],
                )  # fmt: skip
            sizes = stream.read(4 * dimensions)
            if len(sizes) < 4 * dimensions:
                raise DataError("truncated in its header", where=str(file))
            shape = struct.unpack(f">{dimensions}I", sizes)
            size = math.prod(shape)
            if not 0 < size <= MAX_BYTES:
                raise DataError("empty or too large", where=str(file), got=f"shape {shape}")
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read: {reason}", where=str(file)) from error
    if len(content) != size:
        rule = "truncated" if len(content) < size else "longer than its header says"
        raise DataError(rule, where=str(file), expected=f"{size} bytes", got=len(content))
    digest = hashlib.sha256(head + sizes + content).digest()
    return np.frombuffer(content, dtype=np.uint8).reshape(shape), digest


def read_idx_folder(files: dict[tuple[str, str], Path]) -> Arrays:
    """The data set whose files ``find_idx`` found. The digest ignores compression."""
    digest = hashlib.sha256()
    parts: dict[tuple[str, str], np.ndarray] = {}
    for role, dimensions in ((("train", "images"), 3), (("train", "labels"), 1),
                             (("test", "images"), 3), (("test", "labels"), 1)):  # fmt: skip
        parts[role], content = read_idx(files[role], dimensions)
        digest.update(content)
    for split in ("train", "test"):
        images, labels = parts[split, "images"], parts[split, "labels"]
        if len(images) != len(labels):
            raise DataError(
                "as many labels as images are needed", where=str(files[split, "labels"]),
                expected=len(images), got=len(labels),
            )  # fmt: skip
    if parts["train", "images"].shape[1:] != parts["test", "images"].shape[1:]:
        raise DataError(
            "train and test images differ in size", where=str(files["test", "images"]),
            expected=parts["train", "images"].shape[1:], got=parts["test", "images"].shape[1:],
        )  # fmt: skip
    return Arrays(
        parts["train", "images"][:, None],
        parts["train", "labels"].astype(np.int64),
        parts["test", "images"][:, None],
        parts["test", "labels"].astype(np.int64),
        digest.hexdigest(),
    )


def find_cifar(folder: Path) -> tuple[int, list[Path], Path] | None:
    """(classes, training files, test file) of CIFAR-10 or -100 in ``folder``, or None."""
    batches = sorted(folder.glob("data_batch_*.bin"))
    candidates = ((10, batches, "test_batch.bin"), (100, [folder / "train.bin"], "test.bin"))
    for classes, train, test in candidates:
        present = [file for file in (*train, folder / test) if file.is_file()]
        if not present:
            continue
        for file in (*train, folder / test):
            if not file.is_file():
                raise DataError(f"a file of CIFAR-{classes} is missing", where=str(file))
        if not train:
            raise DataError(
                "a file of CIFAR-10 is missing", where=str(folder), expected="data_batch_1.bin"
            )
        return classes, train, folder / test
    return None


def read_cifar(classes: int, train: list[Path], test: Path) -> Arrays:
    """CIFAR-10 (label, pixels) or CIFAR-100 (coarse label, fine label, pixels) records."""
    digest = hashlib.sha256()
    parts = [_cifar_file(file, classes) for file in (*train, test)]
    for *_, content in parts:
        digest.update(content)
    return Arrays(
        np.concatenate([images for images, _, _ in parts[:-1]]),
        np.concatenate([labels for _, labels, _ in parts[:-1]]),
        parts[-1][0],
        parts[-1][1],
        digest.hexdigest(),
    )


def _cifar_file(file: Path, classes: int) -> tuple[np.ndarray, np.ndarray, bytes]:
    label_bytes = 1 if classes == 10 else 2
    record = label_bytes + CIFAR_PIXELS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(file)) from error
    if not content or len(content) % record:
        raise DataError(
            f"empty or truncated: records of CIFAR-{classes} have {record} bytes",
            where=str(file), expected=f"a multiple of {record} bytes", got=len(content),
        )  # fmt: skip
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise DataError(
            "corrupt: a label is out of range", where=str(file),
            expected=f"0..{classes - 1}", got=int(labels.max()),
        )  # fmt: skip
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return images, labels, hashlib.sha256(content).digest()
