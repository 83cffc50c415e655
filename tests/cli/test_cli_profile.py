"""`dilnas profile`: what it prints where, and how it answers bad input."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from dilnas.arch import Architecture, Stage
from dilnas.cli.profile import _deliver, image_sides, profile
from dilnas.cost import cost
from dilnas.errors import ArchitectureError, DeviceError, DilnasError, InputError, RunError
from dilnas.measure import profile as library_profile
from dilnas.records import load_profiles
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
    """Latency with interval and percentiles, images a second; every reading is in the document."""
    result = run(architecture_file, *QUICK, "--batch-size", "2", "--no-memory", "--json")
    data = json.loads(result.stdout)
    measured = data["measurement"]
    assert measured["median_s"] > 0
    assert measured["p95_s"] >= measured["median_s"]
    assert measured["images_per_s"] == pytest.approx(2 / measured["median_s"])
    assert (data["workload"]["height"], data["workload"]["width"]) == (32, 64)
    assert data["environment"]["torch"] == torch.__version__
    for word in ("median", "p5 ", "p95 ", "p99 ", "images/s", "after", "eager", "missing: energy"):
        assert word in result.stderr


def test_lists_make_a_sweep_with_a_row_a_workload(architecture_file: str, tmp_path: Path) -> None:
    """Table, document and file hold the same rows; the batch that does not fit is one of them."""
    path = tmp_path / "new" / "sweep.json"
    words = ("--batch-size", "1, 2,1000000", "--img-size", "128x256,128", "--device", "cpu")
    result = run(architecture_file, *words, "--time-limit", "0.2", "--json", "--out", str(path))
    document = json.loads(result.stdout)
    assert document["dilnas_profiles"] == 2
    assert document == json.loads(path.read_text())
    kept = load_profiles(path)
    assert [bool(p.measurement) for p in kept] == [True, True, False] * 2
    assert kept[2].failure
    rows = document["profiles"]
    workloads = [row["workload"] for row in rows]
    assert [(w["height"], w["width"], w["batch_size"]) for w in workloads] == [
        (128, width, batch) for width in (256, 128) for batch in (1, 2, 1_000_000)
    ]
    assert ["does not fit" in r["failure"] for r in rows] == [False, False, True] * 2
    assert all(r["measurement"]["p99_s"] for r in rows if not r["failure"])
    assert result.stderr.count("does not fit into memory") == 4  # a line as it happened, a row
    assert "[6/6] batch 1000000" in result.stderr
    assert "6 workloads, 2 failed" in result.stderr


def test_a_sweep_of_costs_alone_needs_no_device() -> None:
    """Image sizes in one table on stdout, nothing on stderr."""
    result = run("tiny", "--no-latency", "--img-size", "224,384,800x1280")
    assert result.stderr == ""
    for size in ("224x224", "384x384", "800x1280"):
        assert size in result.stdout


def test_a_sweep_that_is_broken_off_keeps_its_rows(
    architecture_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second workload: the first is shown and written."""
    from dilnas.measure import observed

    measure, calls = observed.measure_latency, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(observed, "measure_latency", interrupted)
    path = tmp_path / "sweep.json"
    words = (architecture_file, *QUICK, "--batch-size", "1,2,4", "--out", str(path))
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    assert len(json.loads(path.read_text())["profiles"]) == 1
    assert "ended after 1 of 3 workloads" in result.stderr
    assert "median ms" in result.stdout


def test_counters_are_shown_beside_the_count() -> None:
    """Without a device."""
    result = run("tiny", "--no-latency", "--counters", "--img-size", "64x96")
    for name in ("fvcore", "ptflops", "torch"):
        assert name in result.stdout


def test_the_roofline_is_drawn_from_a_breakdown(architecture_file: str, tmp_path: Path) -> None:
    """One HTML file; the breakdown is in the tables and the document."""
    path = tmp_path / "roofline.html"
    words = ("--roofline", str(path), "--no-memory", "--json")
    result = run(architecture_file, *QUICK, *words)
    breakdown = json.loads(result.stdout)["breakdown"]
    assert breakdown["bottleneck"] in " ".join(result.stderr.split())
    assert "<html" in path.read_text(encoding="utf-8")


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
        (("tiny", "--batch-size", "1,0"), InputError, "--batch-size"),
        (("tiny", "--batch-size", "1,,2"), InputError, "an empty item"),
        (("tiny", "--batch-size", ""), InputError, "an empty item"),
        (("tiny", "--batch-size", "1.5"), InputError, "must be a whole number"),
        (("tiny", "--batch-size", "many"), InputError, "must be a whole number"),
        (("tiny", "--batch-size", "8,1,8"), InputError, "named twice"),
        (("tiny", "--batch-size", ",".join(map(str, range(1, 502)))), InputError, "too many"),
        (("tiny", "--img-size", "224,224x224"), InputError, "named twice"),
        (("tiny", "--img-size", "224,225"), InputError, "224 or 256"),
        (("tiny", "--dtype", "fp32,fp8"), InputError, "fp32 | tf32"),
        (("tiny", "--mode", "inference,play"), InputError, "inference | train"),
        (("tiny", "--compile", "--cuda-graph"), InputError, "choose one"),
        (("tiny", "--device", "cpu", "--cuda-graph"), DeviceError, "on CUDA devices only"),
        (("tiny", "--no-latency", "--breakdown"), InputError, "needs a measurement"),
        (("tiny", "--no-latency", "--roofline", "x.html"), InputError, "needs a measurement"),
        (("tiny", "--batch-size", "1,2", "--roofline", "x.html"), InputError, "one workload"),
        (("tiny", "--compile", "--breakdown"), InputError, "eager mode only"),
        (("tiny", "--img-size", "225"), InputError, "224 or 256"),
        (("tiny", "--img-size", "0"), InputError, "--img-size: must be positive"),
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
@pytest.mark.parametrize("option", ["--out", "--roofline"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, option: str
) -> None:
    """In a folder that is a file; nothing is left behind. A picture needs a file of its own."""
    (tmp_path / "file").write_text("")
    folders = [tmp_path] if option == "--roofline" else []
    for target in (tmp_path / "file" / "x.json", *folders):
        error = error_of("tiny", "--device", "cpu", option, str(target))
        assert str(error).startswith(f"{option}: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_gets_a_file_a_workload_under_its_device(tmp_path: Path) -> None:
    """``--out profiles/``, there or not yet there; each file reads back as its workload."""
    for out in (tmp_path, tmp_path / "new"):
        run("tiny", "--no-latency", "--img-size", "224,64x96", "--out", str(out))
        found = load_profiles(out / "no-device")
        assert {(p.workload.height, p.workload.width) for p in found} == {(224, 224), (64, 96)}


def test_a_file_that_cannot_be_written_after_all_loses_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables and the document are printed before the file is tried."""
    (tmp_path / "file").write_text("")
    result = library_profile("tiny", latency=False)
    with pytest.raises(InputError, match="cannot be written"):
        _deliver([result], 1, json=True, out=tmp_path / "file" / "x.json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["name"] == "tiny"
    assert "3.177" in printed.err


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
