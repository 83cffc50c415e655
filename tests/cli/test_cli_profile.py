"""`dilnas profile`: what it prints where, and how it answers bad input."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from dilnas.arch import Architecture, Stage
from dilnas.cli.profile import image_sides, profile
from dilnas.cost import cost
from dilnas.errors import ArchitectureError, DeviceError, DilnasError, InputError, RunError
from dilnas.variants import variant

app = typer.Typer()
app.command()(profile)

SMALLEST = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=3, global_depth=1)),
    num_classes=10,
)
QUICK = ("--device", "cpu", "--img-size", "32x64", "--time-limit", "0.5")


@pytest.fixture
def architecture_file(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALLEST.to_yaml())
    return str(path)


def run(*words: str) -> Result:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result


def error_of(*words: str) -> DilnasError:
    """The error of a command that must fail with one."""
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, DilnasError), result.exception
    assert "\n" not in str(result.exception)
    return result.exception


@pytest.mark.parametrize("words", [("--variant", "base"), ("base",)])
def test_the_cost_tables_are_on_stdout(words: tuple[str, ...]) -> None:
    """Users pipe them; --variant and the argument are the same."""
    result = run(*words, "--no-latency")
    assert "47.432 M" in result.stdout
    assert "9.962" in result.stdout
    assert result.stderr == ""


def test_json_is_the_only_thing_on_stdout() -> None:
    """Tables go to stderr, and the document reads back."""
    result = run("small", "--no-latency", "--json")
    data = json.loads(result.stdout)
    assert data["cost"]["params"] == 24_057_504
    assert data["measurement"] is None
    assert "4.613" in result.stderr


def test_out_writes_the_same_document(tmp_path: Path) -> None:
    """The file holds what --json prints; its folder is made."""
    path = tmp_path / "profiles" / "tiny.json"
    result = run("tiny", "--no-latency", "--json", "--out", str(path))
    assert json.loads(path.read_text()) == json.loads(result.stdout)


def test_a_measurement_is_shown_and_stored(architecture_file: str) -> None:
    """Latency with interval, images a second, memory, device; every reading is in the document."""
    result = run(architecture_file, *QUICK, "--batch-size", "2", "--json")
    data = json.loads(result.stdout)
    measured = data["measurement"]
    assert measured["median_s"] > 0
    assert measured["p95_s"] >= measured["median_s"]
    assert measured["images_per_s"] == pytest.approx(2 / measured["median_s"])
    assert measured["extra"]["peak_memory_bytes"] > 4 * data["cost"]["params"]
    assert (data["workload"]["height"], data["workload"]["width"]) == (32, 64)
    assert data["environment"]["torch"] == torch.__version__
    for word in ("median", "p95", "images/s", "peak", "samples after"):
        assert word in result.stderr


@pytest.mark.parametrize(
    ("text", "sides"), [("224", (224, 224)), ("800x1280", (800, 1280)), ("32X64", (32, 64))]
)
def test_an_image_size_is_a_side_or_height_x_width(text: str, sides: tuple[int, int]) -> None:
    """Height first."""
    assert image_sides(text) == sides


@pytest.mark.parametrize("text", ["", "x", "224x", "-32", "2x2x2", "22.4", "٣٢", "1" * 9])
def test_another_image_size_is_refused(text: str) -> None:
    """One clear error."""
    with pytest.raises(InputError, match="--img-size"):
        image_sides(text)


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ((), InputError, "name one architecture"),
        (("tiny", "--variant", "base"), InputError, "name one architecture"),
        (("huge",), ArchitectureError, "tiny | small | base"),
        (("none.yaml",), ArchitectureError, "none.yaml"),
        (("nowhere#1",), RunError, "nowhere"),
        (("tiny", "--batch-size", "0"), InputError, "--batch-size"),
        (("tiny", "--img-size", "225"), InputError, "224 or 256"),
        (("tiny", "--img-size", "0"), InputError, "img_size"),
        (("tiny", "--dtype", "fp8"), InputError, "fp32 | tf32"),
        (("tiny", "--mode", "play"), InputError, "inference | train"),
        (("tiny", "--threads", "-1"), InputError, "--threads"),
        (("tiny", "--time-limit", "0"), InputError, "time limit"),
        (("tiny", "--device", "tpu"), DeviceError, "cpu | cuda"),
        (("tiny", "--device", "cuda:99"), DeviceError, "CUDA device"),
        (("tiny", "--device", "cpu", "--dtype", "tf32"), DeviceError, "CUDA devices only"),
        (("tiny", "--device", "cpu", "--batch-size", "1000000"), DeviceError, "does not fit"),
    ],
)
def test_bad_input_is_one_clear_line(
    words: tuple[str, ...], kind: type[DilnasError], says: str
) -> None:
    """Rule, where, expected, got; before anything is measured."""
    error = error_of(*words)
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_cuda_on_a_machine_without_one_is_said() -> None:
    """A DeviceError, not torch's assertion."""
    assert "no CUDA device" in str(error_of("tiny", "--device", "cuda"))


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not read-only there")
def test_a_file_that_cannot_be_written_loses_no_output(tmp_path: Path) -> None:
    """The tables are printed before the file is tried; nothing half-written stays."""
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(
        app, ["tiny", "--no-latency", "--out", str(tmp_path / "file" / "x.json")]
    )
    assert isinstance(result.exception, InputError)
    assert "3.177" in result.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_global_attention_everywhere_costs_twice_the_default(tmp_path: Path) -> None:
    """Layouts of Tiny as files: GGGG has 2.00 times the FLOPs of DDGG, DGGG 0.350 G more."""
    gflops = {}
    for layout in ("DDGG", "DGGG", "GGGG"):
        tiny = variant("tiny")
        stages = tuple(
            stage
            if letter == "D" or not stage.msda_depth
            else replace(stage, msda_depth=0, global_depth=stage.depth)
            for stage, letter in zip(tiny.stages, layout, strict=True)
        )
        file = tmp_path / f"{layout}.yaml"
        file.write_text(tiny.replace(stages=stages).to_yaml())
        document = json.loads(run(str(file), "--no-latency", "--json").stdout)
        gflops[layout] = document["cost"]["flops"] / 1e9
    assert f"{gflops['GGGG'] / gflops['DDGG']:.2f}" == "2.00"
    assert f"{gflops['DGGG'] - gflops['DDGG']:.3f}" == "0.350"


def test_a_rectangle_is_counted_without_running(tmp_path: Path) -> None:
    """Height first; the document names both sides."""
    document = json.loads(run("tiny", "--img-size", "800x1280", "--no-latency", "--json").stdout)
    assert (document["cost"]["height"], document["cost"]["width"]) == (800, 1280)
    assert document["cost"]["flops"] == cost(variant("tiny"), 800, 1280).flops
