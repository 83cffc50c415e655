"""A word about a Ray whose head is gone.

Ray's own library ends the whole process, with a message of its own and exit code 1, when the head
has not answered for ten seconds, and Tune blocks until then. A thread that asks more often says
before that what it means for the search.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["head_watched"]

EVERY_SECONDS = 1.5
TRIES = 3


@contextmanager
def head_watched(say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, ``say`` is told, once and from a thread, if the head of this process's
    Ray session does not answer ``TRIES`` times.
    """
    import ray

    address = ray.get_runtime_context().gcs_address
    over = threading.Event()

    def watch() -> None:
        failed = 0
        while failed < TRIES:
            if over.wait(EVERY_SECONDS):
                return
            failed = 0 if _answers(address) else failed + 1
        say(
            f"Ray is gone: its head at {address} no longer answers. Nothing recorded is lost; "
            "the same command goes on"
        )

    thread = threading.Thread(target=watch, daemon=True, name="head")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True
