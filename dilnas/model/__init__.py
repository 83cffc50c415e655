"""The networks: blocks, DilateFormer, feature pyramid, checkpoints."""

from dilnas.model.checkpoints import (
    load_checkpoint,
    load_pretrained,
    read_state_dict,
    save_weights,
)
from dilnas.model.dilateformer import DilateFormer, FeaturePyramid, build_model

__all__ = [
    "DilateFormer",
    "FeaturePyramid",
    "build_model",
    "load_checkpoint",
    "load_pretrained",
    "read_state_dict",
    "save_weights",
]
