"""DilateFormer, as a classifier and as a feature pyramid.

Source: Jiao et al., "DilateFormer: Multi-Scale Dilated Transformer for Visual Recognition", IEEE
TMM 2023; names of parameters as in the authors' checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.model.blocks import NORM_EPS, Downsample, PatchEmbed, StageModule

__all__ = ["DilateFormer", "FeaturePyramid", "build_model", "check_images"]


def check_images(architecture: Architecture, x: Tensor) -> None:
    """Raise InputError unless the network takes ``x``; asked where Python can see the sizes."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined, no-untyped-call]
        return
    chans = architecture.in_chans
    if x.dim() != 4 or x.shape[1] != chans:
        raise InputError(
            "must be images", where="x", expected=f"(B, {chans}, H, W)", got=tuple(x.shape)
        )
    architecture.check_input(x.shape[2], x.shape[3], where="x")


class _Backbone(nn.Module):
    """Stem and stages: what the classifier and the pyramid have in common."""

    def __init__(self, architecture: Architecture, drop_path_rate: float) -> None:
        super().__init__()
        self.architecture = architecture
        stages = architecture.stages
        self.patch_embed = PatchEmbed(architecture.in_chans, stages[0].dim, architecture.stem)
        # A list of Python floats: on the meta device a tensor would hold no numbers.
        last = max(architecture.depth - 1, 1)
        rates = [drop_path_rate * i / last for i in range(architecture.depth)]
        modules = []
        for i, stage in enumerate(stages):
            own, rates = rates[: stage.depth], rates[stage.depth :]
            modules.append(
                StageModule(
                    stage,
                    qkv_bias=architecture.qkv_bias,
                    pos_embed=architecture.pos_embed in ("block", "both"),
                    drop_path=own,
                    downsample=self._downsample(i),
                )
            )
        self.stages = nn.ModuleList(modules)

    def _downsample(self, i: int) -> nn.Module | None:
        """What lies between stage i and the next one."""
        architecture = self.architecture
        if i + 1 == len(architecture.stages):
            return None
        return Downsample(
            architecture.stages[i].dim, architecture.stages[i + 1].dim, architecture.downsample,
            pos_embed=architecture.pos_embed in ("stage", "both"),
        )  # fmt: skip

    def _stem(self, x: Tensor) -> Tensor:
        """The first map, channels-last."""
        check_images(self.architecture, x)
        out: Tensor = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        return out


class DilateFormer(_Backbone):
    """The classifier.

    Args:
        architecture: the network; ``num_classes`` 0 leaves the classifier out.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
    """

    def __init__(self, architecture: Architecture, *, drop_path_rate: float = 0.0) -> None:
        super().__init__(architecture, drop_path_rate)
        self.num_features = architecture.stages[-1].dim
        self.num_classes = architecture.num_classes
        self.norm = nn.LayerNorm(self.num_features, eps=NORM_EPS)
        self.head: nn.Module = (
            nn.Linear(self.num_features, self.num_classes) if self.num_classes else nn.Identity()
        )
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> normalised and averaged features (B, C).

        Raises:
            InputError: H or W is not a multiple of ``architecture.stride``.
        """
        x = self._stem(x)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes). Raises like forward_features."""
        out: Tensor = self.head(self.forward_features(x))
        return out


class FeaturePyramid(_Backbone):
    """The maps of all stages, for dense tasks: each before its stage's downsampling.

    Attributes:
        channels: width of each map.
        strides: pixels of the image for one of each map, along one side: 4, 8, 16, 32.
    """

    def __init__(self, architecture: Architecture, *, drop_path_rate: float = 0.0) -> None:
        super().__init__(architecture, drop_path_rate)
        self.channels = tuple(stage.dim for stage in architecture.stages)
        self.strides = tuple(4 << i for i in range(len(architecture.stages)))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, in_chans, H, W) -> maps (B, channels[i], H / strides[i], W / strides[i]).

        Raises:
            InputError: H or W is not a multiple of ``architecture.stride``.
        """
        x = self._stem(x)
        maps = []
        for stage in self.stages:
            assert isinstance(stage, StageModule)
            x = stage.features(x)
            maps.append(x)
            x = stage.downsample(x)
        return maps


def _initialise(module: nn.Module) -> None:
    """The official start: truncated normal for linear layers, torch's own for convolutions."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build_model(
    architecture: Architecture,
    *,
    num_classes: int | None = None,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
) -> DilateFormer | FeaturePyramid:
    """The network of an architecture, with fresh weights, on torch's default device.

    Args:
        architecture: what to build.
        num_classes: outputs instead of the architecture's own; 0 leaves the classifier out.
        drop_path_rate: share of the samples that skip the last block's branches while training,
            0 to 1; grows linearly from 0 at the first block.
        features_only: a FeaturePyramid, which returns one map a stage, instead of a classifier.

    Raises:
        InputError: ``drop_path_rate`` out of range.
        ArchitectureError: ``num_classes`` out of range.
    """
    if not 0.0 <= drop_path_rate <= 1.0:
        raise InputError(
            "must be a share", where="drop_path_rate", expected="0..1", got=drop_path_rate
        )
    if num_classes is not None:
        architecture = architecture.replace(num_classes=num_classes)
    kind = FeaturePyramid if features_only else DilateFormer
    return kind(architecture, drop_path_rate=drop_path_rate)
