"""DilateFormer among timm's models: importing this module registers it.

    >>> import timm, dilnas.timm_models
    >>> timm.create_model("dilateformer_tiny", num_classes=10).num_features
    576

Names: ``dilateformer_tiny``, ``dilateformer_small``, ``dilateformer_base``, and ``dilateformer``
with ``architecture=``: a file, an exported folder, ``RUN#N`` or the dict of a ``config.json``.
``import dilnas`` alone registers nothing and needs no timm.

timm's own scripts run with the models registered as
``python -m dilnas.timm_models train.py --model dilateformer …``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import DependencyError, InputError
from dilnas.runs import resolve
from dilnas.variants import VARIANTS

try:
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
except (ImportError, RuntimeError) as error:  # a broken torchvision raises RuntimeError
    raise DependencyError(
        "cannot be imported", where="timm", expected="pip install 'dilnas[timm]'", got=str(error)
    ) from error

from dilnas.timm_models.network import TimmDilateFormer, pretrained_cfg

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TimmDilateFormer", "pretrained_cfg"]

default_cfgs = generate_default_cfgs(
    {
        "dilateformer": pretrained_cfg(VARIANTS["tiny"]),
        **{f"dilateformer_{name}": pretrained_cfg(a) for name, a in VARIANTS.items()},
    }
)
"""What timm knows of each model's input. No weights: the authors' checkpoints are not ours to host;
``checkpoint_path=`` loads them."""


def dilateformer(
    pretrained: bool = False,
    *,
    architecture: str | os.PathLike[str] | Mapping[str, Any] | Architecture = "tiny",
    **options: Any,
) -> nn.Module:
    """Any DilateFormer. ``architecture`` is all that tells one from another.

    Args:
        pretrained: load the weights that ``pretrained_cfg`` names (``local-dir:``, ``hf-hub:``).
        architecture: a file, an exported folder, ``RUN#N``, a variant, an Architecture or its dict.
        options: of ``timm.create_model``: ``num_classes``, ``in_chans``, ``drop_rate``,
            ``drop_path_rate``, ``global_pool``, ``features_only``, ``out_indices``, …

    Raises ArchitectureError, RunError or InputError for an architecture that is none.
    """
    return _create("dilateformer", _architecture(architecture), pretrained, options)


def dilateformer_tiny(pretrained: bool = False, **options: Any) -> nn.Module:
    """DilateFormer-Tiny of the paper, 17.2 M parameters with 1000 classes."""
    return _create("dilateformer_tiny", VARIANTS["tiny"], pretrained, options)


def dilateformer_small(pretrained: bool = False, **options: Any) -> nn.Module:
    """DilateFormer-Small of the paper, 24.1 M parameters with 1000 classes."""
    return _create("dilateformer_small", VARIANTS["small"], pretrained, options)


def dilateformer_base(pretrained: bool = False, **options: Any) -> nn.Module:
    """DilateFormer-Base of the paper, 47.4 M parameters with 1000 classes."""
    return _create("dilateformer_base", VARIANTS["base"], pretrained, options)


for _model in (dilateformer, dilateformer_tiny, dilateformer_small, dilateformer_base):
    register_model(_model)


def _architecture(given: object) -> Architecture:
    if isinstance(given, Architecture):
        return given
    if isinstance(given, Mapping):
        return Architecture.from_dict(given)
    if isinstance(given, str | os.PathLike):
        return resolve(os.fspath(given))[1]
    raise InputError(
        "must be an architecture", where="architecture", got=type(given).__name__,
        expected="a file, a folder, RUN#N, a variant, an Architecture or its dict",
    )  # fmt: skip


def _create(
    name: str, architecture: Architecture, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    if options.get("pretrained_cfg") is None:
        # timm's entry for the name describes Tiny: this one's own classes, channels and stem count.
        own = {**pretrained_cfg(architecture), "architecture": name}
        given = options.pop("pretrained_cfg_overlay", None) or {}
        options = {**options, "pretrained_cfg": {**own, **given}}
    model: nn.Module = build_model_with_cfg(
        TimmDilateFormer,
        name,
        pretrained,
        architecture=architecture,
        feature_cfg={
            "out_indices": tuple(range(len(architecture.stages))),
            # Maps before each stage's downsampling: no child module of the network returns them.
            "feature_cls": "getter",
        },
        **options,
    )
    return model
