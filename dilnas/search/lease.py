"""One driver at a time on a ledger, wherever its run directory lies.

The lock on the run directory does not see a copy of that directory with the same ``--storage``, and
not another machine where a network's file system does not pass locks on. So the driver's name is in
the ledger too, with a counter that it raises every ``BEAT_SECONDS``:

    driver A    1 · 2 · 3 · 4 · 5 · 6 …
    driver B              · looks for LEASE_SECONDS: 4, 5, … it beats: refused
    driver A    1 · 2 · 3 ✗ killed
    driver B              · looks: 3, 3, … it is gone: takes over

No clock of one machine is compared with another's. A driver of the same machine whose process is
gone is known to be gone at once. A driver that was taken for gone (a suspended machine) finds
another name in its place and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dilnas.errors import RunError
from dilnas.search.storage import Patience, storage_errors

__all__ = ["BEAT_SECONDS", "LEASE_SECONDS", "Lease", "held"]

BEAT_SECONDS = 4.0
LEASE_SECONDS = 15.0
"""Without a beat for so long, a driver of another machine is taken for gone."""

NOTE = "driver"

_here: set[str] = set()
"""Leases of this process: what another search in it has left behind is known to be gone."""


class Lease:
    """The right to write to one ledger, kept up by a thread.

    Args:
        study: the ledger's Optuna study.
        where: name of its storage, for errors.
    """

    def __init__(self, study: Any, where: str) -> None:
        self._study = study
        self._where = where
        self._id = uuid.uuid4().hex
        self._beats = 0
        self._me: dict[str, Any] = {
            "id": self._id, "host": socket.gethostname(), "pid": os.getpid(),
            "machine": _machine(), "started": _started(os.getpid()),
        }  # fmt: skip
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._taken_by: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise RunError if another driver has taken over."""
        if self._taken_by is not None:
            raise RunError(
                f"another search has taken over this ledger ({_who(self._taken_by)})",
                where=self._where,
            )

    def take(self, say: Callable[[str], None]) -> None:
        """Become the ledger's driver. Raises RunError if another one is at work."""
        holder = self._holder()
        if holder is not None and not _is_gone(holder):
            say(f"looking whether another search still works on this ledger ({_who(holder)})")
            self._watch(holder)
        _here.add(self._id)
        Patience(self._where, say)(lambda: self._write(self._me))
        self._thread.start()

    def give_back(self) -> None:
        """Let the next driver begin at once; a ledger that is away stays as it is."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        _here.discard(self._id)
        if self._taken_by is None:
            with suppress(RunError):
                self._write(None)

    def _watch(self, holder: dict[str, Any]) -> None:
        end = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            time.sleep(0.2)
            now = self._holder()
            if now is None or _is_gone(now):
                return
            if now != holder:
                raise RunError(
                    f"another search is running in this ledger ({_who(now)})", where=self._where
                )

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(RunError):  # a ledger that is away is the search's to tell
                holder = self._holder()
                if holder is None or holder["id"] != self._id:
                    self._taken_by = holder or {}
                    return
                self._beats += 1
                self._write(self._me | {"beat": self._beats})

    def _holder(self) -> dict[str, Any] | None:
        with storage_errors(self._where, "the ledger cannot be used"):
            found: dict[str, Any] | None = self._study.user_attrs.get(NOTE)
        return found

    def _write(self, value: dict[str, Any] | None) -> None:
        with storage_errors(self._where, "the ledger cannot be used"):
            self._study.set_user_attr(NOTE, value)


@contextmanager
def held(study: Any, where: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease of ``study`` while the block runs."""
    lease = Lease(study, where)
    lease.take(say)
    try:
        yield lease
    finally:
        lease.give_back()


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}"


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if not holder.get("machine") or holder["machine"] != _machine():
        return False
    if holder["pid"] == os.getpid() and holder["started"] == _started(os.getpid()):
        return holder["id"] not in _here
    return bool(_started(holder["pid"]) != holder["started"])


def _machine() -> str:
    """What numbers the processes: this boot of this machine and, in it, this container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> str:
    """When process ``pid`` began, in the kernel's ticks: a number may be given again. "": gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
