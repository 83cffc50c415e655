"""What may be measured, whoever wrote it: DilateFormers, timm's models, and any module's factory.

    tiny | FILE.yaml | RUN#N      an architecture; its exact cost is known
    timm:NAME                     timm.create_model(NAME, pretrained=False)
    package.module:factory        whatever ``factory()`` returns, if that is a torch.nn.Module

No weights are ever downloaded. A factory is the user's code and is executed.
"""

from __future__ import annotations

import difflib
import importlib
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, DependencyError, InputError
from dilnas.measure.published import variant_of
from dilnas.runs import resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Subject", "subject"]

TIMM = "timm:"
_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_EXPECTED = "tiny | small | base | FILE.yaml | RUN#N | timm:NAME | package.module:factory"


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that can be built any number of times.

    Attributes:
        name: what to call it in a table.
        spec: what the user typed.
        architecture: None where the closed form does not apply.
        make: builds a module; ``build`` calls it under a fixed seed.
        in_chans: channels of its images.
    """

    name: str
    spec: str
    architecture: Architecture | None
    make: Callable[[], nn.Module]
    in_chans: int

    def build(self) -> nn.Module:
        """A new module, its random weights from seed 0; the caller's random state is left alone.

        Raises InputError naming the spec where the user's factory or timm fails.
        """
        with _seeded():
            return self.make()


def subject(spec: str | Architecture) -> Subject:
    """What ``spec`` stands for.

    A foreign model is built once, to see that it can be and how many channels it takes: as its
    default configuration says (timm), else its first convolution, else 3. For a factory the current
    directory is importable from now on, as under ``python -m``, unless Python was told not to
    (``-P``). Raises ArchitectureError, RunError or InputError saying what is wrong with the spec,
    DependencyError where timm is missing or broken.
    """
    if isinstance(spec, Architecture):
        return _own(variant_of(spec) or spec.key, spec.key, spec)
    if spec.startswith(TIMM):
        return _foreign(spec, _timm_maker(spec))
    if _FACTORY.fullmatch(spec) and not os.path.exists(spec):  # noqa: PTH110 - never raises
        return _foreign(spec, _factory_maker(spec))
    try:
        name, architecture = resolve(spec)
    except ArchitectureError as error:
        if error.rule != "unknown architecture":
            raise
        raise ArchitectureError("unknown model", where=repr(spec), expected=_EXPECTED) from None
    return _own(name, spec, architecture)


def _own(name: str, spec: str, architecture: Architecture) -> Subject:
    from dilnas.model import build_model

    return Subject(
        name=name,
        spec=spec,
        architecture=architecture,
        make=lambda: build_model(architecture),
        in_chans=architecture.in_chans,
    )


def _foreign(spec: str, make: Callable[[], Any]) -> Subject:
    """A subject that is built once here; ``make`` returns anything."""
    from torch import nn

    def checked() -> nn.Module:
        try:
            model = make()
        except (Exception, SystemExit) as error:
            raise InputError(f"building it raised {_told(error)}", where=spec) from error
        if not isinstance(model, nn.Module):
            raise InputError(
                "must give a torch.nn.Module",
                where=spec,
                got=f"an object of type {type(model).__name__}",
            )
        return model

    with _seeded():
        in_chans = _in_chans(checked())
    return Subject(name=spec, spec=spec, architecture=None, make=checked, in_chans=in_chans)


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _in_chans(model: nn.Module) -> int:
    """Channels of the images that ``model`` takes, as far as one can tell without running it."""
    from torch import nn

    config = getattr(model, "default_cfg", None)
    if isinstance(config, dict):
        size = config.get("input_size")
        if isinstance(size, tuple | list) and len(size) == 3 and isinstance(size[0], int):
            return size[0]
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.in_channels:
            return module.in_channels
    return 3


def _timm_maker(spec: str) -> Callable[[], Any]:
    name = spec.removeprefix(TIMM)
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name == "timm":
            raise DependencyError(
                "timm is not installed", where=spec, expected="pip install timm"
            ) from None
        raise DependencyError(
            f"timm is installed but needs {error.name}, which is not", where=spec,
            expected=f"pip install {error.name}",
        ) from error  # fmt: skip
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        raise DependencyError(
            f"timm cannot be imported: {_told(error)}", where=spec,
            expected="a timm and torchvision that fit this torch",
        ) from error  # fmt: skip
    # Asked first: create_model would look for names such as hf-hub:… on the network.
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise InputError(
            "timm has no such model", where=spec, expected=" | ".join(near) or None, got=name
        )
    return lambda: timm.create_model(name, pretrained=False)


def _factory_maker(spec: str) -> Callable[[], Any]:
    path, _, attributes = spec.partition(":")
    _current_directory_importable()
    importlib.invalidate_caches()  # the file may be younger than the last look into its folder
    try:
        found: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise InputError(f"importing {path} raised {_told(error)}", where=spec) from error
        raise InputError(f"there is no module {path}: {_told(error)}", where=spec) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"importing {path} raised {_told(error)}", where=spec) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise InputError(f"there is no such factory: {_told(error)}", where=spec) from error
    if not callable(found):
        raise InputError(
            "must name a factory: something to call without arguments", where=spec,
            got=f"an object of type {type(found).__name__}",
        )  # fmt: skip
    make: Callable[[], Any] = found
    return make


def _current_directory_importable() -> None:
    here = os.getcwd()  # noqa: PTH109
    if not sys.flags.safe_path and "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed 0 for Python, numpy and torch inside; all as they were afterwards."""
    import numpy as np
    import torch

    gpus = range(torch.cuda.device_count()) if _cuda_in_use() else ()
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=gpus):
        try:
            # Not torch.manual_seed: before CUDA is initialised nothing would take it back.
            torch.default_generator.manual_seed(0)
            if gpus:
                torch.cuda.manual_seed_all(0)
            random.seed(0)
            np.random.seed(0)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def _cuda_in_use() -> bool:
    import torch

    cuda: Any = torch.cuda
    return bool(cuda.is_initialized())
