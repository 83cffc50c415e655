"""The network as a program: ``model.pt2`` of torch.export, and ``model.onnx`` made from it.

Both take any batch and any image whose sides are multiples of the stride, and hold PyTorch's or
ONNX's own operators only: neither needs dilnas to run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.export.checks import Compared, compare_outputs
from dilnas.export.network import FullNetwork

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["write_onnx", "write_program"]

MOST_STRIDES = 4096 // 4
"""Largest side of an image in strides: far above what fits a device."""

FEWEST = 2
"""Fewest strides along a side of an image for ``model.pt2``. torch.export sets a size of 1 apart
from all others: a last map of one pixel is another program."""

SINGLE_FILE = 1_500_000_000
"""Bytes of weights up to which ONNX's message format, limited to 2 GiB, holds them itself."""


def write_program(network: FullNetwork, folder: Path, size: tuple[int, int]) -> str:
    """Write ``model.pt2``, load it and compare. ``size``: (height, width) of the usual image.

    Returns what was checked as a sentence. Raises ExportError.
    """
    import torch

    path, architecture = folder / "model.pt2", network.model.architecture
    with _quiet():
        program = _exported(network, size)
        _refuse_own_operators(program)
        torch.export.save(program, path, extra_files={"dilnas.txt": network.label})
        loaded = torch.export.load(path).module()
    if _fixed(architecture, size):
        sizes = [(batch, *size) for batch in (1, 3)]
        takes = f"any batch, images of {size[0]} x {size[1]}"
    else:
        few, many = FEWEST * architecture.stride, (FEWEST + 1) * architecture.stride
        sizes = [(1, few, many), (3, many, few)]
        takes = f"any batch, sides of {FEWEST} and more times {architecture.stride}"
    result = compare_outputs(path.name, network.model, loaded, sizes)
    return _sentence(path.name, result, takes)


def write_onnx(network: FullNetwork, folder: Path) -> str:
    """Write ``model.onnx``, run it with onnxruntime and compare.

    Returns what was checked as a sentence. Raises ExportError.
    """
    import onnx
    import onnxruntime
    import torch

    path, architecture = folder / "model.onnx", network.model.architecture
    batch, height, width = _sizes(1)
    stride = architecture.stride
    large = sum(t.numel() * t.element_size() for t in network.model.state_dict().values())
    with _quiet():
        made = torch.onnx.export(
            network.model,
            (_example(architecture),),
            dynamo=True,
            dynamic_shapes={"x": {0: batch, 2: stride * height, 3: stride * width}},
            input_names=["images"],
            output_names=["logits" if architecture.num_classes else "features"],
            verbose=False,
        )
        assert made is not None  # it is with dynamo=True
        made.model.metadata_props.update(_metadata(network))
        made.save(str(path), external_data=large > SINGLE_FILE)
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    opset = made.model.opset_imports[""]

    def run(images: Tensor) -> Tensor:
        (out,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(out)

    sizes = [(1, stride, 2 * stride), (3, 3 * stride, 2 * stride)]
    result = compare_outputs(path.name, network.model, run, sizes)
    takes = f"opset {opset}, any batch, sides that are multiples of {stride}"
    return _sentence(path.name, result, takes)


def _sentence(name: str, result: Compared, takes: str) -> str:
    runner = "run by onnxruntime" if name.endswith(".onnx") else "loaded by torch.export"
    return f"{name}: {takes}; {runner}, {result}"


def _metadata(network: FullNetwork) -> Mapping[str, str]:
    """What travels within the ONNX file."""
    from dilnas import __version__

    a = network.model.architecture
    return {
        "dilnas.version": __version__,
        "dilnas.architecture": a.to_json(),
        "dilnas.key": a.key,
        "dilnas.weights": network.label,
    }


def _fixed(architecture: Architecture, size: tuple[int, int]) -> bool:
    return min(size) < FEWEST * architecture.stride


def _example(architecture: Architecture, size: tuple[int, int] | None = None) -> Tensor:
    import torch

    height, width = size or (2 * architecture.stride, 3 * architecture.stride)
    return torch.zeros(2, architecture.in_chans, height, width)


def _sizes(fewest: int) -> tuple[Any, Any, Any]:
    """Symbols for the batch, and for height and width in strides."""
    from torch.export import Dim

    height, width = (Dim(name, min=fewest, max=MOST_STRIDES) for name in ("h", "w"))
    return Dim("batch", min=1), height, width


def _exported(network: FullNetwork, size: tuple[int, int]) -> Any:
    """The ExportedProgram: batch and sides are free, the sides fixed where they are one stride."""
    import torch

    architecture = network.model.architecture
    batch, height, width = _sizes(FEWEST)
    stride = architecture.stride
    free: dict[int, Any] = {0: batch, 2: stride * height, 3: stride * width}
    example = _example(architecture)
    if _fixed(architecture, size):
        free, example = {0: batch}, _example(architecture, size)
    return torch.export.export(network.model, (example,), dynamic_shapes={"x": free})


def _refuse_own_operators(program: Any) -> None:
    """An environment variable can force the operator ``dilnas::msda`` into a program."""
    import torch

    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    spaces = {t.namespace for t in targets if isinstance(t, torch._ops.OpOverload)}
    if "dilnas" in spaces:
        raise ExportError(
            "the program would need dilnas to run", where="DILNAS_MSDA", expected="not set"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell their developers much; what matters here is checked afterwards."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
