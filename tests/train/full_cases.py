"""What the tests of full training share: a small network, photographs of no square, a recipe."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dilnas.arch import Architecture, Stage
from dilnas.train import full_training

TOY = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, global_depth=1),
    ),
    num_classes=1000,
)
"""Stride 8."""

NO_BATCH_NORM = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1),), stem="nonoverlapping"
)


def photographs(folder, *, train=12, val=7, classes=3):
    """``folder`` with train/ and val/ of JPEGs, 40..59 high and 60..89 wide, a colour a class."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes if count else 0):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                height, width = int(random.integers(40, 60)), int(random.integers(60, 90))
                pixels = random.integers(0, 80, (height, width, 3), dtype=np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(place / f"{i:03}.jpg")
    return folder


def toy(folder, architecture=TOY):
    """Path of an architecture file."""
    path = folder / "toy.yaml"
    path.write_text(architecture.to_yaml())
    return str(path)


def recipe(folder, **changes):
    """Path of a recipe file: three short epochs, no repeats, a fast average."""
    settings = {"epochs": 3, "warmup_epochs": 1, "batch_size": 12, "lr": 2e-3, "aug_repeats": 1,
                "model_ema_decay": 0.9, "img_size": 32, **changes}  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text("".join(f"{name}: {_text(value)}\n" for name, value in settings.items()))
    return str(path)


def _text(value):
    if isinstance(value, float):
        return f"{value:.10f}"
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else value


def trained(folder, data, out, **options):
    """A full training in this process, its events as a list."""
    told = []
    settings = {"recipe": recipe(folder), "loaders": 0, "device": "cpu", **options}
    result = full_training(
        toy(folder), data=str(data), out=folder / out, on_event=told.append, **settings
    )
    return result, told


def weights(folder, name="last.safetensors"):
    """All numbers of a checkpoint."""
    from safetensors.torch import load_file

    state = load_file(Path(folder) / name)
    return torch.cat([state[key].double().flatten() for key in sorted(state)])


def command(*words, **options):
    """A started ``dilnas train`` of the code under test."""
    return subprocess.Popen(
        [sys.executable, "-m", "dilnas", "train", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        **options,
    )  # fmt: skip
