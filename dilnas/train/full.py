"""full_training: a network trained by the paper's recipe, on one device or many.

    config -> architecture, recipe -> data -> checks -> folder and lock -> workers -> result

Nothing is written before everything has been checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dilnas.data.resize import check_image_size
from dilnas.data.stream import DataStream, open_stream
from dilnas.errors import RunError
from dilnas.interrupt import interruptible
from dilnas.lock import check_writable, run_lock
from dilnas.ray_session import check_cluster
from dilnas.runs import resolve
from dilnas.train.events import EpochRow, Event, Note, OnEvent
from dilnas.train.job import Job
from dilnas.train.launch import Stop, run_here, run_on_ray
from dilnas.train.places import Places
from dilnas.train.preparing import (
    check_job,
    chosen_amp,
    chosen_recipe,
    default_folder,
    fitted_architecture,
    whole_number,
)
from dilnas.train.training_folder import BEST, TrainingFolder

__all__ = ["TrainingResult", "full_training"]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        directory: its folder.
        name: of the configuration.
        rows: an entry for each epoch.
        best: ``epoch``, ``top1`` and ``top5`` of best.safetensors; None before the first epoch.
        interrupted: whether it was stopped and can go on.
        trained: whether this call trained anything.
        skipped: broken images that others stood in for.
        ema_share: of the average's weights that still are the initial ones; None without one.
    """

    directory: Path
    name: str
    rows: tuple[EpochRow, ...]
    best: dict[str, float] | None
    interrupted: bool
    trained: bool
    skipped: int
    ema_share: float | None


def full_training(
    config: str,
    *,
    data: str = "embedded",
    val: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int = 1,
    lr: float | None = None,
    img_size: int | None = None,
    num_classes: int | None = None,
    workers: int | None = None,
    loaders: int | None = None,
    device: str | None = None,
    amp: str = "auto",
    seed: int = 0,
    finetune: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
    save_every: float = 600.0,
    address: str | None = None,
    on_event: OnEvent | None = None,
) -> TrainingResult:
    """Train an architecture in full, or go on with a training that was stopped or killed.

    Args:
        config: an exported folder, an architecture file, a variant or RUN#N.
        data, val: what ``dilnas.data.stream.open_stream`` takes.
        recipe: YAML file of timm's argument names; None: recipe.yaml in the exported folder, or
            the paper's.
        out: the training's folder; None: trainings/NAME-DATA.
        epochs: instead of the recipe's; its warm-up shrinks in proportion.
        batch_size: images of an update, on all workers together; the rate goes with it.
        accumulate: micro-steps that an update is made of.
        lr: peak learning rate as it is, not scaled.
        img_size: side in pixels.
        num_classes: what the data must have.
        workers: processes that train together; None: one for each GPU, else one.
        loaders: processes that load, for each worker; None: chosen from the cores.
        device: "cpu" or "cuda"; None: cuda where there is one.
        amp: "auto" (the recipe's on a GPU, none on a CPU), "none", "bf16", "fp16".
        seed: of the first weights, the order and everything that is drawn.
        finetune: checkpoint to start from, in dilnas's, timm's or the authors' form.
        skip_corrupt: put the next image in place of one that cannot be read.
        save_every: seconds between two states within an epoch.
        address: of a Ray cluster that shares this file system.
        on_event: told notes, progress and epochs.

    Raises a DilnasError for what is wrong with the input, before anything is written; DataError
    for a broken image and RunError for a loss that is not finite, with the last state in place.
    """
    notes: list[Event] = []  # told once all is in order: an error is one line and nothing else
    name, architecture = resolve(config)
    where = Places.checked(workers=workers, device=device, address=address, loaders=loaders)
    say = notes.append
    chosen = chosen_recipe(config, recipe, say, epochs=epochs, batch_size=batch_size, lr=lr)
    size = check_image_size(chosen.img_size if img_size is None else img_size)
    mixed = chosen_amp(amp, chosen, where.device)
    stream = open_stream(data, val=val, image_size=img_size)
    side = stream.image_size or size
    mean, std = stream.mean_std or (chosen.mean, chosen.std)
    chosen = replace(chosen, img_size=side, mean=mean, std=std)
    folder = os.path.abspath(out or default_folder(name, data))  # noqa: PTH100 - links stay
    job = Job(
        architecture=fitted_architecture(architecture, stream, num_classes, say),
        recipe=chosen, data=data, val=val, image_size=side,
        seed=whole_number(seed, "--seed", 0), amp=mixed,
        finetune=None if finetune is None else str(finetune), directory=Path(folder),
        workers=where.workers, accumulate=whole_number(accumulate, "--accumulate", 1),
        loaders=where.loaders_for(in_memory=stream.in_memory), device=where.device,
        threads=where.threads, skip_corrupt=skip_corrupt, save_every=save_every,
        cwd=str(Path.cwd()),
    )  # fmt: skip
    check_job(job, stream, say)
    if address is not None:
        check_cluster(address)
    return _Training(job, stream, name, on_event or _silent).go(address, notes)


