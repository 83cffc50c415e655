"""The training recipe that goes with an exported architecture, in the words of timm's train script.

Source: the authors' script and defaults (``dist_train.sh``, ``main.py`` of
JIAOJIAYUASD/dilateformer, commit 99f85bb); the paper itself, as quoted by a reading note, gives
AdamW, 300 epochs and "the strategy of DeiT and PVT".
"""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.export.source import PAPER_SIDE, training_side
from dilnas.variants import VARIANTS

__all__ = ["OFFICIAL_RECIPE", "recipe_yaml"]

OFFICIAL_RECIPE: dict[str, tuple[object, str]] = {
    "img_size": (PAPER_SIDE, "main.py; other sizes need no change of the network"),
    "epochs": (300, "paper and dist_train.sh"),
    "batch_size": (
        1024,
        "dist_train.sh: 8 GPUs x 128; timm's is of one process: 128 on 8",
    ),
    "opt": ("adamw", "paper and main.py"),
    "lr_base": (1e-3, "dist_train.sh; 2e-3 at a batch of 1024 by the next two lines"),
    "lr_base_size": (512, "main.py: lr = lr_base * batch / 512, the batch of all processes"),
    "lr_base_scale": ("linear", "main.py; timm would take the square root for adamw"),
    "weight_decay": (0.05, "main.py"),
    "clip_grad": (None, "main.py: none"),
    "sched": ("cosine", "main.py"),
    "warmup_epochs": (10, "main.py"),
    "warmup_lr": (1e-6, "main.py: where the warm-up starts"),
    "min_lr": (1e-5, "main.py: where the cosine ends"),
    "cooldown_epochs": (0, "main.py passes 10, which its loop over the epochs never reaches"),
    "drop_path": (0.1, "dist_train.sh and main.py; rises linearly over the blocks from 0"),
    "smoothing": (0.1, "main.py"),
    "mixup": (0.8, "main.py"),
    "cutmix": (1.0, "main.py"),
    "mixup_prob": (1.0, "main.py"),
    "mixup_switch_prob": (0.5, "main.py: cutmix instead of mixup"),
    "aa": ("rand-m9-mstd0.5-inc1", "main.py"),
    "color_jitter": (0.4, "main.py; timm leaves it out where aa is set"),
    "reprob": (0.25, "main.py"),
    "remode": ("pixel", "main.py"),
    "recount": (1, "main.py"),
    "aug_repeats": (3, "main.py: each image thrice in an epoch's draw; timm on one process: 0"),
    "train_interpolation": ("bicubic", "main.py"),
    "model_ema": (True, "main.py; the authors evaluate and select the weights without EMA"),
    "model_ema_decay": (0.99996, "main.py"),
    "amp": (True, "main.py: CUDA autocast always on"),
}
"""Argument of timm's train script: (value, where it was seen). Nothing in it is dilnas's choice."""

HEADER = """\
# Recipe for training the network of architecture.yaml from scratch on ImageNet-1K.
# It is the DilateFormer authors' own (their dist_train.sh and main.py; "paper" where a note that
# quotes the paper says the same). Nothing in it was tuned for this architecture.
# The names are the arguments of timm's train script, which reads this file by --config; so does
# dilnas train.
"""

DROP_PATH_NOTE = """\
# drop_path: 0.1 is what the script passes; whether the authors raised it for larger networks was
# never published. This network has {mparams:.1f} M parameters (Tiny {tiny:.1f}, Base {base:.1f}).
"""


def recipe_yaml(architecture: Architecture, size: tuple[int, int] | None = None) -> str:
    """Text of recipe.yaml for ``architecture``; each line says where its value comes from.

    Args:
        architecture: the network.
        size: (height, width) to train at; None: the paper's 224, or what the strides allow.
    """
    from dilnas.cost import cost

    side = training_side(architecture)
    params = cost(architecture, architecture.stride).params
    tiny, base = (cost(VARIANTS[name]).params / 1e6 for name in ("tiny", "base"))
    recipe = _sized(architecture, size or (side, side), asked=size is not None)
    lines = [f"{f'{name}: {_scalar(value)}':<34}# {source}" for name, (value, source) in recipe]
    note = DROP_PATH_NOTE.format(mparams=params / 1e6, tiny=tiny, base=base)
    return HEADER + note + "\n".join(lines) + "\n"


def _sized(
    a: Architecture, size: tuple[int, int], *, asked: bool
) -> list[tuple[str, tuple[object, str]]]:
    """The recipe with the image's size and channels in timm's two ways of saying them."""
    recipe = dict(OFFICIAL_RECIPE)
    height, width = size
    why = f"main.py: {PAPER_SIDE}; raised to what the strides allow"
    if asked:
        why = f"asked for; main.py: {PAPER_SIDE}"
    if height != width:
        del recipe["img_size"]
        return [("input_size", ([a.in_chans, height, width], why)), *recipe.items()]
    if height != PAPER_SIDE:
        recipe["img_size"] = (height, why)
    own = [] if a.in_chans == 3 else [("in_chans", (a.in_chans, "architecture.yaml"))]
    return [*own, *recipe.items()]


def _scalar(value: object) -> str:
    """YAML 1.1 reads ``1e-06`` as text: a mantissa with a point makes it a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and "e" in repr(value):
        return f"{value:.1e}"
    return str(value)
