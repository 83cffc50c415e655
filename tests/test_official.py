"""The official constructor's arguments become the same network, or a clear refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError
from dilnas.variants import variant

CASES = json.loads((Path(__file__).parent / "reference" / "flops_cases.json").read_text())
STEMS = {"overlaping": "overlapping", "nonoverlaping": "nonoverlapping", "pointconv": "pointconv"}
POS_EMBEDS = {
    (True, False): "block", (False, True): "stage", (True, True): "both", (False, False): "none",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_argument_lands_in_its_field(case: dict) -> None:
    """All eight reference configurations, field by field; img_size describes no network."""
    config = case["config"]
    found = Architecture.from_official(**config)
    assert found.stem == STEMS[config["patch_way"]]
    assert found.downsample == {"conv3_2": "conv3", "conv2_2": "conv2"}[config["merging_way"]]
    assert found.pos_embed == POS_EMBEDS[config["cpe_per_block"], config["cpe_per_satge"]]
    assert found.qkv_bias is config["qkv_bias"]
    assert found.num_classes == config["num_classes"]
    assert len(found.stages) == 4
    for i, stage in enumerate(found.stages):
        dilated = config["dilate_attention"][i]
        assert stage.dim == config["embed_dim"] * 2**i
        assert stage.num_heads == config["num_heads"][i]
        assert (stage.msda_depth > 0, stage.global_depth > 0) == (dilated, not dilated)
        assert stage.depth == config["depths"][i]
        assert stage.mlp_ratio == config["mlp_ratio"]
        assert stage.window_size == (config["kernel_size"] if dilated else None)
        assert list(stage.dilations) == (config["dilation"] if dilated else [])


def test_official_defaults_are_kept() -> None:
    """Without arguments: embed_dim 96 with Tiny's depths, as Dilateformer()."""
    found = Architecture.from_official()
    assert [s.dim for s in found.stages] == [96, 192, 384, 768]
    assert found.layout == "D2 D2 G6 G2"
    assert found != variant("tiny")


@pytest.mark.parametrize(
    "extra",
    [{"drop_path": 0.3}, {"img_size": 384}, {"pretrained": True}, {"patch_size": 4}, {"drop": 0.0},
     {"attn_drop": 0}, {"qk_scale": None}, {"downsamples": [True, True, True, False]}],
)  # fmt: skip
def test_arguments_that_change_no_network_are_accepted(extra: dict) -> None:
    """Training options, sizes and neutral values."""
    assert Architecture.from_official(**extra) == Architecture.from_official()


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"merging_way": "avgpool3_2"}, "merging_way"),
        ({"patch_way": "overlapping"}, "patch_way"),
        ({"patch_way": None}, "patch_way"),
        ({"patch_size": 8}, "patch_size"),
        ({"drop": 0.1}, "drop"),
        ({"attn_drop": 0.1}, "attn_drop"),
        ({"qk_scale": 0.5}, "qk_scale"),
        ({"norm_layer": dict}, "norm_layer"),
        ({"downsamples": [True] * 4}, "downsamples"),
        ({"depth": [2, 2, 6, 2]}, "depth"),
        ({"depths": 12}, "depths"),
        ({"depths": []}, "stages"),
        ({"num_heads": [3, 6]}, "num_heads"),
        ({"num_heads": 8}, "num_heads"),
        ({"dilate_attention": [True]}, "dilate_attention"),
        ({"embed_dim": 96.0}, "embed_dim"),
        ({"embed_dim": True}, "embed_dim"),
        ({"embed_dim": 100}, "stages[0].num_heads"),
        ({"kernel_size": 4}, "stages[0].window_size"),
        ({"dilation": [1, 2]}, "stages[0].dilations"),
        ({"depths": [2, 2, 0, 2]}, "stages[2].msda_depth"),
        ({"cpe_per_satge": 1}, "cpe_per_satge"),
        ({"qkv_bias": None}, "qkv_bias"),
    ],
    ids=str,
)
def test_arguments_that_are_not_supported_are_named(wrong: dict[str, Any], where: str) -> None:
    """ArchitectureError on one line, with the argument or the stage's field."""
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_official(**wrong)
    assert caught.value.where == where
    assert str(caught.value).isprintable()


def test_fewer_stages_than_the_lists_give_is_fine() -> None:
    """The official code reads only as many heads as there are depths."""
    assert len(Architecture.from_official(depths=[1, 1]).stages) == 2
