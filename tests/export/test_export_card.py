"""The card's constants are those of the rooms they come from."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from dilnas.data import load_data
from dilnas.export.card import SCORED_IMAGES, card_markdown
from dilnas.export.pick import Pick
from dilnas.export.source import Source
from dilnas.measure import profile as measured
from dilnas.train import PROXIES, RungResult, Trained
from dilnas.variants import VARIANTS


def test_the_standard_error_is_of_the_embedded_datas_own_splits() -> None:
    """As many validation and test images as the card says."""
    splits = load_data("embedded")
    assert len(splits.val) == len(splits.test) == SCORED_IMAGES["embedded"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, ["validation 80.00%; not evaluated", "one seed was trained"]),
        ({"test_accuracy": 0.79}, ["validation 80.00%, test 79.00%", "one seed was trained"]),
        (
            {"test_accuracy": 0.79, "final_accuracy": 0.78, "final_std": 0.01, "final_seeds": 3,
             "final_test_accuracy": 0.77},
            ["Trained again with 3 other seeds: validation 78.00% (standard deviation 1.00%), test"
             " 77.00%", "without the scatter between training seeds."],
        ),
    ],
)  # fmt: skip
def test_the_card_says_what_other_seeds_gave(row: dict[str, Any], said: list[str]) -> None:
    """The weights are of the search's seed, whose score was chosen; others reported."""
    result = RungResult(
        rung=1, val_accuracy=0.8, val_loss=1.0, images_seen=64, seconds=1.0, images_per_s=64.0
    )
    trained = Trained(
        model=nn.Identity(), architecture=VARIANTS["tiny"], source_key="", proxy=PROXIES["quick"],
        mean=(0.0,), std=(1.0,), results=(result,),
    )  # fmt: skip
    source = Source(
        name="run#3", slug="run-3", architecture=VARIANTS["tiny"], image_size=(224, 224),
        settings={"data": "embedded"}, pick=Pick(3, row, "asked for"),
    )  # fmt: skip
    profile = measured(VARIANTS["tiny"], latency=False, img_size=224)
    text = card_markdown(source, profile, trained).replace("\n", " ")
    for words in said:
        assert words in text
