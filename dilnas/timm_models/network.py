"""The network with the methods that timm asks of a model. Its state dict is DilateFormer's own."""

# No postponed annotations: fx writes them into the code that it generates as they stand.
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import SelectAdaptivePool2d
from timm.models import checkpoint_seq, register_notrace_module
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.model import DilateFormer
from dilnas.model.attention import GlobalAttention, MultiScaleDilatedAttention, is_scripting
from dilnas.model.blocks import DropPath, StageModule
from dilnas.model.dilateformer import check_images

__all__ = ["TimmDilateFormer", "pretrained_cfg"]


def pretrained_cfg(
    architecture: Architecture, image_size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """What timm wants to know of an architecture's input, its first layer and its classifier.

    Args:
        architecture: the network.
        image_size: (height, width) that it is meant for; None: 224 x 224, or the next larger side
            that the strides allow.

    Mean and standard deviation are ImageNet's, crop and interpolation those of the authors.
    """
    stride = architecture.stride
    height, width = image_size or (-(-224 // stride) * stride,) * 2
    return {
        "num_classes": architecture.num_classes,
        "input_size": (architecture.in_chans, height, width),
        "pool_size": (height // stride, width // stride),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN if architecture.in_chans == 3 else (0.5,),
        "std": IMAGENET_DEFAULT_STD if architecture.in_chans == 3 else (0.5,),
        "first_conv": _first_conv(architecture),
        "classifier": "head",
    }


def _first_conv(architecture: Architecture) -> str:
    single = architecture.stem == "nonoverlapping"
    return "patch_embed.proj" if single else "patch_embed.proj.0"


class Images(nn.Module):
    """Images of a size that the strides allow, channels-last; a module, so that fx passes it by."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W), unchanged. Raises InputError for other shapes."""
        if not is_scripting():
            check_images(self.architecture, x)
        return x.contiguous(memory_format=torch.channels_last)


# Their loops and shapes are Python's: fx and feature extractors take them as they are.
for _leaf in (DropPath, GlobalAttention, Images, MultiScaleDilatedAttention):
    register_notrace_module(_leaf)


class TimmDilateFormer(DilateFormer):
    """DilateFormer as timm's scripts use a model.

    It differs from ``dilnas.model.DilateFormer`` in ``forward_features``, whose map is not pooled
    here. Parameters have the same names, so that checkpoints of the authors and of dilnas load.

    Args:
        architecture: the network.
        num_classes: outputs instead of the architecture's; 0 leaves the classifier out.
        in_chans: channels of the image instead of the architecture's.
        global_pool: avg, max, avgmax, catavgmax, or "" for maps of logits or features.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block.
        device, dtype: where and as what the parameters are made.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        num_classes: int | None = None,
        in_chans: int | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        own = architecture.replace(
            num_classes=architecture.num_classes if num_classes is None else num_classes,
            in_chans=architecture.in_chans if in_chans is None else in_chans,
        )
        with torch.device(device or torch.get_default_device()):
            super().__init__(own, drop_path_rate=drop_path_rate)
            self.images = Images(own)
            self.in_chans = own.in_chans
            self.drop_rate = drop_rate
            self.head_drop = nn.Dropout(drop_rate)
            self.grad_checkpointing = False
            self.feature_info = [
                {
                    "num_chs": stage.dim,
                    "reduction": 4 << i,
                    "module": f"stages.{i}.blocks.{stage.depth - 1}",
                }
                for i, stage in enumerate(own.stages)
            ]
            self._set_pool(global_pool)
        if dtype is not None:
            self.to(dtype)

    def _set_pool(self, kind: str) -> None:
        """Pool by ``kind``; where that doubles the features, the classifier is made anew."""
        try:
            self.global_pool = SelectAdaptivePool2d(pool_type=kind, flatten=bool(kind))
        except AssertionError as error:
            raise InputError(
                "unknown pooling", where="global_pool",
                expected='avg | max | avgmax | catavgmax | ""', got=kind,
            ) from error  # fmt: skip
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        width = self.head.in_features if isinstance(self.head, nn.Linear) else 0
        if width and width != self.head_hidden_size:
            self._set_head()

    def _set_head(self) -> None:
        old = self.norm.weight
        if not self.num_classes:
            self.head = nn.Identity()
            return
        self.head = nn.Linear(
            self.head_hidden_size, self.num_classes, device=old.device, dtype=old.dtype
        )
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    # --- what timm asks for -------------------------------------------------------------------

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def no_weight_decay(self) -> set[str]:
        """Names beside biases and norms, which timm leaves out anyway: none."""
        return set()

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that put the parameters into layers, for layer-wise learning rates."""
        last = (99999,)  # timm's mark for "with the layer before it"
        blocks = [
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^stages\.(\d+)\.downsample", last),
            (r"^norm", last),
        ]
        return {"stem": r"^patch_embed", "blocks": r"^stages\.(\d+)" if coarse else blocks}

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only each block's input for the backward pass and compute the rest again."""
        self.grad_checkpointing = enable

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def get_classifier(self) -> nn.Module:
        """The last linear layer, or the identity without classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier for ``num_classes``, and other pooling if it is named."""
        self.architecture = self.architecture.replace(num_classes=num_classes)
        self.num_classes = num_classes
        if global_pool is not None:
            self._set_pool(global_pool)
        self._set_head()

    # --- forward ------------------------------------------------------------------------------

    def _stem(self, x: Tensor) -> Tensor:
        out: Tensor = self.patch_embed(self.images(x))
        return out

    def _blocks(self, stage: StageModule, x: Tensor) -> Tensor:
        if self.grad_checkpointing:
            checkpointed: Tensor = checkpoint_seq(stage.blocks, x)
            return checkpointed
        return stage.features(x)

    def _norm(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> normalised map (B, C, H / stride, W / stride)."""
        x = self._stem(x)
        for stage in self.stages:
            if is_scripting():  # TorchScript takes no module as an argument
                x = stage(x)
            else:
                assert isinstance(stage, StageModule)
                x = stage.downsample(self._blocks(stage, x))
        return self._norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A map -> logits (B, num_classes), or with ``pre_logits`` pooled features.

        Without pooling the result keeps its two sides: (B, num_classes or C, H, W).
        """
        x = self.head_drop(self.global_pool(x))
        if pre_logits:
            return x
        if self.global_pool.is_identity():
            spread: Tensor = self.head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return spread
        out: Tensor = self.head(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(  # noqa: PLR0917 - as timm has it
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The stages' maps, each before its downsampling, and the normalised last one.

        Args:
            x: images (B, in_chans, H, W).
            indices: stages; an int for the last so many, None for all.
            norm: normalise the last stage's map (the network's norm fits no other).
            stop_early: compute no more than ``indices`` need.
            output_fmt: NCHW.
            intermediates_only: return the list alone.
        """
        if output_fmt != "NCHW":
            raise InputError(
                "unknown format", where="output_fmt", expected="NCHW", got=str(output_fmt)
            )
        taken, most = feature_take_indices(len(self.stages), indices)
        stages = self.stages[: most + 1] if stop_early else self.stages
        x, maps = self._stem(x), []
        for i, stage in enumerate(stages):
            assert isinstance(stage, StageModule)
            x = self._blocks(stage, x)
            last = i + 1 == len(self.stages)
            if i in taken:
                maps.append(self._norm(x) if norm and last else x)
            x = x if last else stage.downsample(x)
        if intermediates_only:
            return maps
        return (self._norm(x) if len(stages) == len(self.stages) else x), maps

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drop what the stages ``indices`` do not need; returns these as positive numbers."""
        taken, most = feature_take_indices(len(self.stages), indices)
        cut = most + 1 < len(self.stages)
        self.stages = self.stages[: most + 1]
        self.stages[-1].downsample = nn.Identity()
        if prune_norm or cut:
            self.norm = nn.Identity()  # type: ignore[assignment]
        if prune_head or cut:
            self.num_features = self.feature_info[most]["num_chs"]
            self.num_classes, self.head = 0, nn.Identity()
            self._set_pool("")
        return list(taken)
