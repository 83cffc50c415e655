"""The loop of a full training, as each of its workers runs it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dilnas.errors import DataError, DeviceError, RunError
from dilnas.model import build_model, load_pretrained
from dilnas.train.average import DecayAverage
from dilnas.train.batches import derived_seed
from dilnas.train.events import EpochRow, Note, OnEvent, Progress
from dilnas.train.group import Group
from dilnas.train.job import Job
from dilnas.train.loader import Batch, train_batches
from dilnas.train.mixing import mixed_batch
from dilnas.train.order import Order
from dilnas.train.schedule import learning_rate
from dilnas.train.tally import Tally
from dilnas.train.trainer import parameter_groups
from dilnas.train.training_folder import TrainingFolder
from dilnas.train.transforms import transforms
from dilnas.train.validation import validate

if TYPE_CHECKING:
    from dilnas.data.stream import DataStream

__all__ = ["FullLoop", "network"]

LOOK_EVERY = {"cpu": 1, "cuda": 25}
"""Updates between two looks at the loss: on a GPU, looking makes the CPU wait."""

TELL_EVERY_S = 1.0


def network(job: Job) -> nn.Module:
    """The network with its first weights: drawn by the seed, or those of ``job.finetune``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(job.seed, "init"))
        model = build_model(job.architecture, drop_path_rate=job.recipe.drop_path)
    if job.finetune is not None:
        load_pretrained(model, job.finetune)
    return model


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
        self.model = network(job).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = (
            DecayAverage(self.model, job.recipe.model_ema_decay) if job.recipe.model_ema else None
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, job.recipe.weight_decay), lr=job.recipe.peak_lr,
            betas=job.recipe.opt_betas, eps=job.recipe.opt_eps, fused=True,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=job.amp_dtype is torch.float16)
        self.update, self.skipped = 0, 0
        self.rows: list[EpochRow] = []
        self.best: dict[str, float] | None = None
        self.tally = Tally()
        self._load()
        self.wrapped = group.wrapped(self.model)

    # --- the state --------------------------------------------------------------------------

    def _load(self) -> None:
        state = self.folder.state()
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.update, self.skipped = int(state["update"]), int(state["skipped"])
        self.rows = [EpochRow(**row) for row in state["rows"]]
        self.best = state["best"]
        self.tally = Tally(**state["tally"])

    def _save(self) -> None:
        """The first worker writes; the others go on and wait for it at the next sum."""
        if not self.group.first:
            return
        average = None if self.average is None else self.average.state_dict()
        state = {
            "model": self.model.state_dict(), "average": average,
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
            "update": self.update, "skipped": self.skipped, "best": self.best,
            "rows": [asdict(row) for row in self.rows], "tally": self.tally.to_dict(),
        }  # fmt: skip
        averaged = None if self.average is None else self.average.model
        self.folder.save(state, self.model, averaged)

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
        self.model.train()
        losses: list[Tensor] = []
        skipped, saved, told = 0, time.monotonic(), 0.0
        while self.update < end:
            loss, texts = self._step(batches)
            losses.append(loss)
            skipped += len(texts)
            for text in texts:
                self.tell_all(Note(f"skipped: {text}"))
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

    def _step(self, batches: Iterator[Batch]) -> tuple[Tensor, list[str]]:
        """One update: (mean loss of this worker, texts of broken images)."""
        job, recipe = self.job, self.recipe
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self.device)
        skipped: list[str] = []
        self.optimizer.zero_grad(set_to_none=True)
        for micro in range(job.accumulate):
            batch = next(batches)
            skipped += batch.skipped
            number = self.update * job.accumulate + micro
            seed = derived_seed(job.seed, f"step {self.group.rank}", number)
            images = batch.images.to(
                self.device, non_blocking=True, memory_format=torch.channels_last
            )
            labels = batch.labels.to(self.device, non_blocking=True)
            images, targets = mixed_batch(images, labels, recipe, self.stream.num_classes, seed)
            torch.manual_seed(seed)  # for stochastic depth
            with self._synchronised(micro == job.accumulate - 1):
                with self._autocast():
                    logits = self.wrapped(images)
                loss = functional.cross_entropy(
                    logits.float(), targets, label_smoothing=recipe.smoothing
                )
                self.scaler.scale(loss / job.accumulate).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() / job.accumulate
        if recipe.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.update += 1
        if self.average is not None:
            self.average.update(self.update)
        return total, skipped

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the workers once an update, at its last micro-step."""
        if last or self.group.world == 1:
            return contextlib.nullcontext()
        return self.wrapped.no_sync()  # type: ignore[operator, no-any-return]

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.job.amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.job.amp_dtype)

    def _rate(self) -> float:
        return learning_rate(self.recipe, self.update, self.order.updates_per_epoch)

    def _end_epoch(self) -> None:
        """Validate, add the row, keep the best and the state."""
        self.tally.stop()
        rate = self.optimizer.param_groups[0]["lr"]
        self.tell(self._progress("validate"))
        model = self._validated(self.model)
        mean = None if self.average is None else self._validated(self.average.model)
        self.tally.pause()
        row = EpochRow(
            epoch=self.update // self.order.updates_per_epoch, updates=self.update, lr=rate,
            train_loss=self.tally.mean_loss, val_top1=model["top1"], val_top5=model["top5"],
            val_loss=model["loss"], ema_top1=mean["top1"] if mean else None,
            ema_top5=mean["top5"] if mean else None, images_per_s=self.tally.images_per_s,
            seconds=self.tally.seconds,
        )  # fmt: skip
        self.rows.append(row)
        if self.best is None or row.val_top1 > self.best["top1"]:
            self.best = {"epoch": row.epoch, "top1": row.val_top1, "top5": row.val_top5}
            if self.group.first:
                self.folder.save_best(self.model)
        self.tally = Tally(seconds=self.tally.seconds)
        self._save()
        self.tell(row)

    def _validated(self, model: nn.Module) -> dict[str, float]:
        self.group.share_buffers(model)
        with self._autocast():
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
            lr=self.optimizer.param_groups[0]["lr"],
            seconds_left=left / speed if speed else math.inf, doing=doing,
        )  # fmt: skip


def _silent(_: Any) -> None:
    """What all but the first worker tell."""
