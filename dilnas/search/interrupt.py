"""What Ctrl-C does to a search."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dilnas.search.loop import Loop

__all__ = ["interruptible"]


@contextmanager
def interruptible(loop: Loop) -> Iterator[None]:
    """First Ctrl-C: the loop stops at its next step, between two writes. Second: at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        loop.interrupted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
