"""What lies beside trained weights and says how they were trained: the ``train.json`` of dilnas."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dilnas.errors import ExportError
from dilnas.files import read_text

__all__ = ["Training", "training_beside"]

BEST = "best.safetensors"
"""Whose top-1 train.json holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the network's weights were trained.

    Attributes:
        mean, std: of each channel, in 0..1; images are normalised with them.
        crop_pct, interpolation: how an image is prepared, where that is known.
        top1: share of the validation images that the best weights classify, where it is known.
        images: how many those are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float | None = None
    interpolation: str | None = None
    top1: float | None = None
    images: int | None = None

    def pretrained_cfg(self) -> dict[str, Any]:
        """The fields of timm's pretrained_cfg that it decides."""
        cfg: dict[str, Any] = {"mean": self.mean, "std": self.std}
        if self.crop_pct is not None:
            cfg["crop_pct"] = self.crop_pct
        if self.interpolation in ("bicubic", "bilinear"):
            cfg["interpolation"] = self.interpolation
        return cfg


def training_beside(weights: str | os.PathLike[str] | None, in_chans: int) -> Training | None:
    """What ``train.json`` in the folder of ``weights`` says; None where there is none.

    Raises ExportError if it does not say how images are normalised, a number for each channel.
    """
    path = Path(weights).parent / "train.json" if weights is not None else None
    if path is None or not path.is_file():
        return None
    try:
        data = json.loads(read_text(path, kind=ExportError))
    except ValueError as error:
        raise ExportError(f"not JSON: {error}", where=str(path)) from error
    given = data.get("input") if isinstance(data, dict) else None
    given = given if isinstance(given, dict) else {}
    mean, std = (_numbers(given.get(name)) for name in ("mean", "std"))
    if not len(mean) == len(std) == in_chans or not all(value > 0 for value in std):
        raise ExportError(
            "must hold a mean and a standard deviation for each channel", where=f"{path}: input",
            expected=f"{in_chans} each", got=f"{len(mean)} and {len(std)}",
        )  # fmt: skip
    best = data.get("best") if Path(weights or "").name == BEST else None
    counts = data.get("data")
    return Training(
        mean=mean, std=std, crop_pct=_number(given.get("crop_pct")),
        interpolation=str(given.get("interpolation")),
        top1=_number(best.get("top1")) if isinstance(best, dict) else None,
        images=_count(counts.get("val_images")) if isinstance(counts, dict) else None,
    )  # fmt: skip


def _numbers(values: object) -> tuple[float, ...]:
    found = [_number(value) for value in values] if isinstance(values, list) else []
    return tuple(value for value in found if value is not None)


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
