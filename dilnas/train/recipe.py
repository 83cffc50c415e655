"""Recipe: how a network is trained, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dilnas.errors import InputError

__all__ = ["AMP_CHOICES", "Recipe"]

AMP_CHOICES = ("none", "auto", "bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a training step does. JSON-able with ``asdict``.

    The learning rate is constant after a linear warm-up, and scores are those of an average of
    the weights, because a truncated cosine is not a short cosine: under a schedule that ends, a
    score at a rung is either taken in mid-schedule, where it says little, or needs a run of its
    own. The constant rate makes every rung a prefix of the next one, so going on costs nothing,
    and the average does what the end of a schedule does, removes the noise of the last steps.
    For a full training, which has one known end, ``total_images`` adds a linear decay to 0 over
    the last ``decay_share`` of it (warm-up, stable, decay).

    Attributes:
        batch_size: images a step.
        lr: learning rate of AdamW after the warm-up.
        weight_decay: of weight matrices and kernels; biases, norms and other vectors have none.
        betas: of AdamW.
        warmup_images: images over which the rate rises linearly from 0.
        total_images: images at which the rate reaches 0; 0 for a constant rate.
        decay_share: share of ``total_images`` over which it falls.
        label_smoothing: probability spread evenly over all classes.
        mixup: alpha of mixup's Beta distribution; 0 is off.
        cutmix: alpha of CutMix's Beta distribution; 0 is off. With both, each takes half the steps.
        clip_norm: largest norm of the gradient; 0 is off.
        ema_gamma: the average's window is about the last 1/(gamma + 1) of the steps taken so far
            (``WeightAverage``): it fits short and long runs alike.
        shift: largest random shift of an image, in pixels, along each side.
        flip: whether images are mirrored at random.
        drop_path_rate: of stochastic depth.
        amp: "none", "bf16", "fp16", or "auto": bf16 on a CUDA device, none on a CPU.
    """

    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_images: int = 1280
    total_images: int = 0
    decay_share: float = 0.2
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_norm: float = 1.0
    ema_gamma: float = 8.0
    shift: int = 0
    flip: bool = False
    drop_path_rate: float = 0.0
    amp: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.amp not in AMP_CHOICES:
            raise InputError(
                "unknown choice", where="amp", expected="|".join(AMP_CHOICES), got=self.amp
            )
        for name in ("batch_size", "lr"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError("must be above 0", where=name, got=getattr(self, name))
        for name in ("weight_decay", "warmup_images", "total_images", "mixup", "cutmix",
                     "clip_norm", "ema_gamma", "shift"):  # fmt: skip
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError("must be at least 0", where=name, got=getattr(self, name))
        for name in ("label_smoothing", "drop_path_rate", "decay_share"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError("must be in [0, 1)", where=name, got=getattr(self, name))

    def lr_at(self, images_seen: int) -> float:
        """Learning rate of the step that begins after ``images_seen`` images."""
        rate = self.lr
        if self.warmup_images:
            rate *= min(1.0, (images_seen + self.batch_size) / self.warmup_images)
        if self.total_images and self.decay_share:
            left = (self.total_images - images_seen) / (self.decay_share * self.total_images)
            rate *= min(1.0, max(0.0, left))
        return rate
