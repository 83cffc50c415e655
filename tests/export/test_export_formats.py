"""What an exported network gives where it is run: onnxruntime, torch.export, PyTorch, timm."""

from __future__ import annotations

import json
import re

import onnx
import onnxruntime
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from toys import TOY, python_without, trained

from dilnas.errors import CheckpointError, DilnasError, ExportError, InputError
from dilnas.export import export
from dilnas.export.checks import compare_outputs
from dilnas.export.formats import FORMATS, parse_formats
from dilnas.export.training import training_beside
from dilnas.model import build_model, load_checkpoint
from dilnas.runs import load_architecture

HOSTILE = "<img src=x onerror=alert(1)>`*[x](y)|\"'&.yaml"
INPUT = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.9, "img_size": [48, 80]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an architecture of a hostile name and a finished training beside."""
    folder = tmp_path_factory.mktemp("place")
    (folder / HOSTILE).write_text(TOY.to_yaml())
    (folder / "train.json").write_text(
        json.dumps({"input": INPUT, "best": {"top1": 0.625}, "data": {"val_images": 2000}})
    )
    return folder


@pytest.fixture(scope="module")
def model(place):
    """The trained network; its weights lie in best.safetensors."""
    return trained(TOY, place / "best.safetensors")


@pytest.fixture(scope="module")
def exported(place, model, tmp_path_factory):
    """Every format, with the trained weights, for images of 48 x 80."""
    return export(
        place / HOSTILE, formats=["timm,onnx", "export", "python"], img_size=(48, 80),
        weights=place / "best.safetensors", latency=False,
        out=tmp_path_factory.mktemp("formats") / "out",
    )  # fmt: skip


def drawn(*size):
    """Seeded images (B, 3, H, W)."""
    return torch.randn(size, generator=torch.Generator().manual_seed(3))


def close(own, expected):
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_every_format_adds_its_files_and_a_check_with_the_difference_seen(exported):
    """The summary's sentences name each artefact."""
    for files in FORMATS.values():
        assert set(files) <= exported.files.keys()
    for name in ("config.json", "model.onnx", "model.pt2", "model.py"):
        (said,) = (check for check in exported.checks if check.startswith(name))
        assert re.search(r"largest difference \d\.\de[-+]\d\d", said)
    assert exported.weights == "best.safetensors"
    assert exported.to_dict()["formats"] == list(FORMATS)
    assert exported.directory.joinpath("model.py").is_file()
    assert not list(exported.directory.rglob("__pycache__"))


@torch.inference_mode()
def test_onnxruntime_gives_pytorchs_logits_at_any_batch_and_size(exported, model):
    """Also where the last map is one pixel, and where no side is that of the example."""
    path = exported.directory / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((1, 3, 8, 8), (2, 3, 48, 80), (5, 3, 112, 64)):
        images = drawn(*size)
        (own,) = session.run(None, {"images": images.numpy()})
        close(torch.from_numpy(own), model(images))
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["dilnas.weights"] == "best.safetensors"
    assert facts["dilnas.key"] == TOY.key
    (images,) = session.get_inputs()
    assert images.shape == ["batch", 3, "8*h", "8*w"]


def test_the_program_and_the_file_run_where_dilnas_cannot_be_imported(exported, model, tmp_path):
    """model.pt2 and model.py need torch alone; model.py reads safetensors without the library."""
    images = drawn(3, 3, 80, 48)
    torch.save(images, tmp_path / "images.pt")
    code = f"""
import torch
images = torch.load({str(tmp_path / "images.pt")!r}, weights_only=True)
from model import NAME, build
with torch.inference_mode():
    program = torch.export.load("model.pt2").module()
    alone = build("model.safetensors").eval()
    torch.save([program(images), program(images[:1, :, :32, :64]), alone(images)],
               {str(tmp_path / "outputs.pt")!r})
assert "dilnas" not in sys.modules
print(NAME)
"""
    done = python_without(("dilnas", "safetensors", "timm"), code, exported.directory)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "<img src=x onerror=alert(1)>" in done.stdout
    own, cut, alone = torch.load(tmp_path / "outputs.pt", weights_only=True)
    with torch.inference_mode():
        close(own, model(images))
        close(alone, model(images))
        close(cut, model(images[:1, :, :32, :64]))


@torch.inference_mode()
def test_timm_creates_the_model_from_the_folder(exported, model):
    """With its weights; with another classifier; as a pyramid; with the training's mean and std."""
    import dilnas.timm_models  # noqa: F401

    source = f"local-dir:{exported.directory}"
    images = drawn(2, 3, 48, 80)
    own = timm.create_model(source, pretrained=True).eval()
    close(own(images), model(images))
    config = timm.data.resolve_model_data_config(own)
    assert (list(config["mean"]), list(config["std"])) == (INPUT["mean"], INPUT["std"])
    assert (list(config["input_size"]), config["crop_pct"]) == ([3, 48, 80], 0.9)
    other = timm.create_model(source, pretrained=True, num_classes=3).eval()
    assert other(images).shape == (2, 3)
    close(other.forward_features(images), own.forward_features(images))
    maps = timm.create_model(source, pretrained=True, features_only=True).eval()
    for a, b in zip(maps(images), own.forward_intermediates(images)[1], strict=True):
        close(a, b)
    gray = timm.create_model(source, pretrained=True, in_chans=1)
    close(gray.patch_embed.proj[0].weight[:, 0], model.patch_embed.proj[0].weight.sum(1))


