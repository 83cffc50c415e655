"""Weights: a network in training, and what one update does to it; of proxies and full trainings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dilnas.train.average import WeightAverage

__all__ = ["UpdateRule", "Weights", "parameter_groups"]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels with weight decay; biases, norms and other vectors without."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRule:
    """How weights are updated, but for the learning rate.

    Attributes:
        betas, eps, weight_decay: of AdamW.
        clip: largest norm of the gradient; None for any.
        smoothing: probability that the targets of the loss spread over all classes.
        amp: type of autocast; None for none.
    """

    betas: tuple[float, float]
    eps: float = 1e-8
    weight_decay: float
    clip: float | None
    smoothing: float
    amp: torch.dtype | None


class Weights:
    """A network with all that an update changes: its weights, their average, optimiser, scaler.

    An update is ``begin``, one ``backward`` or several, ``finish``.

    Args:
        model: already on ``device``.
        rule: how it is updated.
        average: of the weights of ``model``; None where none is kept.
        device: where.
    """

    def __init__(
        self, model: nn.Module, rule: UpdateRule, average: WeightAverage | None,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.model, self.rule, self.average, self.device = model, rule, average, device
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, rule.weight_decay), betas=rule.betas, eps=rule.eps,
            fused=device.type in ("cpu", "cuda"),
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(device.type, enabled=rule.amp is torch.float16)

    @property
    def rate(self) -> float:
        """Learning rate of the last update."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Of the rule's precision, for training and validation alike."""
        if self.rule.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.rule.amp)

    def begin(self, rate: float) -> None:
        """An update at learning rate ``rate``."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def backward(
        self, images: Tensor, targets: Tensor, *, share: int = 1, through: nn.Module | None = None
    ) -> Tensor:
        """Add a batch's gradient; its mean loss.

        Args:
            images: (N, C, H, W).
            targets: (N,) classes, or (N, classes) probabilities.
            share: batches of this update, each of which counts as much.
            through: the module around the model that is called in its place.
        """
        with self.autocast():
            logits = (through or self.model)(images)
        loss = functional.cross_entropy(
            logits.float(), targets, label_smoothing=self.rule.smoothing
        )
        self.scaler.scale(loss / share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def finish(self, update: int) -> None:
        """Change the weights by the gradients, as the 1-based ``update``."""
        if self.rule.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.rule.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(update)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and plain containers."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``; others' entries may lie beside."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
