"""The loop of a full training, as each of its workers runs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dilnas.errors import DataError, DeviceError, RunError
from dilnas.train.events import EpochRow, Note, OnEvent, Progress
from dilnas.train.group import Group
from dilnas.train.job import Job
from dilnas.train.loader import Batch, train_batches
from dilnas.train.order import Order
from dilnas.train.tally import Tally
from dilnas.train.training_folder import TrainingFolder
from dilnas.train.transforms import transforms
from dilnas.train.updating import Updater
from dilnas.train.validation import validate

if TYPE_CHECKING:
    from dilnas.data.stream import DataStream

__all__ = ["FullLoop"]

LOOK_EVERY = {"cpu": 1, "cuda": 25}
"""Updates between two looks at the loss: on a GPU, looking makes the CPU wait."""

TELL_EVERY_S = 1.0

MOST_NAMED = 20
"""Broken images that a worker names."""


class FullLoop:
    """One worker's part of a training: weights, their average, the optimiser, the place.

    Equal arguments give equal weights, bit for bit on a CPU with equal thread counts and one or
    two workers (with more, the order of a sum over workers may differ), whether it is interrupted
    or not. Dropped paths, mixing and augmentation are drawn from seeds of the update's number.
    """

    def __init__(
        self, job: Job, stream: DataStream, group: Group, tell: OnEvent,
        stop_wanted: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.job, self.stream, self.group, self.recipe = job, stream, group, job.recipe
        self.tell = tell if group.first else _silent
        self.tell_all, self.stop_wanted = tell, stop_wanted
        self.folder = TrainingFolder(job.directory)
        self.device = group.device
        self.order = Order(
            len(stream.train.labels), job.recipe.batch_size, job.recipe.aug_repeats, job.seed
        )
        self.transforms = transforms(stream, job.recipe, job.image_size)
        self.updater = Updater(job, group, stream.num_classes, self.order.updates_per_epoch)
        self.update, self.skipped, self.named = 0, 0, 0
        self.rows: list[EpochRow] = []
        self.best: dict[str, float] | None = None
        self.tally = Tally()
        self._load()
        self.updater.join()

    # --- the state --------------------------------------------------------------------------

    def _load(self) -> None:
        state = self.folder.state()
        if state is None:
            return
        self.updater.weights.load_state_dict(state)
        self.update, self.skipped = int(state["update"]), int(state["skipped"])
        self.rows = [EpochRow(**row) for row in state["rows"]]
        self.best = state["best"]
        self.tally = Tally(**state["tally"])

    def _save(self) -> None:
        """The first worker writes; the others go on and wait for it at the next sum."""
        if not self.group.first:
            return
        state = {
            **self.updater.weights.state_dict(), "update": self.update, "skipped": self.skipped,
            "best": self.best, "rows": [asdict(row) for row in self.rows],
            "tally": self.tally.to_dict(),
        }  # fmt: skip
        self.folder.save(state, self.updater.model, self.updater.averaged)

    # --- the loop ---------------------------------------------------------------------------

    @property
    def updates(self) -> int:
        """Of the whole training."""
        return self.recipe.total_epochs * self.order.updates_per_epoch

    def run(self) -> bool:
        """Train to the end; False if it was asked to stop before, with the state saved.

        Raises DataError for a broken image, RunError for a loss that is not finite, DeviceError
        for a lack of memory.
        """
        batches = train_batches(
            self.stream.train, self.transforms[0],
            self.order.shares(
                self.update, self.updates, self.group.rank, self.group.world, self.job.accumulate
            ),
            loaders=self.job.loaders, skip=self.job.skip_corrupt, pin=self.device.type == "cuda",
        )  # fmt: skip
        try:
            while self.update < self.updates:
                if not self._epoch(batches):
                    return False
        except DataError as error:
            raise DataError(
                f"{error.rule}; the last state is kept: put it right, or go on with --skip-corrupt",
                where=error.where, expected=error.expected, got=error.got,
            ) from error  # fmt: skip
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "out of GPU memory", where="--batch-size", got=f"{self.job.micro_batch} a step",
                expected="a smaller batch, or more --accumulate",
            ) from error  # fmt: skip
        return True

    def _epoch(self, batches: Iterator[Batch]) -> bool:
        """From where it stands to the end of the epoch, validation included."""
        per_epoch = self.order.updates_per_epoch
        end = (self.update // per_epoch + 1) * per_epoch
        self.tally.start()
        self.updater.model.train()
        losses: list[Tensor] = []
        skipped, saved, told = 0, time.monotonic(), 0.0
        while self.update < end:
            loss, texts = self.updater.step(self.update, batches)
            self.update += 1
            losses.append(loss)
            skipped += len(texts)
            self._name_broken(texts)
            if len(losses) < LOOK_EVERY[self.device.type] and self.update < end:
                continue
            due = self.group.first and time.monotonic() - saved > self.job.save_every
            stop = self.group.first and self.stop_wanted()
            total, lost, saving, stopping = self.group.sum(
                [float(torch.stack(losses).sum()), float(skipped), float(due), float(stop)]
            )
            self.tally.add(total / self.group.world, len(losses), self.recipe.batch_size)
            self.skipped += int(lost)
            losses, skipped = [], 0
            self._check_finite(total)
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                self.tell(self._progress("train"))
            if (saving or stopping) and self.update < end:
                self._save()
                saved = time.monotonic()
            if stopping and self.update < end:
                return False
        self._end_epoch()
        return not (self.group.sum([float(self.group.first and self.stop_wanted())])[0]
                    and self.update < self.updates)  # fmt: skip

    def _name_broken(self, texts: list[str]) -> None:
        """The first few, of every worker; the end says how many there were."""
        for text in texts[: MOST_NAMED - self.named]:
            self.named += 1
            self.tell_all(Note(f"skipped: {text}"))

    def _end_epoch(self) -> None:
        """Validate, add the row, keep the best and the state."""
        self.tally.stop()
        self.tell(self._progress("validate"))
        updater = self.updater
        model = self._validated(updater.model)
        mean = None if updater.averaged is None else self._validated(updater.averaged)
        self.tally.pause()
        row = EpochRow(
            epoch=self.update // self.order.updates_per_epoch, updates=self.update,
            lr=updater.weights.rate, train_loss=self.tally.mean_loss,
            val_top1=model["top1"], val_top5=model["top5"],
            val_loss=model["loss"], ema_top1=mean["top1"] if mean else None,
            ema_top5=mean["top5"] if mean else None, images_per_s=self.tally.images_per_s,
            seconds=self.tally.seconds,
        )  # fmt: skip
        self.rows.append(row)
        if self.best is None or row.val_top1 > self.best["top1"]:
            self.best = {"epoch": row.epoch, "top1": row.val_top1, "top5": row.val_top5}
            if self.group.first:
                self.folder.save_best(updater.model)
        self.tally = Tally(seconds=self.tally.seconds)
        self._save()
        self.tell(row)

    def _validated(self, model: nn.Module) -> dict[str, float]:
        self.group.share_buffers(model)
        with self.updater.weights.autocast():
            return validate(
                model, self.stream.val, self.transforms[1], self.group,
                size=self.job.micro_batch, loaders=self.job.loaders, skip=self.job.skip_corrupt,
            )  # fmt: skip

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        per_epoch = self.order.updates_per_epoch
        raise RunError(
            f"the loss is no longer finite, in epoch {(self.update - 1) // per_epoch + 1}; "
            "a lower --lr or another --amp may help",
            where=str(self.job.directory),
        )

    def _progress(self, doing: str) -> Progress:
        per_epoch = self.order.updates_per_epoch
        epoch, inside = divmod(self.update - 1, per_epoch)
        speed = self.tally.images_per_s
        left = (self.updates - self.update) * self.recipe.batch_size
        return Progress(
            epoch=epoch + 1, epochs=self.recipe.total_epochs, update=inside + 1, updates=per_epoch,
            images_per_s=speed, loss=self.tally.mean_loss,
            lr=self.updater.weights.rate,
            seconds_left=left / speed if speed else math.inf, doing=doing,
        )  # fmt: skip


def _silent(_: Any) -> None:
    """What all but the first worker tell."""
