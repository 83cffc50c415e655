"""The architecture as a backbone of Hugging Face transformers; importing this registers it.

Whatever takes a ``backbone_config`` there can have it, and ``from_pretrained`` finds it in the
folders that ``save_pretrained`` writes. ``dilnas.dense.register`` imports this module.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from dilnas.arch import Architecture
from dilnas.dense.pyramid import NormedPyramid

__all__ = ["MODEL_TYPE", "DilateFormerBackbone", "DilateFormerConfig"]

MODEL_TYPE = "dilnas_dilateformer"
"""Of configurations; not the plain name, which transformers may one day take."""


class DilateFormerConfig(BackboneConfigMixin, PreTrainedConfig):  # type: ignore[misc]
    """An architecture as a configuration.

    Args:
        architecture: ``Architecture.to_dict()``; None: the paper's Tiny.
        norms: a layer norm on each map.
        drop_path_rate: stochastic depth of the last block.
        out_features: names of the stages whose maps are returned; None: all.
        out_indices: their places instead.
        kwargs: what every configuration takes.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        architecture: dict[str, Any] | None = None,
        norms: bool = True,
        drop_path_rate: float = 0.0,
        out_features: list[str] | None = None,
        out_indices: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        from dilnas.variants import variant

        built = variant("tiny") if architecture is None else Architecture.from_dict(architecture)
        self.architecture = built.to_dict()
        self.norms = norms
        self.drop_path_rate = drop_path_rate
        self.num_channels = built.in_chans
        self.stage_names = [f"stage{i + 1}" for i in range(len(built.stages))]
        kwargs.pop("stage_names", None)
        kwargs.pop("num_channels", None)
        super().__init__(**kwargs)
        if out_features is None and out_indices is None:
            out_features = list(self.stage_names)
        self.set_output_features_output_indices(out_features, out_indices)


class DilateFormerBackbone(BackboneMixin, PreTrainedModel):  # type: ignore[misc]
    """The feature pyramid as transformers' backbones are: ``feature_maps``, ``channels``.

    Attributes:
        pyramid: the NormedPyramid that it wraps.
    """

    config_class = DilateFormerConfig
    base_model_prefix = "pyramid"
    main_input_name = "pixel_values"
    has_attentions = False

    def __init__(self, config: DilateFormerConfig) -> None:
        super().__init__(config)
        self.pyramid = NormedPyramid(
            Architecture.from_dict(config.architecture),
            norms=config.norms, drop_path_rate=config.drop_path_rate,
        )  # fmt: skip
        self.num_features = list(self.pyramid.channels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Each layer as ``dilnas.model.build_model`` starts it."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            module.reset_parameters()
        else:  # norms; not by reset_parameters, which would undo statistics that were loaded
            super()._init_weights(module)

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> BackboneOutput:
        """Images (B, C, H, W) -> the maps of ``out_features``, any size, see ``NormedPyramid``."""
        maps = self.pyramid(pixel_values)
        chosen = tuple(
            features
            for name, features in zip(self.stage_names, maps, strict=True)
            if name in self.out_features
        )
        hidden = tuple(maps) if output_hidden_states else None
        found = BackboneOutput(feature_maps=chosen, hidden_states=hidden)
        return found.to_tuple() if return_dict is False else found


AutoConfig.register(MODEL_TYPE, DilateFormerConfig, exist_ok=True)
AutoBackbone.register(DilateFormerConfig, DilateFormerBackbone, exist_ok=True)
