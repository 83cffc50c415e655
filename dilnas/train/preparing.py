"""A full training's input, checked before anything is written."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from dilnas.arch import Architecture
from dilnas.data.stream import DataStream
from dilnas.errors import InputError
from dilnas.model import build_model, load_pretrained
from dilnas.train.events import Note, OnEvent
from dilnas.train.full_recipe import TrainRecipe, read_recipe
from dilnas.train.job import Job
from dilnas.train.order import Order
from dilnas.train.transforms import transforms

__all__ = [
    "AMP_CHOICES", "check_job", "chosen_amp", "chosen_recipe", "default_folder",
    "fitted_architecture", "whole_number",
]  # fmt: skip

AMP_CHOICES = ("auto", "none", "bf16", "fp16")


def chosen_recipe(
    config: str,
    given: str | os.PathLike[str] | None,
    tell: OnEvent,
    *,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
) -> TrainRecipe:
    """The recipe that is used, options taken in."""
    beside = Path(config) / "recipe.yaml"
    if given is not None:
        recipe, source = read_recipe(given), str(given)
    elif beside.is_file():
        recipe, source = read_recipe(beside), str(beside)
    else:
        recipe, source = TrainRecipe(), "the paper's"
    if epochs is not None:
        recipe = recipe.shortened(whole_number(epochs, "--epochs", 1))
    recipe = recipe.at_batch(
        recipe.batch_size if batch_size is None else whole_number(batch_size, "--batch-size", 1)
    )
    if lr is not None:
        if not 0 < lr <= 100:
            raise InputError("must be above 0", where="--lr", got=lr)
        recipe = replace(recipe, lr=lr)
    tell(Note(f"recipe: {source}; {_rates(recipe)}"))
    return recipe


def _rates(recipe: TrainRecipe) -> str:
    text = f"{recipe.total_epochs} epochs, batch {recipe.batch_size}, learning rate "
    text += f"{recipe.warmup_lr:g} to {recipe.peak_lr:.4g} in {recipe.warmup_epochs:.3g} epochs, "
    text += f"then a cosine to {recipe.min_lr:g}"
    return text + (", by the update" if recipe.sched_on_updates else ", by the epoch")


def fitted_architecture(
    architecture: Architecture, stream: DataStream, num_classes: int | None, tell: OnEvent
) -> Architecture:
    """The architecture with the data's classes and channels; a note where they are others."""
    if num_classes is not None and num_classes != stream.num_classes:
        raise InputError(
            "the data has another number of classes", where="--num-classes",
            expected=stream.num_classes, got=num_classes,
        )  # fmt: skip
    for field in ("num_classes", "in_chans"):
        have, want = getattr(architecture, field), getattr(stream, field)
        if have != want:
            tell(Note(f"{field}: {want}, as the data has, instead of {have}"))
    return architecture.replace(num_classes=stream.num_classes, in_chans=stream.in_chans)


def chosen_amp(amp: str, recipe: TrainRecipe, device: str) -> str:
    """ "none", "bf16" or "fp16" for one of ``AMP_CHOICES``: with "auto" on a CPU none."""
    if amp not in AMP_CHOICES:
        raise InputError("unknown choice", where="--amp", expected=" | ".join(AMP_CHOICES), got=amp)
    if amp != "auto":
        return amp
    if device == "cpu" or not recipe.amp:
        return "none"
    return {"float16": "fp16", "bfloat16": "bf16"}[recipe.amp_dtype]


def check_job(job: Job, stream: DataStream, tell: OnEvent) -> None:
    """What would otherwise stop the training after it has begun."""
    recipe = job.recipe
    parts = job.workers * job.accumulate
    if recipe.batch_size % parts:
        raise InputError(
            "must be a multiple of workers times accumulate", where="--batch-size",
            expected=f"a multiple of {parts}", got=recipe.batch_size,
        )  # fmt: skip
    job.architecture.check_input(job.image_size, job.image_size, where="--img-size")
    Order(len(stream.train.labels), recipe.batch_size, recipe.aug_repeats, job.seed)
    transforms(stream, recipe, job.image_size)
    if stream.in_memory and (recipe.aa or recipe.reprob or recipe.color_jitter):
        tell(Note(
            "small images in memory are shifted and mirrored; RandAugment, random crops, colour "
            "jitter and random erasing are for image files"
        ))  # fmt: skip
    if job.finetune is not None:
        model = build_model(job.architecture)
        if not load_pretrained(model, job.finetune):
            tell(Note(f"{job.finetune}: its head does not fit {stream.num_classes} classes; "
                      "a new one is trained"))  # fmt: skip


def default_folder(name: str, data: str) -> str:
    """trainings/NAME-DATA."""
    base = Path(name).name.replace("#", "-")
    text = data if data in ("embedded", "fashion-mnist") else Path(data).name
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{base}-{text}").strip("-.")
    return str(Path("trainings") / (slug or "training"))


def whole_number(value: int, where: str, low: int) -> int:
    """``value`` if it is a whole number of at least ``low``, else InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 31:
        raise InputError("out of range", where=where, expected=f">= {low}", got=value)
    return value
