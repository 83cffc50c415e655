"""Hugging Face ``datasets``: a folder that it saved or understands, or a name on its hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dilnas.data.folder import upright_rgb
from dilnas.data.stream import DataStream, held_out, stream_of
from dilnas.errors import DataError, DependencyError, DilnasError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["HuggingItems", "open_hugging"]

VAL_SPLITS = ("validation", "val", "valid", "test")


@dataclass(eq=False)
class HuggingItems:
    """Rows of a split with an image in one column; read from Arrow files when asked for."""

    rows: Any
    column: str
    labels: np.ndarray
    name: str

    def image(self, index: int) -> Image.Image:
        """Decoded to upright RGB. Raises DataError naming the row."""
        where = self.where(index)
        with _readable(where):
            picture = self.rows[index][self.column]
        if picture is None:
            raise DataError("has no image", where=where)
        return upright_rgb(picture, where)

    def where(self, index: int) -> str:
        """The split and the row."""
        return f"{self.name}, row {index}"


def open_hugging(spec: str, path: str) -> DataStream:
    """The data set at ``path``, a folder or a name of the hub.

    The splits ``train`` and ``validation`` (``val``, ``valid``, else ``test``) are taken as they
    are; without the second a share of each class is held out. The image column is the one of that
    type; the label column the one of type ClassLabel, or the integers called ``label``.
    """
    found = _loaded(spec, path)
    if "train" not in found:
        raise DataError("has no split train", where=spec, got=", ".join(map(str, found)))
    rows = found["train"]
    image, label, names = _columns(rows, spec)
    labels = np.array(rows.with_format("numpy")[label][:], dtype=np.int64)
    names = names or tuple(map(str, range(int(labels.max(initial=-1)) + 1)))
    given = [split for split in VAL_SPLITS if split in found]
    rows = rows.select_columns([image])
    if given:
        other = found[given[0]]
        tests = np.array(other.with_format("numpy")[label][:], dtype=np.int64)
        val = HuggingItems(other.select_columns([image]), image, tests, f"{spec} {given[0]}")
        train = HuggingItems(rows, image, labels, f"{spec} train")
        text = f"the split {given[0]}"
    else:
        out, rest = held_out(labels, [str(i) for i in range(len(labels))], spec, names)
        val, train = (
            HuggingItems(rows.select(part), image, labels[part], f"{spec} train")
            for part in (out, rest)
        )
        text = "15% of each class, held out"
    return stream_of(spec, names, train, val, val_text=text, contents="\0".join(names).encode())


def _loaded(spec: str, path: str) -> Any:
    """Splits by name."""
    try:
        import datasets
    except ImportError as error:
        raise DependencyError(
            "hf: needs Hugging Face datasets: pip install 'dilnas[datasets]'", where="--data"
        ) from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    folder = Path(path).expanduser()
    saved = folder / "dataset_dict.json", folder / "state.json"
    with _readable(spec):
        if any(file.is_file() for file in saved):
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder) if folder.exists() else path)
    return found if isinstance(found, dict) else {"train": found}


def _columns(rows: Any, spec: str) -> tuple[str, str, tuple[str, ...]]:
    """Names of the image and the label column, and of the classes where they are known."""
    kinds = {name: type(kind).__name__ for name, kind in rows.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    numbers = [
        name for name, kind in rows.features.items()
        if name in ("label", "labels", "cls") and str(getattr(kind, "dtype", "")).startswith("int")
    ]  # fmt: skip
    label = next(iter(sorted(classes, key=lambda name: name != "label") or numbers), None)
    if not images or label is None:
        raise DataError(
            "needs a column of images and one of class labels", where=spec,
            got=", ".join(f"{name}: {kind}" for name, kind in kinds.items()),
        )  # fmt: skip
    names = tuple(rows.features[label].names or ()) if label in classes else ()
    return images[0], label, names


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Whatever the library raises about data that it cannot read, as a DataError."""
    try:
        yield
    except DilnasError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise DataError(f"cannot be read: {type(error).__name__}: {text}", where=where) from error
