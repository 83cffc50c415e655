"""The identities' own numbers, against layers that run."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from dilnas.arch import POS_EMBEDS, STEMS, Architecture, Stage
from dilnas.count.identities import bias_additions
from dilnas.model import build_model

STAGES = (
    Stage(dim=12, num_heads=3, msda_depth=2, dilations=(1, 2, 3), mlp_ratio=1.3),
    Stage(dim=24, num_heads=3, msda_depth=1, global_depth=2, dilations=(2,)),
    Stage(dim=6, num_heads=1, global_depth=1),
)


@pytest.mark.parametrize(("pos_embed", "stem"), product(POS_EMBEDS, STEMS))
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_bias_additions_are_those_of_the_built_model(
    pos_embed: str, stem: str, qkv_bias: bool
) -> None:
    """Counted on the layers themselves: the outputs of each one that has a bias."""
    architecture = Architecture(
        stages=STAGES, pos_embed=pos_embed, stem=stem, qkv_bias=qkv_bias, num_classes=7
    )
    model = build_model(architecture).eval()
    found = {"conv": 0, "linear": 0}

    def note(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        found["conv" if isinstance(layer, nn.Conv2d) else "linear"] += out.numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            layer.register_forward_hook(note)
    model(torch.zeros(1, 3, 16, 48))
    assert found == bias_additions(architecture, 16, 48)
