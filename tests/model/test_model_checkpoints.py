"""Checkpoints: official, wrapped, averaged, damaged, hostile, and of another network."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import zipfile

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.errors import CheckpointError
from dilnas.model import build_model, load_checkpoint, read_state_dict, save_weights

STAGES = (Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=6, global_depth=1))
SMALL = Architecture(stages=STAGES, num_classes=5)


class Hostile:
    """A pickle of it creates a file when it is read carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def same(model, other):
    own, theirs = model.state_dict(), other.state_dict()
    return own.keys() == theirs.keys() and all(torch.equal(own[n], theirs[n]) for n in own)


def test_saved_weights_load_back(tmp_path):
    """safetensors round trip: all tensors equal, and no temporary file stays."""
    model, other = build_model(SMALL), build_model(SMALL)
    save_weights(model, tmp_path / "w.safetensors")
    load_checkpoint(other, tmp_path / "w.safetensors")
    assert same(model, other)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("key", ["model", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_wrappers_are_taken_off(tmp_path, key, prefix):
    """A DeiT wrapper with its argparse.Namespace, or a bare state dict, with or without module."""
    model, other = build_model(SMALL), build_model(SMALL)
    state = {prefix + n: t for n, t in model.state_dict().items()}
    data = {key: state, "args": argparse.Namespace(lr=0.1), "epoch": 3} if key else state
    torch.save(data, tmp_path / "c.pth")
    load_checkpoint(other, tmp_path / "c.pth")
    assert same(model, other)


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema"])
def test_averaged_weights_are_taken_on_demand(tmp_path, key):
    """ema=True reads DeiT's and timm's averaged weights; a checkpoint without them says so."""
    model, averaged, other = (build_model(SMALL) for _ in range(3))
    data = {"model": model.state_dict(), key: averaged.state_dict()}
    torch.save(data, tmp_path / "c.pth")
    load_checkpoint(other, tmp_path / "c.pth", ema=True)
    assert same(averaged, other)
    torch.save({"model": model.state_dict()}, tmp_path / "d.pth")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        read_state_dict(tmp_path / "d.pth", ema=True)


def test_a_linear_projection_loads_into_the_convolution(tmp_path):
    """A (3C, C) qkv weight is reshaped to the 1x1 convolution's, and back for global blocks."""
    model, other = build_model(SMALL), build_model(SMALL)
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("attn.qkv.weight"):
            state[name] = tensor.flatten(1) if tensor.dim() == 4 else tensor[:, :, None, None]
    torch.save(state, tmp_path / "c.pth")
    load_checkpoint(other, tmp_path / "c.pth")
    assert same(model, other)


def test_the_pyramid_takes_a_classifiers_checkpoint(tmp_path):
    """norm and head have no place in the pyramid; all the rest is loaded."""
    model, pyramid = build_model(SMALL), build_model(SMALL, features_only=True)
    save_weights(model, tmp_path / "w.safetensors")
    load_checkpoint(pyramid, tmp_path / "w.safetensors")
    state = model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in pyramid.state_dict().items())


def test_a_checkpoint_of_another_architecture_changes_nothing(tmp_path):
    """The error names the first tensors that differ, and the model keeps its weights."""
    other = build_model(SMALL)
    before = {n: t.clone() for n, t in other.state_dict().items()}
    save_weights(build_model(SMALL, num_classes=7), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"another architecture.*head.weight is \(7, 24\)"):
        load_checkpoint(other, tmp_path / "w.safetensors")
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())


def hide(place, hostile):
    """A checkpoint with ``hostile`` somewhere beside, inside of or instead of its weights."""
    weights = {"w": torch.zeros(2)}
    return {
        "alone": hostile,
        "beside": {"model": weights, "args": hostile},
        "in the weights": {"model": {**weights, "b": hostile}},
        "in the namespace": {"model": weights, "args": argparse.Namespace(a=hostile)},
        "deep": {"model": weights, "args": argparse.Namespace(a=argparse.Namespace(b=[hostile]))},
    }[place]


@pytest.mark.parametrize("place", ["alone", "beside", "in the weights", "in the namespace", "deep"])
@pytest.mark.parametrize("form", ["pickle", "legacy", "zip"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, form, place):
    """A pickle that would create a folder is named in one line, and the folder is not there."""
    mark, file = tmp_path / "owned", tmp_path / "c.pth"
    payload = hide(place, Hostile(mark))
    if form == "pickle":
        file.write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"could run code|no checkpoint") as caught:
        read_state_dict(file)
    assert form == "pickle" or "mkdir" in str(caught.value)
    assert not mark.exists()


def test_a_legacy_tar_is_refused_and_nothing_runs(tmp_path):
    """torch's first file form, a tar of pickles, cannot be read safely and is not read."""
    mark, file = tmp_path / "owned", tmp_path / "c.pth"
    content = pickle.dumps(Hostile(mark), protocol=2)
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_state_dict(file)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_damaged(tmp_path, suffix, keep):
    """However much of a checkpoint is left, the answer is one CheckpointError."""
    model, file = build_model(SMALL), tmp_path / f"c{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), file)
    else:
        save_weights(model, file)
    data = file.read_bytes()
    file.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(CheckpointError):
        read_state_dict(file)


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    """A missing file, a folder, text, noise, an empty archive, a list and a bare number."""
    with zipfile.ZipFile(tmp_path / "empty.pth", "w"):
        pass
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": 3}, tmp_path / "number.pth")
    for suffix in ("pth", "safetensors"):
        (tmp_path / f"text.{suffix}").write_text("stages:\n- 72\n" * 20)
        (tmp_path / f"noise.{suffix}").write_bytes(bytes(range(256)) * 20)
    torch.save(build_model(SMALL).state_dict(), tmp_path / "torch.safetensors")
    names = ["missing.pth", ".", "empty.pth", "list.pth", "number.pth", "torch.safetensors"]
    names += [f"{kind}.{suffix}" for kind in ("text", "noise") for suffix in ("pth", "safetensors")]
    for name in names:
        with pytest.raises(CheckpointError) as caught:
            read_state_dict(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("odd", ["sparse", "complex", "meta", "integer"])
def test_tensors_that_are_no_weights_are_refused_before_any_is_copied(tmp_path, odd):
    """The last tensor is unusable; the first ones have not been copied when the error comes."""
    other, model = build_model(SMALL), build_model(SMALL)
    state, before = model.state_dict(), {n: t.clone() for n, t in other.state_dict().items()}
    bias = state["head.bias"]
    state["head.bias"] = {
        "sparse": bias.to_sparse(),
        "complex": bias.to(torch.complex64),
        "meta": bias.to("meta"),
        "integer": bias.int(),
    }[odd]
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        load_checkpoint(other, tmp_path / "c.pth")
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())
