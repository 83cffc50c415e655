"""The card's constants are those of the rooms they come from."""

from __future__ import annotations

from dilnas.data import load_data
from dilnas.export.card import SCORED_IMAGES


def test_the_standard_error_is_of_the_embedded_datas_own_splits() -> None:
    """As many validation and test images as the card says."""
    splits = load_data("embedded")
    assert len(splits.val) == len(splits.test) == SCORED_IMAGES["embedded"]
