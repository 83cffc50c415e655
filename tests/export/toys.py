"""Small networks that have everything an exporter can get wrong, and processes without dilnas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from dilnas.arch import Architecture, Stage
from dilnas.model import build_model, save_weights

TOY = Architecture(
    stages=(
        Stage(dim=24, num_heads=4, msda_depth=1, dilations=(1, 3)),
        Stage(dim=32, num_heads=4, msda_depth=1, global_depth=1, window_size=5, dilations=(2,)),
    ),
    pos_embed="both",
    num_classes=7,
)
"""Stride 8; dilated and global blocks, two windows, position in both places."""


def trained(architecture: Architecture, path: Path) -> torch.nn.Module:
    """A network whose every number was moved from where it starts, written to ``path``."""
    torch.manual_seed(1)
    model = build_model(architecture).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.rand_like(tensor) * 0.2
                # Variances stay positive; weights and means go either way.
                tensor.add_(drawn if name.endswith("running_var") else drawn - 0.1)
    save_weights(model, path)
    return model


BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""


def python_without(names: tuple[str, ...], code: str, cwd: Path) -> subprocess.CompletedProcess:
    """``code`` in a fresh interpreter in which ``names`` cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=names) + code],
        cwd=cwd, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )  # fmt: skip
