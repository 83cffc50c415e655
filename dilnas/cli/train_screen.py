"""What a full training shows: a line for each epoch, and one that moves on below them."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from dilnas.errors import DilnasError

if TYPE_CHECKING:
    from dilnas.train.events import EpochRow, Event, Progress

__all__ = ["TrainScreen", "duration"]

HEAD = (
    f"{'epoch':>9} {'rate':>9} {'train loss':>10} {'val loss':>9} {'top-1 %':>8} {'top-5 %':>8} "
    f"{'EMA top-1':>9} {'images/s':>9} {'time':>9}"
)


def duration(seconds: float) -> str:
    """``47s``, ``3m05s``, ``2h07m``, ``4d03h``."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    for unit, below, name, small in ((86400, 3600, "d", "h"), (3600, 60, "h", "m"),
                                     (60, 1, "m", "s")):  # fmt: skip
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // below:02}{small}"
    return f"{whole}s"


class TrainScreen:
    """Events as text on stderr; in a terminal the last line is written over."""

    PIPED_EVERY_S = 30.0

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.epochs = 0
        self.headed = False
        self.moving = False
        self.last = time.monotonic()

    def __enter__(self) -> TrainScreen:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def waiting(self, text: str) -> None:
        """Say in a terminal what goes on before the first event: a list of a million files."""
        if self.terminal:
            sys.stderr.write(printable(text))
            sys.stderr.flush()
            self.moving = True

    def show(self, event: Event) -> None:
        """Write one event."""
        from dilnas.train.events import EpochRow, Note, Progress

        if isinstance(event, Note):
            self._line(printable(event.text))
        elif isinstance(event, Progress):
            self.epochs = event.epochs
            self._progress(event)
        elif isinstance(event, EpochRow):
            if not self.headed:
                self._line(HEAD)
                self.headed = True
            self._line(self._row(event))

    def _row(self, row: EpochRow) -> str:
        of = f"{row.epoch}/{self.epochs}" if self.epochs else f"{row.epoch}"
        mean = "-" if row.ema_top1 is None else f"{row.ema_top1 * 100:.2f}"
        return (
            f"{of:>9} {row.lr:>9.2e} {row.train_loss:>10.4f} {row.val_loss:>9.4f} "
            f"{row.val_top1 * 100:>8.2f} {row.val_top5 * 100:>8.2f} {mean:>9} "
            f"{row.images_per_s:>9,.0f} {duration(row.seconds):>9}"
        )

    def _progress(self, at: Progress) -> None:
        now = time.monotonic()
        if not self.terminal and now - self.last < self.PIPED_EVERY_S:
            return
        self.last = now
        if at.doing == "validate":
            text = f"epoch {at.epoch}/{at.epochs}: validating"
        else:
            text = (
                f"epoch {at.epoch}/{at.epochs}, update {at.update}/{at.updates}: loss "
                f"{at.loss:.4f}, {at.images_per_s:,.0f} images/s, "
                f"{duration(at.seconds_left)} of training left"
            )
        self._wipe()
        sys.stderr.write(text if self.terminal else f"{text}\n")
        sys.stderr.flush()
        self.moving = self.terminal

    def _line(self, text: str) -> None:
        self._wipe()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _wipe(self) -> None:
        if self.moving:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.moving = False


def printable(text: str) -> str:
    """A file's name may hold what would steer a terminal."""
    return str(DilnasError(text))
