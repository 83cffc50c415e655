"""Read back what a trial trained: the network with its averaged weights, without the data."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, CheckpointError
from dilnas.model import build_model
from dilnas.train.proxy import Proxy
from dilnas.train.rungs import CHECKPOINT, RungResult, _read

__all__ = ["Trained", "trained_model"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trial's network as it is scored.

    Attributes:
        model: on the CPU, in evaluation mode, with the averaged weights.
        architecture: what it is: the proxy's width, the data's classes and channels.
        source_key: key of the full architecture that it stands for.
        proxy: how it was trained.
        mean, std: of each input channel, in 0..255; images are normalised with them.
        results: its scores, one a rung.
    """

    model: nn.Module
    architecture: Architecture
    source_key: str
    proxy: Proxy
    mean: tuple[float, ...]
    std: tuple[float, ...]
    results: tuple[RungResult, ...]

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being finite: the weights are of no use then."""
        return bool(self.results) and self.results[-1].diverged


def trained_model(directory: str | os.PathLike[str]) -> Trained | None:
    """What ``directory``'s checkpoint holds; None if there is none (a candidate never trained).

    Raises CheckpointError if it is damaged.
    """
    path = Path(directory) / CHECKPOINT
    if not path.exists():
        return None
    state = _read(path, {})
    try:
        network, identity = state["network"], state["identity"]
        architecture = Architecture.from_dict(network["architecture"])
        model = build_model(architecture)
        model.load_state_dict(state["trainer"]["average"])
        return Trained(
            model=model.eval(),
            architecture=architecture,
            source_key=identity["architecture"],
            proxy=Proxy.from_dict(json.loads(identity["proxy"])),
            mean=tuple(network["mean"]),
            std=tuple(network["std"]),
            results=tuple(RungResult(**values) for values in state["results"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, ArchitectureError) as error:
        raise CheckpointError(
            "damaged, or written by another version of dilnas", where=str(path)
        ) from error
