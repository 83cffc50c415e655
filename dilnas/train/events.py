"""What a full training tells while it goes on; plain data, also between processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EpochRow", "Event", "Note", "OnEvent", "Progress"]


@dataclass(frozen=True, slots=True)
class Note:
    """A line that stays."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where it stands, about once a second.

    Attributes:
        epoch, epochs: 1-based, and how many.
        update, updates: within the epoch.
        images_per_s: of all workers together, over this session's part of the epoch.
        loss: mean training loss of the epoch so far.
        lr: learning rate.
        seconds_left: of training, at this speed; validation left out.
        doing: "train" or "validate".
    """

    epoch: int
    epochs: int
    update: int
    updates: int
    images_per_s: float
    loss: float
    lr: float
    seconds_left: float
    doing: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """An epoch that has ended; a row of log.csv.

    Attributes:
        epoch: 1-based.
        updates: done since the start.
        lr: of its last update.
        train_loss: mean over its images, as augmented and mixed.
        val_top1, val_top5, val_loss: of the weights themselves; shares are 0..1.
        ema_top1, ema_top5: of their average; None where none is kept.
        images_per_s: training speed of all workers together.
        seconds: wall seconds since the start, validation included, pauses left out.
    """

    epoch: int
    updates: int
    lr: float
    train_loss: float
    val_top1: float
    val_top5: float
    val_loss: float
    ema_top1: float | None
    ema_top5: float | None
    images_per_s: float
    seconds: float


Event = Note | Progress | EpochRow
OnEvent = Callable[[Event], None]
