"""The training recipe that goes with an exported architecture.

Source: the authors' script and defaults (``dist_train.sh``, ``main.py`` of
JIAOJIAYUASD/dilateformer, commit 99f85bb); the paper itself, as quoted by a reading note, gives
AdamW, 300 epochs and "the strategy of DeiT and PVT".
"""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.export.source import PAPER_SIDE, training_side
from dilnas.variants import VARIANTS

__all__ = ["OFFICIAL_RECIPE", "recipe_yaml"]

RECIPE_FORMAT = 1
"""Version of recipe.yaml. 1: first."""

OFFICIAL_RECIPE: dict[str, tuple[object, str]] = {
    "dataset": ("imagenet-1k", "paper"),
    "image_size": (PAPER_SIDE, "main.py; other sizes need no change of the network"),
    "interpolation": ("bicubic", "main.py: --train-interpolation bicubic"),
    "optimizer": ("adamw", "paper and main.py"),
    "epochs": (300, "paper and dist_train.sh"),
    "batch_size": (1024, "dist_train.sh: 8 GPUs x 128"),
    "learning_rate": (2e-3, "dist_train.sh: 1e-3, which main.py scales by batch_size / 512"),
    "schedule": ("cosine", "main.py"),
    "warmup_epochs": (10, "main.py"),
    "warmup_learning_rate": (1e-6, "main.py: where the warm-up starts"),
    "min_learning_rate": (1e-5, "main.py: where the cosine ends"),
    "weight_decay": (0.05, "main.py"),
    "gradient_clip": (None, "main.py: none"),
    "drop_path": (0.1, "dist_train.sh and main.py; rises linearly over the blocks from 0"),
    "label_smoothing": (0.1, "main.py"),
    "mixup": (0.8, "main.py"),
    "cutmix": (1.0, "main.py"),
    "mixup_switch_probability": (0.5, "main.py: cutmix instead of mixup"),
    "random_erasing": (0.25, "main.py: pixel mode"),
    "rand_augment": ("rand-m9-mstd0.5-inc1", "main.py"),
    "color_jitter": (0.4, "main.py"),
    "repeated_augmentation": (True, "main.py: each image three times in an epoch's draw (DeiT)"),
    "ema_decay": (0.99996, "main.py; the authors evaluate and select the weights without EMA"),
    "mixed_precision": (True, "main.py: CUDA autocast always on"),
}
"""Setting: (value, where it was seen). Nothing in it is dilnas's own choice."""

HEADER = """\
# Recipe for training the network of architecture.yaml from scratch on ImageNet-1K.
# It is the DilateFormer authors' own (their dist_train.sh and main.py; "paper" where a note that
# quotes the paper says the same). Nothing in it was tuned for this architecture.
# Learning rate for another batch size: 1e-3 * batch_size / 512.
"""

DROP_PATH_NOTE = """\
# drop_path: 0.1 is what the script passes; whether the authors raised it for larger networks was
# never published. This network has {mparams:.1f} M parameters (Tiny {tiny:.1f}, Base {base:.1f}).
"""


def recipe_yaml(architecture: Architecture) -> str:
    """Text of recipe.yaml for ``architecture``; each line says where its value comes from."""
    from dilnas.cost import cost

    side = training_side(architecture)
    params = cost(architecture, side).params
    tiny, base = (cost(VARIANTS[name]).params / 1e6 for name in ("tiny", "base"))
    lines = [f"dilnas_recipe: {RECIPE_FORMAT}"]
    recipe = dict(OFFICIAL_RECIPE)
    if side != PAPER_SIDE:
        recipe["image_size"] = (side, f"main.py: {PAPER_SIDE}; raised to what the strides allow")
    for name, (value, source) in recipe.items():
        lines.append(f"{f'{name}: {_scalar(value)}':<44}# {source}")
    note = DROP_PATH_NOTE.format(mparams=params / 1e6, tiny=tiny, base=base)
    return HEADER + note + "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """YAML 1.1 reads ``1e-06`` as text: a mantissa with a point makes it a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and "e" in repr(value):
        return f"{value:.1e}"
    return str(value)
