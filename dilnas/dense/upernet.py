"""Semantic segmentation: Hugging Face transformers' UPerNet on an architecture.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", 2018. Everything but the
backbone is transformers' own code.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.cost.dense import AUXILIARY_STAGE, SEGMENTATION_CLASSES
from dilnas.errors import DependencyError, InputError

if TYPE_CHECKING:
    from transformers import UperNetForSemanticSegmentation

__all__ = ["register", "segmenter"]


def segmenter(
    architecture: Architecture,
    num_classes: int = SEGMENTATION_CLASSES,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    norms: bool = True,
    drop_path_rate: float = 0.0,
    **upernet: Any,
) -> UperNetForSemanticSegmentation:
    """``transformers.UperNetForSemanticSegmentation`` with the architecture as its backbone.

    It takes ``pixel_values`` (B, C, H, W) of any size and, to train, ``labels`` (B, H, W), and
    returns logits (B, num_classes, H, W). ``model.backbone.pyramid`` is the ``NormedPyramid``. The
    pyramid pooling has a batch norm on one pixel an image, so training needs two images at least.
    The auxiliary head needs three stages; networks of fewer go without. Before
    ``from_pretrained`` call ``dilnas.dense.register()``.

    Args:
        architecture: of the backbone.
        num_classes: labels.
        checkpoint: of a classifier of this architecture; its weights go into the backbone.
        norms: a layer norm on each of the backbone's maps.
        drop_path_rate: stochastic depth of the backbone's last block.
        upernet: what else ``transformers.UperNetConfig`` takes (``id2label``, ``hidden_size``, …).

    Raises:
        DependencyError: transformers is missing or broken.
        InputError: fewer than two classes.
        CheckpointError: the checkpoint is damaged or of another architecture.
    """
    register()
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    from dilnas.dense.huggingface import DilateFormerConfig

    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
        raise InputError(
            "must be a number of classes", where="num_classes", expected=">= 2", got=num_classes
        )
    backbone = DilateFormerConfig(
        architecture.to_dict(), norms=norms, drop_path_rate=drop_path_rate
    )
    settings = {"use_auxiliary_head": len(architecture.stages) > AUXILIARY_STAGE} | upernet
    config = UperNetConfig(backbone_config=backbone, num_labels=num_classes, **settings)
    model = UperNetForSemanticSegmentation(config)
    if checkpoint is not None:
        model.backbone.pyramid.load(checkpoint)
    return model


def register() -> None:
    """Make the backbone known to transformers, for ``from_pretrained`` and ``backbone_config``.

    Raises:
        DependencyError: transformers is missing, too old or broken.
    """
    try:
        import dilnas.dense.huggingface  # noqa: F401
    except (ImportError, RuntimeError) as error:  # RuntimeError: beside a broken torchvision
        raise DependencyError(
            f"transformers is needed: {error}", where="segmenter",
            expected="pip install 'dilnas[dense]'",
        ) from error  # fmt: skip
