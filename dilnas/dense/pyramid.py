"""The backbone of a dense task: the feature pyramid, a layer norm on each map, any image size."""

from __future__ import annotations

import os

from torch import Tensor, nn
from torch.nn.functional import pad

from dilnas.arch import Architecture
from dilnas.model import FeaturePyramid, build_model, load_checkpoint
from dilnas.model.blocks import NORM_EPS

__all__ = ["NormedPyramid"]


class NormedPyramid(nn.Module):
    """Maps of all stages, each with a layer norm of its own over the channels.

    A pre-norm block leaves its sum without a norm, so dense models on such backbones put one on
    every map that they take (Swin's do). The DilateFormer paper does not say what it did;
    ``norms=False`` leaves the maps as they are.

    Attributes:
        body: the FeaturePyramid; ``load_checkpoint(backbone.body, path)`` fills it from a
            classifier's checkpoint.
        channels: width of each map.
        strides: pixels of the image for one of each map, along one side.
    """

    def __init__(
        self, architecture: Architecture, *, norms: bool = True, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        body = build_model(architecture, drop_path_rate=drop_path_rate, features_only=True)
        assert isinstance(body, FeaturePyramid)
        self.body = body
        self.channels, self.strides = body.channels, body.strides
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim, eps=NORM_EPS) if norms else nn.Identity() for dim in self.channels
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) -> maps (B, channels[i], ceil(H / strides[i]), ceil(W / …)).

        Where the last stride does not divide a side, zeros are put below and on the right, and
        what they alone have made is cut off the maps.
        """
        height, width = x.shape[-2:]
        below, right = -height % self.strides[-1], -width % self.strides[-1]
        if below or right:
            x = pad(x, (0, right, 0, below))
        maps = []
        for i, features in enumerate(self.body(x)):
            stride = self.strides[i]
            cut = features[..., : -(-height // stride), : -(-width // stride)]
            maps.append(self.norms[i](cut.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return maps

    def load(self, path: str | os.PathLike[str], *, ema: bool = False) -> None:
        """Copy a classifier's checkpoint into ``body``; see ``dilnas.model.load_checkpoint``."""
        load_checkpoint(self.body, path, ema=ema)
