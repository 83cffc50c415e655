"""WebDataset shards: tar files of NAME.jpg beside NAME.cls, indexed and read at any place.

The format: https://github.com/webdataset/webdataset. The library itself reads a shard from its
beginning and shuffles within a buffer; here each tar's directory is read once, so that shares and
resumed steps are exact. Shards must therefore be files, not pipes or URLs.
"""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dilnas.data.folder import SUFFIXES, decode_rgb
from dilnas.data.stream import DataStream, held_out, stream_of
from dilnas.errors import DataError, DependencyError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ShardItems", "is_shards", "open_shards"]

LABEL_BYTES = 32
"""A label file is a number; a longer one is none."""


@dataclass(eq=False)
class ShardItems:
    """Images inside of tar files: where each begins and how long it is."""

    shards: tuple[str, ...]
    shard: np.ndarray
    start: np.ndarray
    size: np.ndarray
    labels: np.ndarray

    def image(self, index: int) -> Image.Image:
        """Decoded to upright RGB. Raises DataError naming the shard and the place in it."""
        try:
            with open(self.shards[self.shard[index]], "rb") as file:  # noqa: PTH123
                file.seek(int(self.start[index]))
                content = file.read(int(self.size[index]))
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror or error}", where=self.where(index)
            ) from error
        return decode_rgb(content, self.where(index))

    def where(self, index: int) -> str:
        """The shard, and the byte in it at which the image begins."""
        return f"{self.shards[self.shard[index]]}: image at byte {self.start[index]}"

    def part(self, indices: np.ndarray) -> ShardItems:
        """Some of them."""
        arrays = (self.shard, self.start, self.size, self.labels)
        return ShardItems(self.shards, *(array[indices] for array in arrays))


def is_shards(spec: str) -> bool:
    """Whether ``spec`` names tar files, or a folder that holds some."""
    if spec.endswith(".tar"):
        return True
    folder = Path(spec).expanduser()
    return folder.is_dir() and any(folder.glob("*.tar"))


def open_shards(spec: str, val: str | None) -> DataStream:
    """The shards ``spec``, with those of ``val`` to validate on.

    Without ``val``, shards of a folder whose names contain ``val`` or ``test`` beside others that
    contain ``train`` are validated on; else a share of each class is.
    """
    paths = _paths(spec)
    tests = [p for p in paths if "val" in Path(p).name or "test" in Path(p).name]
    if val is not None:
        tests = _paths(val)
    elif any("train" in Path(p).name for p in paths):
        paths = [p for p in paths if p not in tests]
    else:
        tests = []
    train, keys = _indexed(paths)
    names = tuple(map(str, range(int(train.labels.max(initial=-1)) + 1)))
    contents = "\0".join(keys)
    if tests:
        held, more = _indexed(tests)
        contents += "\0\0" + "\0".join(more)
        text = f"{len(tests)} shards"
    else:
        out, rest = held_out(train.labels, keys, spec, names)
        held, train = train.part(out), train.part(rest)
        text = "15% of each class, held out"
    return stream_of(spec, names, train, held, val_text=text, contents=contents.encode())


def _paths(spec: str) -> list[str]:
    """Files of a folder or a pattern, sorted. Raises DataError where one is missing."""
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return sorted(map(str, folder.glob("*.tar")))
    patterns = [str(folder)]
    if "{" in spec:
        try:
            from braceexpand import braceexpand
        except ImportError as error:
            raise DependencyError(
                "patterns in braces need webdataset: pip install 'dilnas[datasets]'", where="--data"
            ) from error
        patterns = list(braceexpand(str(folder)))
    found: list[str] = []
    for pattern in patterns:
        files = sorted(glob.glob(pattern)) if "*" in pattern else [pattern]  # noqa: PTH207
        missing = not files or not all(map(os.path.isfile, files))
        if missing:
            raise DataError("no such shard", where=pattern)
        found.extend(files)
    return found


def _indexed(paths: list[str]) -> tuple[ShardItems, list[str]]:
    """Where the images of ``paths`` lie, and a key for each."""
    rows: list[tuple[int, int, int, int]] = []
    keys: list[str] = []
    for number, path in enumerate(paths):
        for key, start, size, label in _samples(path):
            rows.append((number, start, size, label))
            keys.append(f"{Path(path).name}:{key}")
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return ShardItems(tuple(paths), *(table[:, i].copy() for i in range(4))), keys


def _samples(path: str) -> Iterator[tuple[str, int, int, int]]:
    """(key, start, size, label) of each image in a shard, in order.

    Raises DataError for a damaged tar, and for an image without a label.
    """
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")  # the key ends at the first dot
                key = f"{folder}/{stem}" if folder else stem
                tar.members = []  # type: ignore[attr-defined] # else it keeps them all
                if f".{kind.lower()}" in SUFFIXES:
                    images[key] = member.offset_data, member.size
                elif kind.lower() == "cls":
                    labels[key] = _label(tar, member, path)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"not a whole tar file: {error}", where=path) from error
    for key, (start, size) in images.items():
        if key not in labels:
            raise DataError("an image without a label", where=f"{path}: {key}", expected=".cls")
        yield key, start, size, labels[key]
    if not images:
        raise DataError("holds no JPEG or PNG images", where=path)


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> int:
    opened = tar.extractfile(member)
    assert opened is not None  # it is a file
    text = opened.read(LABEL_BYTES).strip()
    if not (text.isdigit() and len(text) < 8):
        raise DataError(
            "a label must be a class number", where=f"{path}: {member.name}",
            got=text.decode("ascii", "replace"),
        )  # fmt: skip
    return int(text)
