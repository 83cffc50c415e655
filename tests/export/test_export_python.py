"""``model.py`` is the network: in numbers, in names, and as text that people read."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from drawn import architectures
from hypothesis import given, settings
from toys import TOY, python_without

from dilnas.arch import Architecture, Stage
from dilnas.export.python_file import python_source
from dilnas.model import build_model, save_weights

ONE, TWO = Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=8, num_heads=2, global_depth=1)
VARIED = {
    "everything": Architecture(
        stages=(ONE, TWO, ONE), pos_embed="both", stem="pointconv", in_chans=1, num_classes=3
    ),
    "dilated": Architecture(stages=(ONE, ONE), pos_embed="stage", downsample="conv2"),
    "global": Architecture(stages=(TWO,), pos_embed="none", stem="nonoverlapping", num_classes=0),
    "long": Architecture(
        stages=(Stage(dim=30, num_heads=30, msda_depth=2, dilations=tuple(range(1, 31))),),
        qkv_bias=False,
    ),
}  # fmt: skip


def names_of(text):
    """What the file defines, without importing anything of dilnas."""
    names = {"__name__": "model"}
    exec(compile(text, "model.py", "exec"), names)  # noqa: S102 - our own file
    return names


@settings(max_examples=25)
@given(architectures(max_dim=24))
def test_it_equals_the_model_in_double_precision(architecture):
    """Any stem, downsampling, position, bias, window and dilation; H != W; same state dict."""
    torch.manual_seed(0)
    model = build_model(architecture).double().eval()
    with torch.no_grad():
        for tensor in (t for t in model.state_dict().values() if t.is_floating_point()):
            tensor.add_(0.1 * torch.rand_like(tensor))
    build = names_of(python_source(architecture, "x"))["build"]
    alone = build(drop_path_rate=0.3).double().eval()
    alone.load_state_dict(model.state_dict())
    sides = (architecture.stride, 2 * architecture.stride)
    images = torch.randn(2, architecture.in_chans, *sides, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(alone(images), model(images), rtol=1e-9, atol=1e-10)


def test_it_trains_as_the_model_does():
    """Same gradients; stochastic depth leaves whole samples out and keeps the mean."""
    model = build_model(TOY).double()
    names = names_of(python_source(TOY, "x"))
    alone = names["build"]().double()
    alone.load_state_dict(model.state_dict())
    images = torch.randn(3, 3, 16, 24, dtype=torch.float64)
    for network in (model, alone):
        network.train()(images).square().sum().backward()
    for a, b in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)
    dropped = names["DropPath"](0.25).train()(torch.ones(4000, 1, 2, 1))
    assert set(dropped.flatten().tolist()) == {0.0, dropped.max().item()}
    assert torch.equal(dropped[:, 0, 0, 0], dropped[:, 0, 1, 0])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_it_is_clean_for_the_strictest_reader(tmp_path):
    """ruff's check and format, as they come, on every kind of network and a hostile name."""
    for name, architecture in VARIED.items():
        hostile = "'''\"\"\"\\\n" + "\u202e" * 3 + "x" * 200
        (tmp_path / f"{name}.py").write_text(python_source(architecture, hostile))
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--isolated", str(tmp_path)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    text = (tmp_path / "dilated.py").read_text()
    assert "class GlobalAttention" not in text
    assert "def msda" in text
    assert "def msda" not in (tmp_path / "global.py").read_text()
    assert text.isascii()


def test_run_as_a_program_it_prints_its_size(tmp_path):
    """Where neither dilnas nor safetensors is, with weights of either kind of file."""
    (tmp_path / "model.py").write_text(python_source(TOY, "run#3"))
    model = build_model(TOY).half()
    save_weights(model, tmp_path / "w.safetensors")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    code = """
import model, runpy, torch
for name in ("w.safetensors", "w.pth"):
    sys.argv = ["model.py", name]
    runpy.run_path("model.py", run_name="__main__")
print(torch.equal(model.build("w.pth").head.weight, model.build("w.safetensors").head.weight))
"""
    done = python_without(("dilnas", "safetensors"), code, tmp_path)
    count = sum(parameter.numel() for parameter in model.parameters())
    line = f"run#3: {count:,} parameters"
    assert done.stdout.split("\n")[:3] == [line, line, "True"], done.stderr[-2000:]
