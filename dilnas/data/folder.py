"""ImageFolder trees: JPEG and PNG files in a folder for each class."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dilnas.data.sets import MAX_BYTES, ImageSet, carve
from dilnas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "HELD_OUT", "SUFFIXES", "ImageFiles", "OnProgress", "decode_rgb", "find_image_files",
    "read_image_files", "upright_rgb",
]  # fmt: skip

SUFFIXES = {".jpg", ".jpeg", ".png"}
SPLIT_NAMES = ("train", "val", "test")
HELD_OUT = 0.15
"""Share of plain class folders that becomes the test split, and as much again the val split."""

OnProgress = Callable[[int, int], None]
"""Called as ``on_progress(done, total)`` about twice a second once loading has taken 2 s."""


@dataclass(frozen=True)
class ImageFiles:
    """Files of each split as (path, label), and the names of the classes."""

    root: Path
    splits: dict[str, list[tuple[Path, int]]]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(files) for files in self.splits.values())


def find_image_files(root: Path, val_share: float) -> ImageFiles | None:
    """The splits of an ImageFolder tree, or None if ``root`` has no folder with an image.

    With ``train``, ``val`` and ``test`` folders the three are taken as they are. With ``train``
    and one other, the other is the test split and val is carved from train; with ``train`` alone
    or plain class folders, test is carved too. Carving is by a hash of the file's name, with all
    classes in proportion. Raises DataError naming a class without images.
    """
    given = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    if "train" not in given:
        given = []
    names = _class_names(root / "train" if given else root)
    if not names:
        return None
    if len(names) < 2:
        raise DataError(
            "at least two class folders are needed", where=str(root), got=", ".join(names)
        )
    train = _files(root / "train" if given else root, names)
    splits = {name: _files(root / name, names) for name in given if name != "train"}
    if len(splits) == 2:
        return ImageFiles(root, {"train": train, **splits}, names)
    labels, keys = [label for _, label in train], [_key(path, root) for path, _ in train]
    if splits:
        val, rest = carve(labels, keys, (val_share,), where=str(root), class_names=names)
        test = next(iter(splits.values()))
    else:
        shares = (HELD_OUT, HELD_OUT)
        held, val, rest = carve(labels, keys, shares, where=str(root), class_names=names)
        test = [train[i] for i in held]
    parts = {"train": [train[i] for i in rest], "val": [train[i] for i in val], "test": test}
    return ImageFiles(root, parts, names)


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _class_names(folder: Path) -> tuple[str, ...]:
    children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    names = tuple(child.name for child in children)
    if not any(_images_in(child) for child in children):
        return ()
    return names


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        and (path.is_file() or _dangles(path))
    )  # fmt: skip


def _dangles(path: Path) -> bool:
    """A link to nothing is a missing file: reading it says so, leaving it out would not."""
    return path.is_symlink() and not path.exists()


def _files(folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    present = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if present - set(names):
        raise DataError(
            "a class that train does not have", where=str(folder / min(present - set(names)))
        )
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        images = _images_in(folder / name) if (folder / name).is_dir() else []
        if not images:
            raise DataError("a class without JPEG or PNG files", where=str(folder / name))
        files.extend((path, label) for path in images)
    return files


def read_image_files(
    files: ImageFiles, image_size: int, on_progress: OnProgress | None = None
) -> tuple[dict[str, ImageSet], str]:
    """Decode every file to RGB at ``image_size``; splits by name and a digest of all bytes.

    The shorter side is scaled to ``image_size`` and the centre is cut out. Raises DataError
    naming the first file that is not a whole image, or when the images need over 8 GiB.
    """
    size = len(files) * 3 * image_size * image_size
    if size > MAX_BYTES:
        raise DataError(
            "too large to be held in memory at this image size", where=str(files.root),
            expected=f"<= {MAX_BYTES >> 30} GiB",
            got=f"{len(files)} images of {image_size} px: {size / 2**30:.1f} GiB",
        )  # fmt: skip
    digest, splits, done = hashlib.sha256(), {}, 0
    report = _throttled(on_progress, len(files))

    def read(path: Path) -> tuple[Tensor, bytes]:
        return _decode(path, image_size)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for name in SPLIT_NAMES:
            entries = files.splits[name]
            images = torch.empty((len(entries), 3, image_size, image_size), dtype=torch.uint8)
            decoded = pool.map(read, [path for path, _ in entries])
            for i, ((path, label), (image, content)) in enumerate(
                zip(entries, decoded, strict=True)
            ):
                images[i] = image
                digest.update(f"{name}:{_key(path, files.root)}:{label}:".encode() + content)
                done += 1
                report(done)
            splits[name] = ImageSet(images, torch.tensor([label for _, label in entries]))
    return splits, digest.hexdigest()


def _throttled(on_progress: OnProgress | None, total: int) -> Callable[[int], None]:
    due = time.monotonic() + 2.0

    def report(done: int) -> None:
        nonlocal due
        if on_progress is not None and time.monotonic() >= due:
            due = time.monotonic() + 0.5
            on_progress(done, total)

    return report


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; transparency is left out, as torchvision's loader does."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P":  # by way of RGBA: a transparent palette colour is no cause to warn
        image = image.convert("RGBA")
    return image.convert("RGB")


def _decode(path: Path, image_size: int) -> tuple[Tensor, bytes]:
    from PIL import Image, ImageOps

    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(error, str(path)) from error
    with _whole(content, str(path)):
        image = _opened(content, image_size)
        fitted = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)
    return pixels, hashlib.sha256(content).digest()


def decode_rgb(content: bytes, where: str) -> Image.Image:
    """The upright RGB image in the bytes of a JPEG or PNG file.

    Raises DataError naming ``where`` if they are not a whole image.
    """
    with _whole(content, where):
        return _opened(content, None)


def upright_rgb(image: Image.Image, where: str) -> Image.Image:
    """The same of an image that another library has opened."""
    from PIL import ImageOps

    with _whole(b"?", where):
        return _rgb(ImageOps.exif_transpose(image))


def _opened(content: bytes, draft: int | None) -> Image.Image:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
        if draft is not None:
            opened.draft("RGB", (draft, draft))
        return _rgb(ImageOps.exif_transpose(opened))


@contextmanager
def _whole(content: bytes, where: str) -> Iterator[None]:
    """What Pillow raises on a file that is not a whole image, as a DataError."""
    from PIL import Image

    try:
        yield
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        if getattr(error, "strerror", None):
            raise _unreadable(error, where) from error
        reason = str(error)
        if "cannot identify" in reason:
            reason = "not a JPEG or PNG image" if content else "an empty file"
        raise DataError(f"not a whole image: {reason}", where=where) from error


def _unreadable(error: Exception, where: str) -> DataError:
    return DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=where)
