"""The tutorial is true: its code runs, in order, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
STEPS = re.findall(r"^```(python|sh)\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.M | re.S)

FILES = (
    "runs/clothes/report.html", "network/README.md", "network/recipe.yaml",
    "trainings/clothes/log.csv", "deployed/model.onnx", "deployed/model.py",
    "deployed/model.safetensors",
)  # fmt: skip


def run(language: str, text: str, folder: Path) -> None:
    """One block, as somebody would who copies it."""
    words = [sys.executable, "-c", text] if language == "python" else ["bash", "-ec", text]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        words, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    """From images to ONNX, with the files at the end that the text speaks of."""
    assert len(STEPS) >= 9
    for language, text in STEPS:
        run(language, text, tmp_path)
    for name in FILES:
        assert (tmp_path / name).stat().st_size, name
