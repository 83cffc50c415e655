"""What was written is loaded back and compared with its source before an export is announced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.runs import load_architecture

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_architecture", "check_weights"]

SEED = 20230203
"""Of the random images that written and source weights are compared on."""

IMAGES = 2


def check_architecture(path: Path, source: Architecture) -> str:
    """Read ``path``; it must be ``source`` and build a network of its exact parameter count.

    The network is built on the ``meta`` device: nothing is allocated. Returns what was checked as
    a sentence. Raises ExportError if it differs.
    """
    import torch

    from dilnas.cost import cost
    from dilnas.model import build_model

    written = load_architecture(path)
    name = f"{path.parent.name}/{path.name}" if path.parent.name == "proxy" else path.name
    if written != source:
        raise ExportError(
            "the architecture read back differs from its source", where=name,
            expected=source.key, got=written.key,
        )  # fmt: skip
    with torch.device("meta"):
        model = build_model(written)
    built = sum(parameter.numel() for parameter in model.parameters())
    expected = cost(written, written.stride).params
    if built != expected:
        raise ExportError(
            "the network built from the file has another number of parameters", where=name,
            expected=expected, got=built,
        )  # fmt: skip
    return f"{name}: read back, key {written.key}; builds a network of {built:,} parameters"


def check_weights(folder: Path, source: nn.Module, architecture: Architecture) -> str:
    """Load ``folder``'s weights into a fresh network: tensors and output must be ``source``'s.

    To the bit, both: every tensor of the state, and the output on ``IMAGES`` seeded random images,
    (2, in_chans, H, W) with H != W, on the CPU in evaluation mode. Returns what was checked as a
    sentence. Raises ExportError naming the tensor, or with the largest difference of the outputs.
    """
    import torch

    from dilnas.model import build_model, load_checkpoint

    path = folder / "model.safetensors"
    where = f"{folder.name}/{path.name}"
    fresh = build_model(load_architecture(folder / "architecture.yaml"))
    load_checkpoint(fresh, path)
    source = source.cpu().eval()
    _check_state(fresh, source, where)
    generator = torch.Generator().manual_seed(SEED)
    height, width = architecture.stride, 2 * architecture.stride
    images = torch.randn(IMAGES, architecture.in_chans, height, width, generator=generator)
    with torch.inference_mode():
        expected, got = source(images), fresh.eval()(images)
    if not torch.equal(expected, got):
        raise ExportError(
            "the network read back gives another output than the run's", where=where,
            expected="equal to the bit",
            got=f"largest difference {float((expected - got).abs().max()):.3g}",
        )  # fmt: skip
    shown = "x".join(str(side) for side in images.shape)
    return f"proxy/{path.name}: read back; weights and output ({shown} images) equal to the bit"


def _check_state(fresh: nn.Module, source: nn.Module, where: str) -> None:
    import torch

    written, expected = fresh.state_dict(), source.state_dict()
    for name in expected.keys() | written.keys():
        pair = written.get(name), expected.get(name)
        if pair[0] is None or pair[1] is None or not torch.equal(pair[0], pair[1]):
            raise ExportError(
                "the weights read back differ from the run's", where=where, got=f"tensor {name}"
            )
