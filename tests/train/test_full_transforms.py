"""What is done to an image file in training, by timm's pipeline."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dilnas.posterizing import posterized
from dilnas.train import TrainRecipe
from dilnas.train.transforms import seeded, transforms

FILES = SimpleNamespace(mean_std=None)
"""All that ``transforms`` asks of a stream of image files."""

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))


@pytest.mark.parametrize("aa", [TrainRecipe().aa, "rand-m10-inc1", "v0"])
def test_no_strength_of_augmentation_stops_a_training(aa: str) -> None:
    """The strongest posterising keeps 0 bits, which a newer Pillow refuses: one epoch in a few."""
    train, _ = transforms(FILES, TrainRecipe(aa=aa), 32)
    for seed in range(300):
        image = seeded(train, seed)(PICTURE)
        assert image.shape == (3, 32, 32) and bool(torch.isfinite(image).all())


def test_posterising_keeps_the_highest_bits() -> None:
    """None of them is black, all of them the picture."""
    values = np.asarray(PICTURE)
    for bits in range(9):
        kept = np.asarray(posterized(PICTURE, bits))
        assert np.array_equal(kept, values & (0xFF << (8 - bits) & 0xFF))
