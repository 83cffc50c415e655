"""The official constructor's arguments, turned into an Architecture.

Source: ``Dilateformer.__init__`` in JIAOJIAYUASD/dilateformer, commit 99f85bb. The spelling of its
arguments (``cpe_per_satge``, ``overlaping``) is kept here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dilnas.arch import Architecture, Stage
from dilnas.errors import ArchitectureError

__all__ = ["architecture_from_official"]

DEFAULTS: dict[str, Any] = {
    "depths": (2, 2, 6, 2),
    "embed_dim": 96,
    "num_heads": (3, 6, 12, 24),
    "kernel_size": 3,
    "dilation": (1, 2, 3),
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "merging_way": "conv3_2",
    "patch_way": "overlaping",
    "dilate_attention": (True, True, False, False),
    "cpe_per_satge": False,
    "cpe_per_block": True,
    "num_classes": 1000,
    "in_chans": 3,
}
STEM_OF = {"overlaping": "overlapping", "nonoverlaping": "nonoverlapping", "pointconv": "pointconv"}
DOWNSAMPLE_OF = {"conv3_2": "conv3", "conv2_2": "conv2"}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "patch_size": (4, (4, 4), [4, 4]),
    "qk_scale": (None,),
    "drop": (0, 0.0),
    "attn_drop": (0, 0.0),
    "norm_layer": (None,),
    "downsamples": ((True, True, True, False), [True, True, True, False]),
}
"""Arguments that dilnas has no counterpart for, with the values that change nothing."""

ELSEWHERE = {
    "img_size": "any size that the strides allow is accepted by the model and by cost()",
    "drop_path": "pass drop_path_rate to build_model",
    "pretrained": "load a checkpoint with dilnas.model.load_checkpoint",
}
"""Arguments that are not part of an architecture; where they went."""


def architecture_from_official(given: Mapping[str, Any]) -> Architecture:
    """Architecture of ``Dilateformer(**given)``.

    Raises ArchitectureError for an argument that is unknown or not supported, naming it.
    ``img_size``, ``drop_path`` and ``pretrained`` describe no architecture and are ignored.
    """
    values = dict(DEFAULTS)
    for name, value in given.items():
        if name in DEFAULTS:
            values[name] = value
        elif name in NEUTRAL:
            if not any(value == neutral for neutral in NEUTRAL[name]):
                raise ArchitectureError(
                    "official argument not supported with this value", where=name,
                    expected=repr(NEUTRAL[name][0]), got=value,
                )  # fmt: skip
        elif name not in ELSEWHERE:
            known = ", ".join([*DEFAULTS, *NEUTRAL, *ELSEWHERE])
            raise ArchitectureError("unknown official argument", where=name, expected=known)
    return Architecture(
        stages=_stages(values),
        stem=_lookup(STEM_OF, values, "patch_way"),
        downsample=_lookup(DOWNSAMPLE_OF, values, "merging_way"),
        pos_embed=_pos_embed(values),
        qkv_bias=values["qkv_bias"],
        num_classes=values["num_classes"],
        in_chans=values["in_chans"],
    )


def _stages(values: Mapping[str, Any]) -> tuple[Stage, ...]:
    depths = _sequence(values, "depths", None)
    heads = _sequence(values, "num_heads", len(depths))
    dilated = _sequence(values, "dilate_attention", len(depths))
    for i, entry in enumerate(dilated):
        _boolean(entry, f"dilate_attention[{i}]")
    width = values["embed_dim"]
    if isinstance(width, bool) or not isinstance(width, int):
        raise ArchitectureError("must be an integer", where="embed_dim", got=width)
    stages = []
    for i, (depth, num_heads, is_dilated) in enumerate(zip(depths, heads, dilated, strict=True)):
        try:
            stages.append(
                Stage(
                    dim=width << i,
                    num_heads=num_heads,
                    msda_depth=depth if is_dilated else 0,
                    global_depth=0 if is_dilated else depth,
                    window_size=values["kernel_size"],
                    dilations=values["dilation"],
                    mlp_ratio=values["mlp_ratio"],
                )
            )
        except ArchitectureError as error:
            raise ArchitectureError(
                error.rule, where=f"stages[{i}].{error.where}",
                expected=error.expected, got=error.got,
            ) from None  # fmt: skip
    return tuple(stages)


def _sequence(values: Mapping[str, Any], name: str, length: int | None) -> Sequence[Any]:
    value = values[name]
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ArchitectureError("must be a list, one entry a stage", where=name, got=value)
    if length is not None and len(value) < length:
        raise ArchitectureError("too short", where=name, expected=f"{length} entries", got=value)
    return value[:length]


def _boolean(value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise ArchitectureError("must be true or false", where=where, got=value)


def _lookup(table: Mapping[str, str], values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or value not in table:
        raise ArchitectureError(
            "official choice not supported", where=name, expected="|".join(table), got=value
        )
    return table[value]


def _pos_embed(values: Mapping[str, Any]) -> str:
    for name in ("cpe_per_block", "cpe_per_satge"):
        _boolean(values[name], name)
    by_block, by_stage = values["cpe_per_block"], values["cpe_per_satge"]
    if by_block:
        return "both" if by_stage else "block"
    return "stage" if by_stage else "none"
