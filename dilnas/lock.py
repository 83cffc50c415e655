"""One driver at a time in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dilnas.errors import RunError

__all__ = ["check_writable", "run_lock"]

LOCK = ".lock"


def check_writable(directory: Path) -> None:
    """Raise RunError unless ``directory`` can be written, or made; makes nothing."""
    try:
        there = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    except OSError as error:
        raise RunError(
            f"cannot be written: {error.strerror or error}", where=str(directory)
        ) from error
    if not there.is_dir():
        raise RunError(f"cannot be made: {there} is a file", where=str(directory))
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"cannot be written: no permission in {there}", where=str(directory))


@contextmanager
def run_lock(directory: Path, *, what: str = "search") -> Iterator[None]:
    """Hold ``directory`` (made if missing) while the block runs; the system lets go after a kill.

    Raises RunError naming the process that holds it, or what keeps it from being written.
    """
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RunError(
            f"cannot be written: {error.strerror or error}", where=str(directory)
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"another {what} is running here ({_holder(handle)})", where=str(directory)
            ) from error
        me = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(handle, 0)
            os.pwrite(handle, me.encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError, TypeError):
        return "by an unknown process"
