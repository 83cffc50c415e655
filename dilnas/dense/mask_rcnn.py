"""Object detection and instance segmentation: torchvision's Mask R-CNN on an architecture.

Sources: He et al., "Mask R-CNN", 2017; Lin et al., "Feature Pyramid Networks", 2017. Everything
but the backbone is torchvision's own code.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.cost.dense import DETECTION_CLASSES, FPN_WIDTH
from dilnas.dense.pyramid import NormedPyramid
from dilnas.errors import DependencyError, InputError

if TYPE_CHECKING:
    from torchvision.models.detection import MaskRCNN

__all__ = ["detector"]

RATIOS = (0.5, 1.0, 2.0)
"""Heights over widths of anchors, torchvision's own."""

ANCHOR = 8
"""Side of a level's anchors in units of its stride: 32 pixels at stride 4, 512 at 64."""


class _Pyramid(nn.Module):
    """Backbone and FPN as torchvision wants them: a dict of maps and ``out_channels``.

    Attributes:
        body: the backbone, a NormedPyramid.
        fpn: torchvision's FeaturePyramidNetwork with one more, subsampled level.
    """

    def __init__(self, body: NormedPyramid) -> None:
        super().__init__()
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        self.out_channels = FPN_WIDTH
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(body.channels), FPN_WIDTH, LastLevelMaxPool())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, C, H, W) -> {"0": stride 4, "1": stride 8, …, "pool"}, 256 channels each."""
        named = OrderedDict((str(i), features) for i, features in enumerate(self.body(x)))
        maps: dict[str, Tensor] = self.fpn(named)
        return maps


def detector(
    architecture: Architecture,
    num_classes: int = DETECTION_CLASSES,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    norms: bool = True,
    drop_path_rate: float = 0.0,
    **mask_rcnn: Any,
) -> MaskRCNN:
    """``torchvision.models.detection.MaskRCNN`` with the architecture as its backbone.

    It takes and returns what torchvision's own do: images are scaled to a shorter side of 800
    pixels, at most 1333 on the longer one, and padded to multiples of the architecture's stride.
    ``model.backbone.body`` is the ``NormedPyramid``, ``model.backbone.fpn`` the neck. The
    architecture's own classifier is left out.

    Args:
        architecture: of the backbone.
        num_classes: outputs, the background among them.
        checkpoint: of a classifier of this architecture; its weights go into the backbone.
        norms: a layer norm on each of the backbone's maps.
        drop_path_rate: stochastic depth of the backbone's last block.
        mask_rcnn: what else MaskRCNN takes (``min_size``, ``box_score_thresh``, …).

    Raises:
        DependencyError: torchvision is missing or broken.
        InputError: fewer than two classes, images without three channels and no ``image_mean``.
        CheckpointError: the checkpoint is damaged or of another architecture.
    """
    mask_rcnn_class, anchor_generator, roi_align = _torchvision()
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
        raise InputError(
            "must be a number of classes with the background", where="num_classes",
            expected=">= 2", got=num_classes,
        )  # fmt: skip
    if architecture.in_chans != 3 and not {"image_mean", "image_std"} <= set(mask_rcnn):
        raise InputError(
            "a mean and a deviation for each channel are needed", where="image_mean and image_std",
            got=f"{architecture.in_chans} channels",
        )  # fmt: skip
    body = NormedPyramid(architecture, norms=norms, drop_path_rate=drop_path_rate)
    if checkpoint is not None:
        body.load(checkpoint)
    levels = [str(i) for i in range(len(body.strides))]
    sizes = tuple((ANCHOR * stride,) for stride in (*body.strides, 2 * body.strides[-1]))
    parts = {
        "rpn_anchor_generator": anchor_generator(sizes, (RATIOS,) * len(sizes)),
        "box_roi_pool": roi_align(levels, output_size=7, sampling_ratio=2),
        "mask_roi_pool": roi_align(levels, output_size=14, sampling_ratio=2),
        "size_divisible": architecture.stride,
    }
    model: MaskRCNN = mask_rcnn_class(_Pyramid(body), num_classes, **(parts | mask_rcnn))
    return model


def _torchvision() -> tuple[Any, Any, Any]:
    """What Mask R-CNN is put together from. Raises DependencyError where it cannot be imported."""
    try:
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.ops import MultiScaleRoIAlign
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise DependencyError(
            f"torchvision is needed: {error}", where="detector",
            expected="pip install 'dilnas[dense]'",
        ) from error  # fmt: skip
    return MaskRCNN, AnchorGenerator, MultiScaleRoIAlign
