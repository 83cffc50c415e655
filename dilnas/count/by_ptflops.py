"""ptflops' ATen backend: one a multiply-add and one a bias addition, no norms.

``get_model_complexity_info(…, backend="aten")`` registers hooks on the model that it is given and
never removes them, switches it to evaluation, and prints and returns None where a forward pass
fails. Its counting mode alone does none of that and gives the same figure.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import DependencyError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ptflops_count", "ptflops_engine", "run_ptflops"]


def ptflops_count(
    architecture: Architecture, height: int = 224, width: int | None = None
) -> dict[str, int]:
    """ptflops' count by ATen operator for one image of ``height`` x ``width`` pixels.

    Taken like ``dilnas.count.torch_count``.

    Raises:
        InputError: a side that the network's strides do not divide.
        DependencyError: ptflops cannot be imported.
    """
    from dilnas.count.copies import sample_for
    from dilnas.count.visible import visible_model

    width = height if width is None else width
    architecture.check_input(height, width)
    model = visible_model(architecture)
    return run_ptflops(model, sample_for(model, (architecture.in_chans, height, width), "meta"))


def run_ptflops(module: nn.Module, sample: Tensor) -> dict[str, int]:
    """What ptflops says of ``module(sample)`` by ATen operator; runs ``module`` itself.

    Raises:
        DependencyError: ptflops cannot be imported.
    """
    from dilnas.count.copies import forward, undisturbed

    counter = ptflops_engine().FlopCounterMode()
    with undisturbed(), counter:
        forward(module, sample)
    counts = counter.flop_counts["Global"]
    return {
        str(operator).removeprefix("aten."): int(count)
        for operator, count in counts.items()
        if count
    }


def ptflops_engine() -> Any:
    """The module ``ptflops.aten_engine``. Raises DependencyError where it cannot be imported."""
    name = "ptflops.aten_engine"
    try:
        try:
            return importlib.import_module(name)
        except RuntimeError:  # of a torchvision that does not fit torch; ptflops can do without one
            with _without_torchvision():
                return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        raise DependencyError(
            f"cannot be imported: {error}", where="ptflops", expected="pip install 'ptflops>=0.7.5'"
        ) from error


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """As if torchvision were not installed: an ImportError, which ptflops expects, as timm's is."""
    missing = "torchvision" not in sys.modules
    found = sys.modules.get("torchvision")
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if missing:
            del sys.modules["torchvision"]
        else:
            sys.modules["torchvision"] = found  # type: ignore[assignment]
