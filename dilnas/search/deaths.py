"""Why a worker is gone, as far as Ray and Tune know."""

from __future__ import annotations

from pathlib import Path

from dilnas.search.failures import WorkerRuinedError

__all__ = ["kept_error", "last_line", "why_dead"]


def kept_error(file: str | None) -> Exception | None:
    """The exception that Tune has put into ``file``, just before it calls its scheduler."""
    from ray import cloudpickle

    if file is None or not Path(file).exists():
        return None
    kept = cloudpickle.loads(Path(file).read_bytes())
    return kept if isinstance(kept, Exception) else None


def last_line(cause: Exception | None) -> str:
    """The exception that a worker raised: the last line of its traceback."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if cause is not None and lines else "no reason known"


def why_dead(cause: Exception | None) -> str:
    """Why a worker process is gone, as far as Ray knows."""
    text = str(cause)
    mark = f"{WorkerRuinedError.__name__}: "
    if mark in text:
        return f"the worker lost its GPU: {text.rpartition(mark)[2].strip()}"
    if type(cause).__name__ == "OutOfMemoryError" or "NODE_OUT_OF_MEMORY" in text:
        return "the worker died: the machine ran out of memory"
    if type(cause).__name__ == "ActorUnavailableError" or "node has died" in text:
        return "the worker died: its node is gone or does not answer"
    if "SYSTEM_ERROR" in text:
        return "the worker died: killed (out of memory?) or crashed in native code"
    return f"the worker died: {last_line(cause)[:200]}"
