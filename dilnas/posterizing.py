"""Posterising of pictures as the recipe's augmentation asks for it, whatever Pillow is installed.

timm's augmentations keep 0 bits of a picture where they are strongest (``rand-m9-mstd0.5-inc1``:
about three pictures in two thousand), and Pillow 13 refuses that: a training would end there.
"""

from __future__ import annotations

from typing import Any

__all__ = ["mend_timm", "posterized"]


def posterized(image: Any, bits_to_keep: int, **_: Any) -> Any:
    """A picture with that many of the highest bits of each value: 0 is black, 8 the picture."""
    from PIL import Image, ImageOps

    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    return image if bits_to_keep >= 8 else ImageOps.posterize(image, bits_to_keep)


def mend_timm() -> None:
    """From here on, timm's augmentations of this process posterise by ``posterized``.

    Operations made earlier keep what they had. Made for a process that is ours to arrange: one that
    runs a script of timm's.
    """
    from timm.data import auto_augment

    for name in auto_augment.NAME_TO_OP:
        if name.startswith("Posterize"):
            auto_augment.NAME_TO_OP[name] = posterized
