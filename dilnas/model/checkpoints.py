"""Weights in and out of files: official checkpoints, our own, never arbitrary pickle.

A torch file is a pickle, which can run any code. torch's safe loader reads tensors and plain data
only; official checkpoints also hold the ``argparse.Namespace`` of their training run, which is
therefore allowed, and nothing else is.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dilnas.errors import CheckpointError
from dilnas.files import write_with

__all__ = ["load_checkpoint", "load_pretrained", "read_state_dict", "save_weights"]

WEIGHTS = ("model", "state_dict")
EMA_WEIGHTS = ("model_ema", "state_dict_ema")
SHOWN = 3
"""How many of the differing tensors an error names."""

FORBIDDEN = re.compile(r"GLOBAL (\S+)")
"""Where the safe loader's complaint names what it would not import."""


def read_state_dict(path: str | os.PathLike[str], *, ema: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Takes safetensors, and torch files that hold a state dict bare or under ``model`` or
    ``state_dict`` (DeiT's, timm's and the official form); a ``module.`` before every name, which
    DistributedDataParallel leaves, goes.

    Args:
        path: the file.
        ema: the averaged weights (``model_ema`` or ``state_dict_ema``) instead.

    Raises:
        CheckpointError: missing, damaged, holding anything but plain data, or without such weights.
    """
    file = Path(path)
    if file.is_dir():
        raise CheckpointError("a file is needed, this is a folder", where=str(file))
    if not file.is_file():
        raise CheckpointError("no such checkpoint file", where=str(file))
    is_safetensors = file.suffix == ".safetensors"
    data = _read_safetensors(file) if is_safetensors else _read_torch(file)
    state = _unwrap(data, file, ema)
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError("holds no state dict", where=str(file), expected="tensors by name")
    names = [str(name) for name in state]
    odd = [name for name, tensor in zip(names, state.values(), strict=True) if not _plain(tensor)]
    if odd:
        raise CheckpointError(
            "holds tensors without plain numbers", where=str(file),
            expected="dense real tensors", got=", ".join(odd[:SHOWN]),
        )  # fmt: skip
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, state.values(), strict=True))


def _plain(tensor: Tensor) -> bool:
    """Whether a tensor's numbers can be copied into a parameter."""
    dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized
    return dense and not tensor.is_meta and not tensor.is_complex()


def _read_safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"damaged safetensors file: {error}", where=str(file)) from error


def _read_torch(file: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = FORBIDDEN.search(str(error))
        if found is None:
            raise CheckpointError("damaged, or no checkpoint", where=str(file)) from error
        raise CheckpointError(
            "holds objects beside weights, which could run code; nothing was run",
            where=str(file), expected="tensors and plain data", got=found.group(1),
        ) from error  # fmt: skip
    except OSError as error:
        raise CheckpointError(
            f"cannot be read: {error.strerror or error}", where=str(file)
        ) from error
    except (EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        # What torch's reader raises for a cut or overwritten file, by where it stumbles.
        raise CheckpointError("damaged, or no checkpoint", where=str(file)) from error


def _unwrap(data: Any, file: Path, ema: bool) -> Mapping[str, Any]:
    """The state dict inside of a checkpoint's wrapper."""
    if not isinstance(data, Mapping):
        raise CheckpointError(
            "holds no state dict", where=str(file), expected="a mapping", got=type(data).__name__
        )
    for key in EMA_WEIGHTS if ema else WEIGHTS:
        if isinstance(data.get(key), Mapping):
            inner: Mapping[str, Any] = data[key]
            return inner
    if ema:
        raise CheckpointError(
            "holds no averaged weights", where=str(file), expected=" or ".join(EMA_WEIGHTS)
        )
    return data


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str], *, ema: bool = False) -> None:
    """Copy a checkpoint's weights into ``model``: all of them, or none and an error.

    A q, k, v projection stored as a linear layer's (3C, C) loads into a 1x1 convolution's
    (3C, C, 1, 1) and the other way round. A FeaturePyramid has no classifier: it takes a
    classifier's checkpoint and leaves ``norm`` and ``head`` aside.

    Raises:
        CheckpointError: the file is unsafe or damaged (``read_state_dict``), or belongs to
            another architecture: the first tensors that differ are named.
    """
    from dilnas.model.dilateformer import FeaturePyramid

    state = read_state_dict(path, ema=ema)
    if isinstance(model, FeaturePyramid):
        state = {n: t for n, t in state.items() if not n.startswith(("norm.", "head."))}
    _copy(state, model, path)


def load_pretrained(model: nn.Module, path: str | os.PathLike[str], *, ema: bool = False) -> bool:
    """Copy a checkpoint's weights into a classifier that is to be fine-tuned.

    As ``load_checkpoint``, but a ``head`` of another number of classes, or none, is left aside:
    the model's own stays. Returns whether the checkpoint's head was taken.
    """
    state = read_state_dict(path, ema=ema)
    own = model.state_dict()
    heads = [name for name in own if name.startswith("head.")]
    fits = all(name in state and state[name].shape == own[name].shape for name in heads)
    if not fits:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        state |= {name: own[name] for name in heads}
    _copy(state, model, path)
    return fits


def _copy(state: dict[str, Tensor], model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy ``state`` into ``model``. Raises CheckpointError naming what differs."""
    own = model.state_dict()
    state = {name: _reshaped(name, tensor, own) for name, tensor in state.items()}
    differences = [f"{name} missing" for name in own if name not in state]
    differences += [f"{name} unexpected" for name in state if name not in own]
    differences += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    differences += [
        f"{name} is {state[name].dtype}, not {own[name].dtype}"
        for name in own
        if name in state and state[name].is_floating_point() != own[name].is_floating_point()
    ]
    if differences:
        shown = "; ".join(differences[:SHOWN])
        more = len(differences) - SHOWN
        raise CheckpointError(
            "checkpoint of another architecture", where=str(path),
            got=f"{shown}; and {more} more" if more > 0 else shown,
        )  # fmt: skip
    model.load_state_dict(state, strict=True)


def _reshaped(name: str, tensor: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """A q, k, v projection's weight in the form that the model has it in."""
    if name.endswith("attn.qkv.weight") and name in own and tensor.shape != own[name].shape:
        flat = tensor.flatten(1) if tensor.dim() == 4 and tensor.shape[2:] == (1, 1) else tensor
        if flat.dim() == 2 and flat.shape == own[name].shape[:2]:
            return flat.reshape(own[name].shape)
    return tensor


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the model's state dict as safetensors; a crash leaves the old file or the new one.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    from safetensors.torch import save_file

    state = {n: t.detach().cpu().contiguous() for n, t in model.state_dict().items()}
    with write_with(path, kind=CheckpointError) as temporary:
        save_file(state, temporary)
