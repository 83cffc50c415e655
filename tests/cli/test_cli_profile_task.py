"""`dilnas profile --task`: what it prints where, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from dilnas.arch import Architecture, Stage
from dilnas.cli.profile import profile
from dilnas.cost import task_cost
from dilnas.errors import DilnasError, RunError
from dilnas.records import load_profiles
from dilnas.variants import variant

app = typer.Typer()
app.command()(profile)

TWO = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=3, global_depth=1)),
)


def run(*words: str) -> Result:
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result


def rows_of(text: str) -> dict[str, list[str]]:
    """Lines of the table by the first word of their part."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_backbone_neck_and_heads_stand_apart() -> None:
    """The paper's Small under Mask R-CNN at 800 x 1280: exact figures, rounded as shown."""
    out = run("small", "--task", "detection", "--img-size", "800x1280", "--no-latency").stdout
    assert "800 x 1280" in out
    found, rows = task_cost("detection", variant("small"), 800, 1280), rows_of(out)
    for part, word in zip(found.parts, ("backbone", "FPN", "RPN", "box", "mask"), strict=True):
        assert f"{part.flops / 1e9:.3f}" in rows[word]
        assert f"{part.params / 1e6:.3f}" in rows[word]
    assert rows["total"][1:4] == ["43.721", "M", "338.132"]
    assert "1,000 proposals" in out
    assert "77.2 GFLOPs" in out and "prints 260.9" in out.replace("\n", " ")


def test_the_size_is_the_papers_own_if_none_is_given() -> None:
    """512 x 2048 for segmentation; the auxiliary head stands below the total."""
    out = run("tiny", "--task", "segmentation", "--no-latency").stdout
    assert "512 x 2048" in out
    assert out.index("total") < out.index("auxiliary head")


def test_the_document_goes_to_stdout_and_into_the_file(tmp_path: Path) -> None:
    """The tables go to stderr; ``dilnas report`` says that it is no profile."""
    path = tmp_path / "tiny.json"
    done = run("tiny", "--task", "detection", "--no-latency", "--json", "--out", str(path))
    document = json.loads(done.stdout)
    assert json.loads(path.read_text()) == document
    roles = document["cost"]["by_role"]
    assert document["cost"]["flops"] == sum(roles[r]["flops"] for r in ("backbone", "neck", "head"))
    assert "total" in done.stderr
    with pytest.raises((DilnasError, RunError)):
        load_profiles(path)


def test_the_backbone_is_measured_with_its_doubts(tmp_path: Path) -> None:
    """On this CPU, forward and backward; the caller's random state stays."""
    (tmp_path / "two.yaml").write_text(TWO.to_yaml())
    before = torch.random.get_rng_state()
    done = run(
        str(tmp_path / "two.yaml"), "--task", "segmentation", "--img-size", "32x64",
        "--mode", "train", "--device", "cpu", "--time-limit", "0.3", "--json",
    )  # fmt: skip
    measured = json.loads(done.stdout)["measurement"]
    assert measured["median_s"] > 0 and len(measured["samples"]) >= 1
    assert "the backbone's maps" in done.stderr and "neck and heads were not run" in done.stderr
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--memory"], "--memory"), (["--energy"], "--energy"), (["--breakdown"], "--breakdown"),
        (["--counters"], "--counters"), (["--profile", "x"], "--profile"),
        (["--batch-size", "1,8"], "--batch-size"), (["--img-size", "224,384"], "--img-size"),
        (["--task", "pose"], "--task"), (["--out", "folder"], "--out"),
        (["--img-size", "800x1300"], "img_size"),
    ],
)  # fmt: skip
def test_what_says_nothing_of_a_dense_task_is_refused(words: list[str], where: str) -> None:
    """In one line that names the option, before anything is measured."""
    given = ["tiny", "--task", "detection", "--no-latency", *words]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, DilnasError), error
    assert error.where == where
    assert "\n" not in str(error)
