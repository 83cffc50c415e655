"""The C library's heap: whether freed memory stays with the process.

glibc gives large freed blocks back to the system and asks for them again, page by page, at the next
call; whether it does depends on where in the heap they happen to lie. The stem of one and the same
batch then takes 45 or 90 ms (docs/profiling.md), in fresh processes too. Allocators that servers
use (jemalloc, tcmalloc, and torch's own on CUDA) keep freed memory. ``keep_freed_memory`` makes
glibc do so too.
"""

from __future__ import annotations

import ctypes
import platform

__all__ = ["described", "keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt (man 3 mallopt)."""

NEVER = 2**31 - 1

_KEPT: list[bool] = []
"""Whether it was asked for and done: the last entry."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, from now on; whether that could be asked for.

    For a process of our own: it cannot be taken back, since mallopt does not tell what was set.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    _KEPT.append(bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER)))
    return _KEPT[-1]


def described() -> str:
    """For a measurement's environment: ``glibc 2.36, freed memory is kept``."""
    name, version = platform.libc_ver()
    library = f"{name} {version}".strip() or "the system's C library"
    return f"{library}, freed memory is kept" if _KEPT and _KEPT[-1] else f"{library}, as found"
