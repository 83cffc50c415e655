"""The full network that artefacts are made of: with trained weights, or fresh ones that say so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from dilnas.model import DilateFormer

__all__ = ["FullNetwork", "full_network"]

SEED = 0
"""Of fresh weights: the same architecture gives the same artefact."""


@dataclass(frozen=True, kw_only=True)
class FullNetwork:
    """The network of ``architecture.yaml`` as a model.

    Attributes:
        model: on the CPU, float32, in evaluation mode.
        weights: name of the file that they are from; None: fresh ones, untrained.
    """

    model: DilateFormer
    weights: str | None

    @property
    def label(self) -> str:
        """The weights in a few words, for a file's metadata."""
        return f"UNTRAINED (fresh, seed {SEED})" if self.weights is None else self.weights


def full_network(architecture: Architecture, weights: str | os.PathLike[str] | None) -> FullNetwork:
    """Build the network and load ``weights`` into it, all of them.

    Raises CheckpointError if the file is damaged, unsafe or of another architecture, and
    ExportError if its number of classes is another.
    """
    import torch

    from dilnas.model import DilateFormer, load_checkpoint, read_state_dict

    if weights is not None:
        _check_classes(read_state_dict(weights), architecture, os.fspath(weights))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(SEED)
        model = DilateFormer(architecture).eval()
    if weights is not None:
        load_checkpoint(model, weights)
    return FullNetwork(model=model, weights=None if weights is None else Path(weights).name)


def _check_classes(state: dict[str, Tensor], architecture: Architecture, where: str) -> None:
    """A classifier of another size is the likeliest of mistakes: say what takes the file."""
    if "norm.weight" not in state:
        return  # no DilateFormer's: loading says what differs
    head = state.get("head.weight")
    classes = 0 if head is None else int(head.shape[0])
    if classes != architecture.num_classes:
        raise ExportError(
            f"the weights have another number of classes; --num-classes {classes} takes them",
            where=where, expected=architecture.num_classes, got=classes,
        )  # fmt: skip
