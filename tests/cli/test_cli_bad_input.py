"""Bad input through the real command: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import torch
from cli_process import dilnas, refused

from dilnas.arch import Architecture, Stage
from dilnas.space import SearchSpace

HOSTILE: dict[str, tuple[bytes, str]] = {
    "alias bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 2: aliases"),
    "python tag": (b'!!python/object/apply:os.system ["touch pwned"]\n', "python/object/apply"),
    "deep nesting": (b"[" * 50_000, "recursion"),
    "nul byte": (b"stages: 1\0\n", "#x0000"),
    "binary": (bytes(range(128, 256)), "not UTF-8"),
    "empty": (b"", "must be a mapping"),
    "list": (b"- 1\n- 2\n", "must be a mapping"),
    "scalar": (b"42\n", "must be a mapping"),
    "set": (b"!!set {a, b}\n", "must be a mapping"),
    "repeated key": (b"stages: 1\nstages: 2\n", "line 2: repeated"),
    "unclosed": (b"stages: [1, 2\n", "line 2"),
    "huge integer": (b"stages: " + b"9" * 10_000 + b"\n", "digits"),
    "no such date": (b"stages: 2001-99-99\n", "month"),
    "unknown field": (b'"\\e[31mred": 1\n', "unknown field"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["profile {} --no-latency", "space check {}"])
def test_a_hostile_yaml_file_is_refused(name: str, command: str, tmp_path: Path) -> None:
    """As an architecture and as a space; the file is named, nothing in it is run."""
    content, says = HOSTILE[name]
    (tmp_path / "bad.yaml").write_bytes(content)
    line = refused(*command.format("bad.yaml").split(), cwd=tmp_path)
    assert line.startswith("dilnas: error: bad.yaml: ")
    assert says in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize("command", ["profile {} --no-latency", "space check {}"])
def test_a_file_of_100_megabytes_is_refused_unread(command: str, tmp_path: Path) -> None:
    """Before it is parsed."""
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(100 << 20)
    assert "too large" in refused(*command.format("big.yaml").split(), cwd=tmp_path)


SPACE = """
dilnas_space: 1
name: contradiction
stages: 2
image_size: 32
fixed: {depth: 1, msda_share: 1, num_heads: 3}
axes:
"""


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ("  width: {field: dim, stages: [1, 2], values: [12, 16]}", "num_heads"),
        ("  a: {field: dim, stages: [1, 2], values: [24, 12]}", "ordered"),
        (
            "  a: {field: dim, stages: [1, 2], values: [12]}\n"
            "  b: {field: dim, stage: 2, values: [24]}",
            "set by two axes",
        ),
        (
            "  a: {field: dim, stages: [1, 2], values: [12]}\n"
            "  b: {field: num_heads, stage: 1, values: [3]}",
            "is fixed and also varies",
        ),
        ("  a: {field: dim, stage: 1, values: [12]}", "neither fixed nor set"),
    ],
)
def test_a_space_whose_axes_contradict_is_refused(axes: str, says: str, tmp_path: Path) -> None:
    """Naming the axes or fields at fault."""
    (tmp_path / "mine.yaml").write_text(SPACE + axes + "\n")
    line = refused("space", "show", "mine.yaml", cwd=tmp_path)
    assert line.startswith("dilnas: error: mine.yaml: ")
    assert says in line


@pytest.mark.parametrize("name", SearchSpace.names())
def test_every_shipped_space_is_shown_and_checked(name: str, tmp_path: Path) -> None:
    """From any directory, through the command."""
    shown = dilnas("space", "show", name, "--samples", "100", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{name}: ")
    assert f"{SearchSpace.load(name).size:,} codes" in shown.stdout
    checked = dilnas("space", "check", name, cwd=tmp_path)
    assert checked.stdout.startswith(f"{name}: valid")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("profile nope", "tiny | small | base"),
        ("profile --variant huge", "tiny | small | base"),
        ("profile folder", "this is a folder"),
        ("profile RUN#99", "run.json is missing"),
        ("profile folder#99", "run.json is missing"),
        ("profile none.yaml", "No such file"),
        ("profile tiny --batch-size 0", "expected 1.."),
        ("profile tiny --batch-size -1", "expected 1.."),
        ("profile tiny --batch-size abc", "--batch-size"),
        ("profile tiny --batch-size 99999999999999999999", "expected 1.."),
        ("profile tiny --img-size 225", "224 or 256"),
        ("profile tiny --img-size 0", "positive"),
        ("profile tiny --img-size 800x", "224 | 800x1280"),
        ("profile tiny --img-size 800x1281", "1280 or 1312"),
        ("profile tiny --img-size abc", "224 | 800x1280"),
        ("profile tiny --img-size 1e3", "224 | 800x1280"),
        ("profile tiny --dtype int8", "fp32 | tf32 | fp16 | bf16"),
        ("profile tiny --device tpu", "cpu | cuda"),
        ("profile tiny --device cpu --batch-size 100000", "does not fit into memory"),
        ("profile tiny --device cpu --mode train --img-size 65536", "does not fit into memory"),
        ("search --workers 0", "--workers"),
        ("search --trials 0", "--trials"),
        ("search --budget-gflops -1", "--budget-gflops"),
        ("search --budget-gflops nan", "--budget-gflops"),
        ("search --budget-gflops 0.0001", "cheapest"),
        ("search --objectives beauty", "--objectives"),
        ("search --time-limit soon", "90s | 30m | 2h"),
        ("search --space nope", "paper-ablations"),
        ("space show nope", "paper-ablations"),
        ("space show smoke --img-size 225", "224 or 256"),
        ("space show smoke --budget-gflops 0", "--budget-gflops"),
        ("export nope", "tiny | small | base"),
        ("export folder", "run.json is missing"),
        ("export tiny --pick knee", "only a run"),
        ("train nope", "tiny | small | base"),
        ("train folder", "this is a folder"),
        ("train tiny --data nope", "hf:PATH"),
        ("train tiny --data folder", "holds no data set"),
        ("train tiny --num-classes 5", "expected 10, got 5"),
        ("train tiny --finetune nope.pth", "no such checkpoint file"),
        ("train tiny --recipe nope.yaml", "No such file"),
        ("train tiny --save-every soon", "90s | 30m | 2h"),
        ("train tiny --address nowhere", "HOST:PORT"),
    ],
)
def test_a_bad_value_is_one_line_and_leaves_nothing_behind(
    words: str, says: str, tmp_path: Path
) -> None:
    """What was expected is said; no run, export or file is begun."""
    (tmp_path / "folder").mkdir()
    assert says in refused(*words.split(), cwd=tmp_path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
@pytest.mark.parametrize("command", ["profile", "export", "train"])
def test_cuda_on_a_machine_without_it_is_one_line(command: str, tmp_path: Path) -> None:
    """Not torch's own message, and no export is begun."""
    line = refused(command, "tiny", "--device", "cuda", cwd=tmp_path)
    assert "no CUDA device" in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A folder that cannot be written to; for root, who may write anywhere, a path below a file."""
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        folder = tmp_path / "read-only"
        folder.mkdir(mode=0o500)
        return folder
    (tmp_path / "read-only").write_text("")
    return tmp_path / "read-only"


@pytest.mark.parametrize(
    "words",
    [
        "profile tiny --no-latency --out {}/x.json",
        "export tiny --no-latency --out {}/x",
        "search --space smoke --proxy smoke --trials 1 --out {}/x",
        "train tiny --epochs 1 --batch-size 1000 --out {}/x",
    ],
)
def test_a_folder_that_cannot_be_written_is_named(
    words: str, unwritable: Path, tmp_path: Path
) -> None:
    """Exit code 2, the path, and nothing beside it."""
    done = dilnas(*words.format("read-only").split(), cwd=tmp_path)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert "read-only/x" in line
    assert "cannot be" in line
    assert [entry.name for entry in tmp_path.rglob("*")] == ["read-only"]


def png(path: Path, colour: int) -> None:
    from PIL import Image

    Image.new("L", (40, 36), colour).save(path)


@pytest.mark.parametrize(
    ("fault", "says"), [("empty", "holds no data set"), ("corrupt", "cat/3.png"), ("one", "dog")]
)
def test_an_empty_or_corrupt_image_folder_ends_a_search_before_it_trains(
    fault: str, says: str, tmp_path: Path
) -> None:
    """The file, class or folder at fault is named."""
    photos = tmp_path / "photos"
    photos.mkdir()
    if fault != "empty":
        for colour, name in ((40, "cat"), (200, "dog")):
            (photos / name).mkdir()
            for i in range(1 if (fault, name) == ("one", "dog") else 8):
                png(photos / name / f"{i}.png", colour + i)
    if fault == "corrupt":
        (photos / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13))
    words = "search --space smoke --proxy smoke --trials 1 --data photos --out run --workers 1"
    done = dilnas(*words.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("dilnas: error: ")
    assert says in line
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["photos"]


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    """Through the library: the first difference is named, and the model is left as it was."""
    from dilnas.errors import CheckpointError
    from dilnas.model import build_model, load_checkpoint, save_weights

    def stages(width: int) -> Architecture:
        return Architecture(
            stages=(
                Stage(dim=width, num_heads=3, msda_depth=1),
                Stage(dim=2 * width, num_heads=3, global_depth=1),
            ),
            num_classes=10,
        )

    file = tmp_path / "other.safetensors"
    save_weights(build_model(stages(24)), file)
    model = build_model(stages(12))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, file)
    assert "\n" not in str(caught.value)
    assert "other.safetensors" in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
