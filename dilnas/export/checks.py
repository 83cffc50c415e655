"""What was written is loaded back and compared with its source before an export is announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.runs import load_architecture

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dilnas.model import DilateFormer

__all__ = ["Compared", "check_architecture", "check_weights", "compare_outputs"]

SEED = 20230203
"""Of the random images that written and source weights are compared on."""

IMAGES = 2

TOLERANCE = 1e-4
"""Largest difference of an artefact's outputs from PyTorch's, as a share of the largest output.
Another order of the same float32 sums gives 1e-7 to 1e-5; one wrong weight or border far more."""


def check_architecture(path: Path, source: Architecture) -> str:
    """Read ``path``; it must be ``source`` and build a network of its exact parameter count.

    The network is built on the ``meta`` device: nothing is allocated. Returns what was checked as
    a sentence. Raises ExportError if it differs.
    """
    import torch

    from dilnas.cost import cost
    from dilnas.model import build_model

    written = load_architecture(path)
    name = f"proxy/{path.name}" if path.parent.name == "proxy" else path.name
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


def check_weights(
    folder: Path,
    source: nn.Module,
    architecture: Architecture,
    name: str = "proxy/model.safetensors",
) -> str:
    """Load ``folder``'s weights into a fresh network: tensors and output must be ``source``'s.

    To the bit, both: every tensor of the state, and the output on ``IMAGES`` seeded random images,
    (2, in_chans, H, W) with H != W, on the CPU in evaluation mode. ``name`` is what the file is
    called. Returns what was checked as a sentence. Raises ExportError naming the tensor, or with
    the largest difference of the outputs.
    """
    import torch

    from dilnas.model import build_model, load_checkpoint

    path = folder / "model.safetensors"
    fresh = build_model(load_architecture(folder / "architecture.yaml"))
    load_checkpoint(fresh, path)
    source = source.cpu().eval()
    _check_state(fresh, source, name)
    generator = torch.Generator().manual_seed(SEED)
    height, width = architecture.stride, 2 * architecture.stride
    images = torch.randn(IMAGES, architecture.in_chans, height, width, generator=generator)
    with torch.inference_mode():
        expected, got = source(images), fresh.eval()(images)
    if not torch.equal(expected, got):
        raise ExportError(
            "the network read back gives another output than its source", where=name,
            expected="equal to the bit",
            got=f"largest difference {float((expected - got).abs().max()):.3g}",
        )  # fmt: skip
    shown = "x".join(str(side) for side in images.shape)
    return f"{name}: read back; weights and output ({shown} images) equal to the bit"


def _check_state(fresh: nn.Module, source: nn.Module, where: str) -> None:
    import torch

    written, expected = fresh.state_dict(), source.state_dict()
    for name in expected.keys() | written.keys():
        pair = written.get(name), expected.get(name)
        if pair[0] is None or pair[1] is None or not torch.equal(pair[0], pair[1]):
            raise ExportError(
                "the weights read back differ from their source", where=where, got=f"tensor {name}"
            )


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison of outputs saw; as text, half a sentence.

    Attributes:
        sizes: (batch, height, width) of the images.
        difference: the largest of all outputs.
        largest: the largest output.
    """

    sizes: tuple[tuple[int, int, int], ...]
    difference: float
    largest: float

    def __str__(self) -> str:
        sizes = " and ".join(f"{b} x {h} x {w}" for b, h, w in self.sizes)
        return (
            f"equals PyTorch on {sizes} images: largest difference {self.difference:.1e} of outputs"
            f" up to {self.largest:.2g} (allowed {TOLERANCE * self.largest:.1e})"
        )


def compare_outputs(
    name: str,
    model: DilateFormer,
    run: Callable[[Tensor], Tensor],
    sizes: Sequence[tuple[int, int, int]],
) -> Compared:
    """Compare ``run`` with ``model`` on seeded random images of several (batch, height, width).

    Raises ExportError naming the artefact ``name`` where they differ by more than ``TOLERANCE``.
    """
    import torch

    generator = torch.Generator().manual_seed(SEED)
    difference = largest = 0.0
    for batch, height, width in sizes:
        shape = (batch, model.architecture.in_chans, height, width)
        images = torch.randn(shape, generator=generator)
        with torch.inference_mode():
            expected, got = model(images), run(images)
        where = f"{batch} x {height} x {width} images"
        if got.shape != expected.shape:
            raise ExportError(
                f"{name} gives outputs of another shape", where=where,
                expected=tuple(expected.shape), got=tuple(got.shape),
            )  # fmt: skip
        off, size = float((expected - got).abs().max()), float(expected.abs().max())
        if not off <= TOLERANCE * size:  # NaN fails too
            raise ExportError(
                f"{name} gives other outputs than PyTorch", where=where,
                expected=f"within {TOLERANCE * size:.1e}", got=f"largest difference {off:.3g}",
            )  # fmt: skip
        difference, largest = max(difference, off), max(largest, size)
    return Compared(tuple(sizes), difference, largest)
