"""What an export can write beside ``architecture.yaml``, and what each needs to be installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from dilnas.errors import DependencyError, ExportError

__all__ = ["FORMATS", "parse_formats", "require"]

FORMATS: dict[str, tuple[str, ...]] = {
    "yaml": ("architecture.yaml",),
    "timm": ("config.json",),
    "onnx": ("model.onnx",),
    "export": ("model.pt2",),
    "python": ("model.py",),
}
"""Format: the files that it adds. ``yaml`` is always written: the others are made from it."""

NEEDS: dict[str, tuple[str, ...]] = {
    "timm": ("timm",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
"""Libraries of a format's extra, which has the format's name."""


def parse_formats(given: str | Sequence[str]) -> tuple[str, ...]:
    """Formats in the order of ``FORMATS``, from words or lists with commas: "onnx,python".

    Raises ExportError for a word that is none.
    """
    words = [given] if isinstance(given, str) else list(given)
    named = {part.strip() for word in words for part in word.split(",") if part.strip()}
    unknown = sorted(named - FORMATS.keys())
    if unknown:
        raise ExportError(
            "unknown format", where="--format", expected=" | ".join(FORMATS), got=unknown[0]
        )
    return tuple(name for name in FORMATS if name in named or name == "yaml")


def require(formats: Iterable[str]) -> None:
    """Raise DependencyError with the pip command where a library of a format is not there."""
    for name in formats:
        for library in NEEDS.get(name, ()):
            try:
                importlib.import_module(library)
            except (ImportError, RuntimeError) as error:  # a broken torchvision: RuntimeError
                raise DependencyError(
                    f"{library} cannot be imported", where=f"--format {name}",
                    expected=f"pip install 'dilnas[{name}]'", got=str(error),
                ) from error  # fmt: skip
