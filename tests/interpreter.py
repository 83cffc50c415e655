"""MSDA's Triton kernels in Triton's interpreter, in the tests' own process.

Triton decides when it is imported whether its functions are compiled or interpreted, and torch
imports it for its FLOP counter, its compiler and more. So ``conftest`` imports it under
``TRITON_INTERPRET=1`` before anything else does, and the variable is set again only for tests that
use the fixture ``interpreter``: all others see a machine without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

VARIABLE = "TRITON_INTERPRET"


@contextmanager
def interpreting() -> Iterator[None]:
    """The variable is set within the block."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@cache
def unavailable() -> str:
    """Why the tests cannot interpret kernels; "" if they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if os.environ.get(VARIABLE) != "1" and torch.cuda.is_available():
        return f"a CUDA device runs the kernels (tests/gpu); {VARIABLE}=1 pytest interprets them"
    return ""


def load_triton() -> None:
    """Triton's own functions, for its interpreter."""
    if not unavailable():
        with interpreting():
            importlib.import_module("triton.language")


@cache
def load_kernels() -> None:
    """Ours, too. An error if anything had imported them, or Triton, for a GPU."""
    if unavailable():
        return
    with interpreting():
        importlib.import_module("dilnas.ops.triton_launch")
    ours = [name for name in sys.modules if name.startswith("dilnas.ops.triton_")]
    for name in ("triton.language", *ours):
        for function in vars(sys.modules[name]).values():
            assert type(function).__name__ != "JITFunction", f"{name} was imported for a GPU"
