"""Tally: loss, images and seconds of the epoch that is going on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass
class Tally:
    """Sums over the updates of an epoch; those of an interrupted one go on.

    Attributes:
        loss, updates: sum of the mean losses of so many updates.
        images: trained on in the epoch.
        train_seconds: of training in it.
        seconds: wall seconds since the training began, validation included, pauses left out.
    """

    loss: float = 0.0
    updates: int = 0
    images: int = 0
    train_seconds: float = 0.0
    seconds: float = 0.0
    _since: float | None = field(default=None, repr=False)

    def start(self) -> None:
        """The clock of training runs from here."""
        self._since = time.perf_counter()

    def add(self, loss: float, updates: int, batch_size: int) -> None:
        """Take in the sum of the losses of some updates."""
        self.loss += loss
        self.updates += updates
        self.images += updates * batch_size
        self._lap(training=True)

    def stop(self) -> None:
        """Training has ended; what follows is validation."""
        self._lap(training=True)

    def pause(self) -> None:
        """So has validation."""
        self._lap(training=False)
        self._since = None

    def _lap(self, *, training: bool) -> None:
        now = time.perf_counter()
        passed = now - self._since if self._since is not None else 0.0
        self._since = now
        self.seconds += passed
        if training:
            self.train_seconds += passed

    @property
    def mean_loss(self) -> float:
        """Of an update; 0 before the first."""
        return self.loss / max(1, self.updates)

    @property
    def images_per_s(self) -> float:
        """Training speed in the epoch, all workers together; 0 before the first update."""
        return self.images / self.train_seconds if self.train_seconds else 0.0

    def to_dict(self) -> dict[str, float]:
        """What a state keeps."""
        return {
            "loss": self.loss, "updates": self.updates, "images": self.images,
            "train_seconds": self.train_seconds, "seconds": self.seconds,
        }  # fmt: skip
