"""TrainRecipe: how a network is trained in full; the paper's recipe by default.

The names are the arguments of timm's train script, so that a recipe.yaml can be handed to either.

Source: the DilateFormer authors' ``dist_train.sh`` and ``main.py`` (JIAOJIAYUASD/dilateformer),
which follow DeiT (Touvron et al., ICML 2021).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dilnas.errors import InputError
from dilnas.files import parse_yaml, read_text

__all__ = ["TrainRecipe", "read_recipe"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

ELSEWHERE = frozenset(
    ("dilnas_recipe", "model", "dataset", "data_dir", "num_classes", "in_chans", "seed", "workers",
     "val_split", "train_split", "pretrained", "experiment", "output", "pin_mem")
)  # fmt: skip
"""Keys of a recipe file that say nothing about how a step is done: the command has them."""

SAME = {
    "input_size": "img_size", "train_interpolation": "interpolation", "image_size": "img_size",
    "optimizer": "opt", "learning_rate": "lr", "schedule": "sched", "gradient_clip": "clip_grad",
    "warmup_learning_rate": "warmup_lr", "min_learning_rate": "min_lr", "random_erasing": "reprob",
    "label_smoothing": "smoothing", "mixup_switch_probability": "mixup_switch_prob",
    "rand_augment": "aa", "repeated_augmentation": "aug_repeats", "ema_decay": "model_ema_decay",
    "mixed_precision": "amp",
}  # fmt: skip
"""Other names for a field: the authors', and those of recipe files that dilnas once wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """What decides a full training, beside the network, the data and the seed.

    Attributes:
        epochs: of the cosine, warm-up included.
        batch_size: images of one update, on all workers together.
        lr: peak learning rate at ``batch_size``; at another it is scaled in proportion. The
            authors' 1e-3 · batch / 512 is 2e-3 at 1024.
        lr_base, lr_base_size: with these and without ``lr``, the rate is
            lr_base · batch / lr_base_size.
        lr_base_scale: "linear"; timm's default for adamw would be the square root.
        sched: "cosine".
        sched_on_updates: the rate changes at every update instead of every epoch.
        warmup_epochs, warmup_lr: the rate rises linearly from warmup_lr over these epochs.
        min_lr: where the cosine ends.
        cooldown_epochs: further epochs at min_lr. The authors' default of 10 is never reached by
            their loop, which ends after ``epochs``.
        opt, opt_betas, opt_eps: "adamw".
        weight_decay: of weight matrices and kernels; biases, norms and other vectors have none.
        clip_grad: largest norm of the gradient; None is off.
        drop_path: stochastic depth of the last block.
        smoothing: label smoothing.
        mixup, cutmix: alphas of their Beta distributions; 0 is off.
        mixup_prob, mixup_switch_prob: chance that a batch is mixed; that it is by CutMix.
        aa: RandAugment or AutoAugment as timm spells it; None is off.
        color_jitter: of brightness, contrast and saturation; as in timm only where aa is off.
        scale, ratio: area and aspect of the random crop.
        hflip: chance of mirroring.
        interpolation: of crops and of resizing: "bicubic", "bilinear" or "random".
        reprob, remode, recount: random erasing: chance, mode, rectangles.
        aug_repeats: times that an epoch takes each image that it takes (repeated augmentation);
            0 and 1 are off.
        crop_pct: share of the resized image that validation looks at.
        img_size: side of the images, in pixels.
        mean, std: that images are normalised with, in 0..1.
        model_ema, model_ema_decay: keep an exponential moving average of the weights.
        amp, amp_dtype: autocast on a CUDA device: "float16" or "bfloat16".
    """

    epochs: int = 300
    batch_size: int = 1024
    lr: float | None = 2e-3
    lr_base: float | None = None
    lr_base_size: int = 512
    lr_base_scale: str = "linear"
    sched: str = "cosine"
    sched_on_updates: bool = False
    warmup_epochs: float = 10.0
    warmup_lr: float = 1e-6
    min_lr: float = 1e-5
    cooldown_epochs: int = 0
    opt: str = "adamw"
    opt_betas: tuple[float, float] = (0.9, 0.999)
    opt_eps: float = 1e-8
    weight_decay: float = 0.05
    clip_grad: float | None = None
    drop_path: float = 0.1
    smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    aa: str | None = "rand-m9-mstd0.5-inc1"
    color_jitter: float = 0.4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    interpolation: str = "bicubic"
    reprob: float = 0.25
    remode: str = "pixel"
    recount: int = 1
    aug_repeats: int = 3
    crop_pct: float = 0.875
    img_size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    model_ema: bool = True
    model_ema_decay: float = 0.99996
    amp: bool = True
    amp_dtype: str = "float16"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and "None" not in str(field.type):
                value = field.default  # timm's null: as usual
            object.__setattr__(self, field.name, _typed(field.name, value, field.type))
        for name, low, high in LIMITS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError("out of range", where=name, expected=f"{low}..{high}", got=value)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    "unknown choice", where=name, expected=" | ".join(choices),
                    got=getattr(self, name),
                )  # fmt: skip
        if self.lr is None and self.lr_base is None:
            raise InputError("a learning rate is needed", where="lr")
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                "must be below epochs", where="warmup_epochs",
                expected=f"< {self.epochs}", got=self.warmup_epochs,
            )  # fmt: skip

    @property
    def total_epochs(self) -> int:
        """Epochs trained, the cool-down included."""
        return self.epochs + self.cooldown_epochs

    @property
    def peak_lr(self) -> float:
        """Learning rate after the warm-up, at ``batch_size``."""
        if self.lr is not None:
            return self.lr
        assert self.lr_base is not None
        return self.lr_base * self.batch_size / self.lr_base_size

    def at_batch(self, batch_size: int) -> TrainRecipe:
        """The recipe at another batch size: the rate in proportion, as the authors' code has it."""
        rate = self.peak_lr * batch_size / self.batch_size
        return replace(self, batch_size=batch_size, lr=rate, lr_base=None)

    def shortened(self, epochs: int) -> TrainRecipe:
        """The recipe over another number of epochs: the warm-up in proportion, no cool-down.

        A warm-up of a fraction of an epoch needs a rate that changes with every update.
        """
        if epochs == self.epochs:
            return self
        return replace(
            self, epochs=epochs, warmup_epochs=self.warmup_epochs * epochs / self.epochs,
            cooldown_epochs=0, sched_on_updates=True,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers, strings."""
        out = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in out.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainRecipe:
        """Inverse of ``to_dict``; also takes a part of the fields. Raises InputError."""
        values = {SAME.get(key, key): value for key, value in data.items() if key not in ELSEWHERE}
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(
                    "not a setting of a training that dilnas knows; it would be ignored",
                    where=str(name), expected=", ".join(known),
                )  # fmt: skip
        values |= {"img_size": _side(values["img_size"])} if "img_size" in values else {}
        if isinstance(values.get("aug_repeats"), bool):
            values["aug_repeats"] = 3 if values["aug_repeats"] else 0
        if "lr_base" in values:
            values.setdefault("lr", None)
        return cls(**values)


LIMITS: tuple[tuple[str, float, float], ...] = (
    ("epochs", 1, 100_000), ("batch_size", 1, 1 << 24), ("lr", 1e-12, 100), ("lr_base", 1e-12, 100),
    ("lr_base_size", 1, 1 << 24), ("warmup_epochs", 0, 100_000), ("warmup_lr", 0, 100),
    ("min_lr", 0, 100), ("cooldown_epochs", 0, 100_000), ("opt_eps", 1e-16, 1),
    ("weight_decay", 0, 100), ("clip_grad", 1e-9, 1e9), ("drop_path", 0, 0.99),
    ("smoothing", 0, 0.99), ("mixup", 0, 1000), ("cutmix", 0, 1000), ("mixup_prob", 0, 1),
    ("mixup_switch_prob", 0, 1), ("color_jitter", 0, 1), ("hflip", 0, 1), ("reprob", 0, 1),
    ("recount", 1, 100), ("aug_repeats", 0, 100), ("crop_pct", 0.05, 1), ("img_size", 4, 2048),
    ("model_ema_decay", 0, 0.9999999),
)  # fmt: skip

CHOICES: dict[str, tuple[str, ...]] = {
    "lr_base_scale": ("linear",),
    "sched": ("cosine",),
    "opt": ("adamw",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "remode": ("pixel", "const", "rand"),
    "amp_dtype": ("float16", "bfloat16"),
}


def _side(size: Any) -> Any:
    """224 of timm's input_size [3, 224, 224]; what is no such list is left to be checked."""
    if not isinstance(size, list | tuple) or len(size) != 3:
        return size
    if size[1] != size[2]:
        raise InputError(
            "dilnas trains on square images; --img-size gives a side", where="input_size",
            expected="[channels, side, side]", got=list(size),
        )  # fmt: skip
    return size[1]


def _typed(name: str, value: Any, kind: Any) -> Any:
    """``value`` if it is of the field's annotated type (a whole number where that is asked)."""
    text = str(kind)
    if value is None:
        return None
    if text.startswith("tuple"):
        items = tuple(value) if isinstance(value, list | tuple) else ()
        pair = name in ("opt_betas", "scale", "ratio")
        if not items or (pair and len(items) != 2) or not all(map(_number, items)):
            raise InputError("must be a list of numbers", where=name, got=value)
        return tuple(float(item) for item in items)
    if text == "bool":
        good: bool = isinstance(value, bool)
    elif text.startswith("str"):
        good = isinstance(value, str)
    else:
        good = _number(value) and ("float" in text or value == int(value))
    if not good:
        wanted = {"b": "true or false", "s": "text", "i": "a whole number"}.get(text[0], "a number")
        raise InputError(f"must be {wanted}", where=name, got=value)
    if text.startswith("float"):
        return float(value)
    return int(value) if text == "int" else value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_recipe(path: str | os.PathLike[str]) -> TrainRecipe:
    """The recipe in a YAML file; what it leaves out is the paper's. Raises InputError."""
    data = parse_yaml(read_text(path), where=str(path))
    if not isinstance(data, Mapping):
        raise InputError("must be a mapping", where=str(path), got=type(data).__name__)
    try:
        return TrainRecipe.from_dict(data)
    except InputError as error:
        raise InputError(
            error.rule, where=f"{path}: {error.where}", expected=error.expected, got=error.got
        ) from None
