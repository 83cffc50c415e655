"""DilateFormer as a module, built from an Architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.model.blocks import MSDA, Block, Downsample, GlobalAttention, Stem, layer_norm

__all__ = ["DilateFormer", "FeaturePyramid", "build_model"]


class _StageModule(nn.Module):
    """MSDA blocks, then global blocks, then the downsampling layer (identity in the last stage)."""

    def __init__(self, architecture: Architecture, index: int, drop_path: list[float]) -> None:
        super().__init__()
        stage = architecture.stages[index]
        bias = architecture.qkv_bias
        by_block = architecture.pos_embed in ("block", "both")
        by_stage = architecture.pos_embed in ("stage", "both")
        self.blocks = nn.ModuleList(
            Block(
                stage,
                MSDA(stage, bias) if i < stage.msda_depth else GlobalAttention(stage, bias),
                embed=by_block,
                drop_path_rate=rate,
            )
            for i, rate in enumerate(drop_path)
        )
        self.downsample: nn.Module = nn.Identity()
        if index + 1 < len(architecture.stages):
            out = architecture.stages[index + 1].dim
            self.downsample = Downsample(architecture.downsample, stage.dim, out, embed=by_stage)

    def features(self, x: Tensor) -> Tensor:
        """The blocks alone: (B, C, H, W) -> (B, C, H, W)."""
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2), or the same size in the last stage."""
        out: Tensor = self.downsample(self.features(x))
        return out


class DilateFormer(nn.Module):
    """Image classifier: (B, in_chans, H, W) -> (B, num_classes) logits.

    H and W are multiples of ``architecture.stride``. State-dict names and shapes are those of the
    official code.
    """

    def __init__(self, architecture: Architecture, *, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.architecture = architecture
        stages = architecture.stages
        last = stages[-1].dim
        self.patch_embed = Stem(architecture.stem, architecture.in_chans, stages[0].dim)
        rates = _drop_path_rates(architecture.depth, drop_path_rate)
        starts = [sum(s.depth for s in stages[:i]) for i in range(len(stages) + 1)]
        self.stages = nn.ModuleList(
            _StageModule(architecture, i, rates[starts[i] : starts[i + 1]])
            for i in range(len(stages))
        )
        self.norm = layer_norm(last)
        classes = architecture.num_classes
        self.head: nn.Module = nn.Linear(last, classes) if classes else nn.Identity()
        self.apply(_initialise)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The map of every stage before its downsampling: strides 4, 8, 16, 32, …

        (B, in_chans, H, W) -> [(B, stages[i].dim, H / 2^(i+2), W / 2^(i+2))].
        """
        x = self._stem(x)
        maps = []
        for stage in self.stages:
            x = stage.features(x)  # type: ignore[operator]
            maps.append(x)
            x = stage.downsample(x)  # type: ignore[operator]
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised and averaged features: (B, in_chans, H, W) -> (B, stages[-1].dim)."""
        x = self._stem(x)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_classes)."""
        out: Tensor = self.head(self.forward_features(x))
        return out

    def _stem(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.architecture.in_chans:
            raise InputError(
                "the network takes images (B, in_chans, H, W)", where="input",
                expected=f"in_chans {self.architecture.in_chans}", got=tuple(x.shape),
            )  # fmt: skip
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            self.architecture.check_input(x.shape[2], x.shape[3], where="input")
        # Channels last from the first convolution on: no layout copies between the stages.
        out: Tensor = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        return out


class FeaturePyramid(nn.Module):
    """A DilateFormer without classifier that returns its stages' maps, for dense tasks.

    Attributes:
        channels: width of each map.
        strides: pixels of the image for one of each map.
    """

    def __init__(self, model: DilateFormer) -> None:
        super().__init__()
        model.norm, model.head = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.body = model
        self.channels = tuple(stage.dim for stage in model.architecture.stages)
        self.strides = tuple(4 << i for i in range(len(self.channels)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, in_chans, H, W) -> [(B, channels[i], H / strides[i], W / strides[i])]."""
        return self.body.feature_maps(x)


def _drop_path_rates(depth: int, rate: float) -> list[float]:
    """Linearly from 0 to ``rate`` over the blocks, as ``torch.linspace(0, rate, depth)``."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


def _initialise(module: nn.Module) -> None:
    """The official initialisation; convolutions keep PyTorch's."""
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
    """The network of an architecture, freshly initialised, in training mode.

    Args:
        architecture: what to build.
        num_classes: replaces the architecture's number of classes; 0 means no classifier.
        drop_path_rate: stochastic depth of the last block; blocks before it have linearly less.
        features_only: return a FeaturePyramid (maps at strides 4, 8, 16, 32) instead.

    Raises:
        InputError: a drop-path rate outside [0, 1).
    """
    if not 0.0 <= drop_path_rate < 1.0:
        raise InputError(
            "out of range", where="drop_path_rate", expected="0 <= rate < 1", got=drop_path_rate
        )
    if num_classes is not None:
        architecture = architecture.replace(num_classes=num_classes)
    model = DilateFormer(architecture, drop_path_rate=drop_path_rate)
    return FeaturePyramid(model) if features_only else model
