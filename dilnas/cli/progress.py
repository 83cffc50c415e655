"""What a command shows: progress between runs and without a thread, and where tables go."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress", "console"]


class Progress:
    """Says on stderr what is going on, once it has taken two seconds.

    Called between runs only and without a thread of its own: a refresh in the middle of a sample
    would be measured with it.
    """

    PATIENCE_S = 2.0

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.last = 0.0
        self.shown = False
        self.terminal = sys.stderr.isatty()
        self.every_s = 0.25 if self.terminal else 10.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def __call__(self, doing: str, share: float) -> None:
        """Show what is being done and the share of its limit."""
        now = time.monotonic()
        late = now - self.start > self.PATIENCE_S
        if not late or (self.shown and now - self.last < self.every_s):
            return
        self.shown, self.last = True, now
        line = f"measuring: {doing}, {now - self.start:.0f} s, {share:.0%} of the limit"
        sys.stderr.write(f"\r\x1b[K{line}" if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def line(self, text: str) -> None:
        """A line that stays, above the one that changes."""
        self._wipe()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _wipe(self) -> None:
        if self.shown and self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def console(*, stderr: bool) -> Any:
    """A pipe has no width: tables are not folded for it, so that lines can be searched."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=120)
