"""ImageFolder trees of any size: a list of files, nothing decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dilnas.data.folder import HELD_OUT, SUFFIXES, decode_rgb
from dilnas.data.sets import carve
from dilnas.data.stream import DataStream, Names, stream_of
from dilnas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FileItems", "open_folder"]


@dataclass(eq=False)
class FileItems:
    """JPEG and PNG files below a folder."""

    root: str
    names: Names
    labels: np.ndarray

    def image(self, index: int) -> Image.Image:
        """Decoded to upright RGB. Raises DataError naming the file."""
        path = self.where(index)
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", where=path) from error
        return decode_rgb(content, path)

    def where(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self.root, self.names[index])  # noqa: PTH118 - a million times


def open_folder(spec: str, root: Path) -> DataStream | None:
    """The tree at ``root``, or None if it has no class folder with an image.

    ``train/`` with ``val/`` (else ``test/``) are taken as they are. With ``train/`` alone, or plain
    class folders, the images that a search would have held out for val are validated on, and those
    that it would have kept for test are left out, so that nothing it judged by is trained on.
    """
    has_train = (root / "train").is_dir()
    base = root / "train" if has_train else root
    classes = sorted(
        entry.name for entry in os.scandir(base) if entry.is_dir() and entry.name[0] != "."
    )
    files = {name: _images(base / name) for name in classes}
    if not any(files.values()):
        return None
    given = [n for n in ("val", "validation", "test") if has_train and (root / n).is_dir()]
    names, labels = _flat(base, classes, files, root)
    if not given:
        shares = (HELD_OUT, HELD_OUT)
        _, val, rest = carve(labels, names, shares, where=spec, class_names=classes)
        parts = [([names[i] for i in part], [labels[i] for i in part]) for part in (rest, val)]
        text = f"{HELD_OUT:.0%} of each class, held out"
    else:
        place = root / given[0]
        foreign = sorted(
            e.name for e in os.scandir(place)
            if e.is_dir() and e.name[0] != "." and e.name not in files
        )  # fmt: skip
        if foreign:
            raise DataError("a class that train does not have", where=str(place / foreign[0]))
        there = {name: _images(place / name) for name in classes}
        parts = [(names, labels), _flat(place, classes, there, root)]
        text = f"{given[0]}/"
    train, val_items = (
        FileItems(str(root), Names(part), np.array(numbers, dtype=np.int64))
        for part, numbers in parts
    )
    contents = "\0".join([*classes, *parts[0][0], "", *parts[1][0]])
    return stream_of(
        spec, tuple(classes), train, val_items, val_text=text,
        contents=contents.encode("utf-8", "surrogateescape"),
    )  # fmt: skip


def _flat(
    base: Path, classes: list[str], files: dict[str, list[str]], root: Path
) -> tuple[list[str], list[int]]:
    """Paths below ``root`` and labels. Raises DataError for a class without images."""
    names: list[str] = []
    labels: list[int] = []
    prefix = base.relative_to(root).as_posix()
    for label, name in enumerate(classes):
        if not files[name]:
            raise DataError("a class without JPEG or PNG files", where=str(base / name))
        start = name if prefix == "." else f"{prefix}/{name}"
        names.extend(f"{start}/{file}" for file in files[name])
        labels.extend([label] * len(files[name]))
    return names, labels


def _images(folder: Path) -> list[str]:
    """Image files below ``folder``, relative to it, sorted; links to nothing are among them."""
    found: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(folder / below))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir():
                waiting.append(name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122
                found.append(name)
    return sorted(found)
