"""``dilnas compare`` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest
from cli_process import dilnas, refused

from dilnas.arch import Architecture, Stage
from dilnas.records.schemas import schema

MODELS = """
from torch import nn
def small(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
def large(): return nn.Sequential(nn.Conv2d(3, 512, 7), nn.Conv2d(512, 64, 3), nn.Flatten())
def none(): return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a module of two factories and an architecture file."""
    (tmp_path / "models.py").write_text(MODELS)
    stages = (Stage(dim=24, num_heads=3, msda_depth=1, global_depth=0),)
    (tmp_path / "own.yaml").write_text(Architecture(stages=stages, num_classes=5).to_yaml())
    return tmp_path


def test_a_comparison_is_a_table_and_one_document(folder: Path) -> None:
    """The table on stderr, JSON alone on stdout, the same in the file; the slower one is told."""
    done = dilnas(
        "compare", "models:small", "models:large", "own.yaml", "--device", "cpu", "--img-size",
        "32x64", "--rounds", "12", "--json", "--out", "found.json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, schema("comparison"))
    assert json.loads((folder / "found.json").read_text()) == found
    assert [c["name"] for c in found["contenders"]] == ["models:small", "models:large", "own"]
    assert {len(c["samples_s"]) for c in found["contenders"]} == {12}
    assert found["verdicts"][0]["verdict"] == "SLOWER"
    assert "verdict" in done.stderr and "written: found.json" in done.stderr


def test_the_table_alone_is_on_stdout(folder: Path) -> None:
    """Without --json; the baseline asked for comes first."""
    done = dilnas(
        "compare", "models:small", "models:large", "--baseline", "models:large", "--device", "cpu",
        "--img-size", "32", "--rounds", "12", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("models:")][1:]
    assert lines[0].startswith("models:large") and lines[0].endswith("baseline")
    assert lines[1].startswith("models:small") and lines[1].endswith("FASTER")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "MODEL: a comparison needs at least two models"),
        (("tiny",), "MODEL: a comparison needs at least two models"),
        (("tiny", "huge"), "'huge': unknown model"),
        (("tiny", "models:none"), "models:none: must give a torch.nn.Module"),
        (("tiny", "models:nothing"), "models:nothing: there is no such factory"),
        (("tiny", "base", "--img-size", "225"), "225"),
        (("tiny", "base", "--batch-size", "0"), "--batch-size: out of range"),
        (("tiny", "base", "--time-limit", "0"), "--time-limit"),
        (("tiny", "base", "--baseline", "small"), "--baseline: must be one of"),
    ],
)
def test_bad_input_is_one_line(folder: Path, words: tuple[str, ...], line: str) -> None:
    """Exit code 2, and which word is at fault."""
    assert line in refused("compare", *words, "--device", "cpu", cwd=folder)


def test_the_installed_command_finds_modules_of_the_current_folder(folder: Path) -> None:
    """As ``python -m dilnas`` does: its own folder is on Python's path, the user's is not."""
    import subprocess

    script = Path(sys.executable).with_name("dilnas")
    if not script.exists():
        pytest.skip("the dilnas command is not installed beside this Python")
    done = subprocess.run(
        [str(script), "compare", "models:none", "tiny"], cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "models:none: must give a torch.nn.Module" in done.stderr
