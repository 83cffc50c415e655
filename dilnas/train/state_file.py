"""Training states in files: tensors and plain data, written whole, read without running code."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from dilnas.errors import CheckpointError, RunError
from dilnas.files import full_disk, write_with

__all__ = ["read_state", "write_state"]

LOAD_ERRORS = (
    OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError,
    struct.error, pickle.UnpicklingError,
)  # fmt: skip
"""What the safe loader raises on bytes that are no checkpoint."""


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``; a crash leaves the old file or the new one. Raises RunError."""
    with write_with(path, kind=RunError) as temporary:
        try:
            with temporary.open("wb") as file:  # so that Python sees why writing fails
                torch.save(state, file)
        except RuntimeError as error:  # torch, about a zip file that is not as long as it should be
            if (full := full_disk(error)) is None:
                raise
            raise OSError(full.errno, full.strerror) from error


def read_state(path: Path, mark: str, version: int) -> dict[str, Any]:
    """The state at ``path`` if its field ``mark`` is ``version``. Raises CheckpointError."""
    damaged = CheckpointError(
        "damaged, or not a checkpoint of dilnas: remove it to train anew", where=str(path)
    )
    if not zipfile.is_zipfile(path):
        raise damaged
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise damaged from error
    if not isinstance(state, dict) or state.get(mark) != version:
        raise CheckpointError("not a checkpoint of this version of dilnas", where=str(path))
    return dict(state)