def test_the_weights_are_those_that_were_given(exported, model):
    """model.safetensors, to the bit; the folder loads back in dilnas."""
    state = load_file(exported.directory / "model.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    again = build_model(load_architecture(exported.directory / "architecture.yaml"))
    load_checkpoint(again, exported.directory / "model.safetensors")


def test_the_card_is_one_of_the_hugging_face_hub(exported):
    """Its head parses there, and holds the accuracy that the training measured."""
    card = ModelCard.load(exported.directory / "README.md")
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-classification"
    assert {"onnx", "timm", "dilateformer"} <= set(card.data.tags)
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 62.5)
    assert "on 2,000 validation images is 62.50%" in card.text
    assert card.data.license is None


def test_a_name_cannot_put_html_or_markup_into_the_card(exported):
    """The file's name is the title, as it is spelled and nothing more."""
    text = (exported.directory / "README.md").read_text()
    body = text.partition("\n---\n")[2]
    assert not re.search(r"(?<!\\)<img", body)
    assert r"# \<img src=x onerror=alert(1)\>\`\*\[x\](y)\|" in body


def test_every_python_example_of_the_card_runs_as_printed(exported):
    """dilnas, timm, onnxruntime, torch.export and model.py, in the folder."""
    text = (exported.directory / "README.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(snippets) == 5
    code = "\n".join(snippets) + "\nassert outputs.shape == (1, 7)\n"
    code += "assert torch.equal(network.head.weight, alone.head.weight)\n"
    code += "assert torch.equal(network.head.weight, model.head.weight)\n"
    done = python_without((), code, exported.directory)
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_weights_everything_says_so(place, tmp_path):
    """And images of one stride a side get a program of their own size."""
    result = export(
        place / HOSTILE, formats="export,timm", img_size=(8, 8), out=tmp_path / "out",
        latency=False,
    )  # fmt: skip
    assert result.weights is None
    assert "model.safetensors" not in result.files
    extra = {"dilnas.txt": ""}
    program = torch.export.load(tmp_path / "out" / "model.pt2", extra_files=extra)
    assert extra["dilnas.txt"].startswith("UNTRAINED")
    assert program.module()(drawn(4, 3, 8, 8)).shape == (4, 7)
    assert any("images of 8 x 8" in check for check in result.checks)
    assert "The outputs are noise" in (tmp_path / "out" / "README.md").read_text()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dilnas"]["weights"].startswith("UNTRAINED")
    with pytest.raises(Exception, match=r"(?i)no .*weights|not found|no such"):
        timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)


@pytest.mark.parametrize(
    "case",
    [
        ({"formats": "yaml,tflite"}, ExportError, r"--format: unknown format .*onnx.*tflite"),
        ({"num_classes": 1000, "weights": "best"}, ExportError, "--num-classes 7 takes them"),
        ({"num_classes": -1}, DilnasError, "num_classes"),
        ({"img_size": (16, 20)}, InputError, r"--img-size: image sides must be multiples of .* 8"),
        ({"weights": "nowhere.safetensors"}, CheckpointError, "no such checkpoint"),
        ({"weights": "torn.safetensors"}, CheckpointError, "damaged"),
        ({"weights": "other.safetensors"}, CheckpointError, "another architecture"),
        ({"weights": "foreign.safetensors"}, CheckpointError, "another architecture"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(place, model, tmp_path, case):
    """Formats, classes, sizes and weights, before anything is written."""
    options, kind, said = case
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    state = model.state_dict()
    save_file({**state, "norm.weight": torch.ones(5)}, tmp_path / "other.safetensors")
    save_file({"fc.weight": torch.ones(5)}, tmp_path / "foreign.safetensors")
    before = sorted(tmp_path.iterdir())
    if (name := options.get("weights")) is not None:
        path = place / "best.safetensors" if name == "best" else tmp_path / name
        options = {**options, "weights": path}
    with pytest.raises(kind, match=said) as caught:
        export(place / HOSTILE, out=tmp_path / "a" / "out", latency=False, **options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("library", "extra"), [("onnxscript", "onnx"), ("timm", "timm")])
def test_a_missing_extra_is_one_line_with_the_command(tmp_path, library, extra):
    """In a process that cannot import it; nothing is written."""
    (tmp_path / "toy.yaml").write_text(TOY.to_yaml())
    words = ["export", "toy.yaml", "--format", extra, "--no-latency", "--out", "out"]
    code = f"from dilnas.cli import main\nmain({words!r})"
    done = python_without((library,), code, tmp_path)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.count("\n") == 1
    assert f"--format {extra}: {library} cannot be imported" in done.stderr
    assert f"pip install 'dilnas[{extra}]'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["toy.yaml"]


def test_formats_are_words_or_lists_with_commas():
    """In the order in which they are made, yaml always first."""
    assert parse_formats("python, onnx") == ("yaml", "onnx", "python")
    assert parse_formats(["timm", "yaml,export"]) == ("yaml", "timm", "export")
    assert parse_formats([]) == ("yaml",)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda out: out + 1e-2,
        lambda out: out * float("nan"),
        lambda out: out[:, :-1],
        lambda out: out.flip(0),
    ],
)
def test_an_artefact_with_other_outputs_is_never_announced(wrong):
    """A shift, not-a-numbers, another shape, images that change places."""
    network = build_model(TOY).eval()
    with pytest.raises(ExportError, match="the artefact gives"):
        compare_outputs("the artefact", network, lambda x: wrong(network(x)), [(2, 16, 32)])


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[]", "for each channel"), ('{"input": {"mean": [0.5]}}', "1 and 0")],
)
def test_a_damaged_training_beside_the_weights_is_named(tmp_path, text, said):
    """Its mean and standard deviation would be wrong in silence."""
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(ExportError, match=said):
        training_beside(tmp_path / "best.safetensors", 3)
    assert training_beside(tmp_path / "elsewhere" / "best.safetensors", 3) is None
