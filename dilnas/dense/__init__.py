"""DilateFormer under dense tasks: torchvision's Mask R-CNN, Hugging Face transformers' UPerNet.

``detector`` and ``segmenter`` build the whole models; they need ``pip install 'dilnas[dense]'``.
Their exact cost needs neither: ``dilnas.cost.task_cost``, ``dilnas profile --task``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.dense.mask_rcnn import detector
    from dilnas.dense.measuring import profile_task
    from dilnas.dense.pyramid import NormedPyramid
    from dilnas.dense.upernet import register, segmenter

__all__ = ["NormedPyramid", "detector", "profile_task", "register", "segmenter"]

_HOMES = {
    "NormedPyramid": "pyramid",
    "detector": "mask_rcnn",
    "profile_task": "measuring",
    "register": "upernet",
    "segmenter": "upernet",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