class _Training:
    """A job that has been checked, and its folder."""

    def __init__(self, job: Job, stream: DataStream, name: str, tell: OnEvent) -> None:
        self.job, self.stream, self.name, self.tell = job, stream, name, tell
        self.folder = TrainingFolder(job.directory)

    def go(self, address: str | None, notes: list[Event]) -> TrainingResult:
        """Train what is left of it."""
        job, folder = self.job, self.folder
        identity = job.identity(self.stream)
        head = folder.check(identity)
        check_writable(folder.path)
        for note in notes:
            self.tell(note)
        if head is not None and head.get("finished"):
            self.tell(Note(f"nothing to do: {folder.path} has finished"))
            return self._result(trained=False, interrupted=False)
        with run_lock(folder.path, what="training"):
            folder.tidy()
            if head is None:
                head = self._head(identity)
                folder.begin(head, job.architecture.to_yaml(), job.recipe.to_dict())
                head = folder.head() or head
            self._tell_of_before(head)
            stop = Stop()
            with interruptible(stop.set):
                finished = self._run(stop, address)
            result = self._result(trained=True, interrupted=not finished)
            head |= {"finished": finished, "best": result.best, "skipped": result.skipped}
            folder.write_head({**head, "workplace": job.workplace()})
        return result

    def _run(self, stop: Stop, address: str | None) -> bool:
        if self.job.workers == 1 and address is None:
            return run_here(self.job, self.stream, self.tell, stop)
        return run_on_ray(self.job, self.tell, stop, address)

    def _head(self, identity: dict[str, Any]) -> dict[str, Any]:
        stream, recipe = self.stream, self.job.recipe
        return {
            "name": self.name, "identity": identity, "workplace": self.job.workplace(),
            "data": {
                "train_images": len(stream.train.labels), "val_images": len(stream.val.labels),
                "validated_on": stream.val_text, "classes": list(stream.class_names),
            },
            "input": {
                "mean": list(recipe.mean), "std": list(recipe.std), "in_chans": stream.in_chans,
                "img_size": self.job.image_size, "interpolation": recipe.interpolation,
                "crop_pct": None if stream.in_memory else recipe.crop_pct,
            },
            "finished": False,
        }  # fmt: skip

    def _tell_of_before(self, head: dict[str, Any]) -> None:
        """Of what was trained already, and where."""
        state = self.folder.state()
        if state is None:
            return
        rows = [EpochRow(**row) for row in state["rows"]]
        self.folder.write_log(rows)
        done = f"{len(rows)} epochs, {state['update']} updates done"
        self.tell(Note(f"going on with {self.folder.path}: {done}"))
        for row in rows:
            self.tell(row)
        before, now = head["workplace"], self.job.workplace()
        for name in ("workers", "accumulate", "device"):
            if before.get(name) != now[name]:
                self.tell(
                    Note(
                        f"{name}: {now[name]} instead of {before.get(name)}: batch norm and mixing "
                        "see other parts of a batch than before"
                    )
                )

    def _result(self, *, trained: bool, interrupted: bool) -> TrainingResult:
        state = self.folder.state()
        if state is None:
            return TrainingResult(
                directory=self.folder.path, name=self.name, rows=(), best=None,
                interrupted=interrupted, trained=trained, skipped=0, ema_share=None,
            )  # fmt: skip
        if state["best"] and not (self.folder.path / BEST).is_file():
            raise RunError("the best weights are missing", where=str(self.folder.path / BEST))
        decay = self.job.recipe.model_ema_decay
        return TrainingResult(
            directory=self.folder.path, name=self.name,
            rows=tuple(EpochRow(**row) for row in state["rows"]), best=state["best"],
            interrupted=interrupted, trained=trained, skipped=int(state["skipped"]),
            ema_share=decay ** int(state["update"]) if self.job.recipe.model_ema else None,
        )  # fmt: skip


def _silent(_: Any) -> None:
    """Where nobody listens."""
