"""What a training's exception means: its reason in one line, and whether the worker outlives it."""

from __future__ import annotations

import gc
import re
import sys

from dilnas.errors import RunError

__all__ = ["SameFailure", "WorkerRuinedError", "reason_of", "release_memory", "ruins_worker"]

RUINED = re.compile(r"CUDA error|CUDNN_STATUS|CUBLAS_STATUS|device-side assert")
"""Errors after which a process can do nothing more on its GPU."""

HOST_MEMORY = re.compile(r"DefaultCPUAllocator|not enough memory|Cannot allocate memory")

IN_A_ROW = 5
"""Equal failures, with no success ever, after which a search gives up."""


class WorkerRuinedError(Exception):
    """Raised in a worker whose process is of no use any more; Tune then replaces it."""


def reason_of(error: Exception) -> str:
    """The reason in a line: ``out of GPU memory: …``, ``out of host memory: …``, ``Kind: text``."""
    text = " ".join(str(error).split())[:300]
    if type(error).__name__ == "OutOfMemoryError":
        facts = text.removeprefix("CUDA out of memory.").strip()
        return f"out of GPU memory: {facts.partition(' is free.')[0]}"
    if isinstance(error, MemoryError) or HOST_MEMORY.search(text):
        facts = text.rpartition("DefaultCPUAllocator: ")[2]
        return f"out of host memory: {facts}" if facts else "out of host memory"
    return f"{type(error).__name__}: {text}"


def ruins_worker(error: Exception) -> bool:
    """Whether the process that raised ``error`` has lost its GPU: any later training fails too."""
    return bool(RUINED.search(str(error))) and type(error).__name__ != "OutOfMemoryError"


def release_memory() -> None:
    """Give back what a training that failed still holds, to the GPU too."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()  # nothing where CUDA was never used


class SameFailure:
    """Notices that no candidate can be trained here at all.

    When a driver, a library or a data set is at fault, every candidate fails; a search that went on
    would mark them all as failed, one after another, and find nothing.
    """

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def add(self, reason: str) -> None:
        """A candidate has failed."""
        if self._reasons and _shape(self._reasons[-1]) != _shape(reason):
            self._reasons.clear()
        self._reasons.append(reason)

    def check(self) -> None:
        """Raise RunError after ``IN_A_ROW`` equal failures. Not asked once one has succeeded."""
        if len(self._reasons) >= IN_A_ROW:
            raise RunError(
                f"{len(self._reasons)} candidates failed in the same way, and none was ever "
                f"trained: {self._reasons[-1]}",
                where="the search gives up",
            )


def _shape(reason: str) -> str:
    """A reason without its numbers: sizes differ from one candidate to the next."""
    return re.sub(r"\d[\d.,]*", "#", reason)
