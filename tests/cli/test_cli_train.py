"""``dilnas train`` as a new user meets it: exported, trained for two epochs, profiled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cli_process import dilnas
from PIL import Image

from dilnas.arch import Architecture, Stage

NETWORK = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, global_depth=1),
    )
)


def photographs(folder: Path) -> None:
    """train/ and val/ of two classes, PNGs of 36 x 50."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 99, (36, 50, 3), dtype=np.uint8)
                pixels[..., label] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


def test_what_was_exported_is_trained_and_what_was_trained_is_profiled(tmp_path: Path) -> None:
    """One command after another, each named by the one before; the second time nothing is done."""
    (tmp_path / "mine.yaml").write_text(NETWORK.to_yaml())
    photographs(tmp_path / "photos")
    exported = dilnas("export", "mine.yaml", "--no-latency", "--out", "mine", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    words = ["train", "mine", "--data", "photos", "--epochs", "2", "--batch-size", "8",
             "--img-size", "64", "--device", "cpu"]  # fmt: skip
    done = dilnas(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "trainings" / "mine-photos"
    assert "recipe: mine/recipe.yaml; 2 epochs, batch 8, learning rate 1e-06 to 1.56" in done.stderr
    assert "num_classes: 2, as the data has, instead of 1000" in done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()[-2:]] == ["1/2", "2/2"]
    assert "next: dilnas profile trainings/mine-photos/architecture.yaml" in done.stdout
    assert "of it still are the first weights" in done.stdout
    profiled = dilnas(
        "profile", "trainings/mine-photos", "--no-latency", "--img-size", "64", cwd=tmp_path
    )
    assert profiled.returncode == 0, profiled.stderr
    again = dilnas(*words, "--json", cwd=tmp_path)
    assert "nothing to do" in again.stderr
    document = json.loads(again.stdout)
    assert (document["trained"], len(document["epochs"])) == (False, 2)
    assert json.loads((folder / "train.json").read_text())["best"] == document["best"]
