"""WeightAverage: the average of the weights along a training run, which is what is scored."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DecayAverage", "WeightAverage"]


class WeightAverage:
    """Polynomial-decay average of a model's weights and of its batch-norm statistics.

    After step t the average moves towards the weights by (gamma + 1) / (gamma + t), so its window
    is always the last 1/(gamma + 1) or so of the run (Shamir and Zhang, "Stochastic gradient
    descent for non-smooth optimization", ICML 2013, section 4). A fixed decay would hold the
    initial weights in a run of a hundred steps and be all noise in one of a million. At t = 1 it
    is the weights themselves: there is no bias to correct.

    Batch-norm statistics are averaged with the same factors: they are exponential averages along
    the same path, so they fit the averaged weights.
    """

    def __init__(self, model: nn.Module, gamma: float) -> None:
        self.gamma = gamma
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        mine, theirs = self.model.state_dict(), model.state_dict(keep_vars=True)
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        self._mine = [mine[name] for name in floats]
        self._theirs = [theirs[name].detach() for name in floats]
        self._counters = [(mine[n], theirs[n]) for n in mine if n not in set(floats)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps (1-based)."""
        torch._foreach_lerp_(self._mine, self._theirs, self._share(step))

    def _share(self, step: int) -> float:
        return (self.gamma + 1) / (self.gamma + step)

    def synchronise(self) -> None:
        """Copy what is counted, not averaged (batch norm's number of batches)."""
        for mine, theirs in self._counters:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights, under the model's names."""
        self.synchronise()
        state: dict[str, Tensor] = self.model.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.model.load_state_dict(state)


class DecayAverage(WeightAverage):
    """Exponential moving average with a fixed ``decay``, as timm and DeiT have it.

    After each update it is decay · average + (1 - decay) · weights. It starts as the initial
    weights, and after n updates still holds decay^n of them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, 0.0)
        self.decay = decay

    def _share(self, step: int) -> float:
        return 1 - self.decay
