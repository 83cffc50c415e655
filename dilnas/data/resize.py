"""Images brought to the size that a network is trained at."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dilnas.errors import InputError

__all__ = ["SIZE_STEP", "check_image_size", "fit_images", "native_size"]

SIZE_STEP = 32
"""Image sizes are multiples of this: the stride of a network of four stages."""


def check_image_size(image_size: int) -> int:
    """``image_size`` if it is a positive multiple of 32 (at most 2048), else InputError."""
    if isinstance(image_size, bool) or not isinstance(image_size, int):
        raise InputError("must be an integer", where="image_size", got=image_size)
    if image_size % SIZE_STEP or not SIZE_STEP <= image_size <= 2048:
        raise InputError(
            "must be a multiple of 32", where="image_size", expected="32..2048", got=image_size
        )
    return image_size


def native_size(height: int, width: int) -> int:
    """The smallest permitted size that holds an image: 28 → 32, 32 → 32, 48 → 64."""
    return -(-max(height, width) // SIZE_STEP) * SIZE_STEP


def fit_images(images: Tensor, image_size: int) -> Tensor:
    """uint8 (N, C, H, W) at ``image_size`` x ``image_size``.

    A little too small (28 for 32: by at most an eighth) is padded with zeros around, which keeps
    the pixels sharp; anything else is resampled bilinearly, with antialiasing when it shrinks.
    """
    height, width = images.shape[-2:]
    rows, columns = image_size - height, image_size - width
    if rows == columns == 0:
        return images
    if 0 <= rows <= image_size // 8 and 0 <= columns <= image_size // 8:
        top, left = rows // 2, columns // 2
        return functional.pad(images, (left, columns - left, top, rows - top))
    out = torch.empty((*images.shape[:2], image_size, image_size), dtype=torch.uint8)
    for start in range(0, len(images), 1024):
        scaled = functional.interpolate(
            images[start : start + 1024].float(), size=(image_size, image_size),
            mode="bilinear", antialias=True, align_corners=False,
        )  # fmt: skip
        out[start : start + 1024] = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return out
