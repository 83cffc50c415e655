"""What others may open while a search runs: its CSV files and TensorBoard's curves, kept fresh.

Everything here can be written again from the ledger, so nothing here may end a search: what cannot
be written is told once and tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dilnas.errors import DilnasError
from dilnas.runs import RunDirectory

__all__ = ["FRESH_SECONDS", "LiveViews"]

FRESH_SECONDS = 10.0
"""Between two writes, at least."""

MOST_SHARE = 0.02
"""Of the driver's time that writing may take: large ledgers are written less often."""


class LiveViews:
    """Writes now and then.

    Args:
        run: whose.
        tables: writes the CSV files; may raise DilnasError or OSError.
        say: told once when something could not be written.
    """

    def __init__(
        self, run: RunDirectory, tables: Callable[[], object], say: Callable[[str], None]
    ) -> None:
        self._run = run
        self._tables = tables
        self._say = say
        self._written: set[str] = set()
        self._due = time.monotonic() + FRESH_SECONDS
        self._told: set[str] = set()

    def refresh(self) -> None:
        """Write if it is time to. Raises nothing of what writing raises."""
        began = time.monotonic()
        if began >= self._due:
            self._try(self._tables)
            self.curves()
            now = time.monotonic()
            self._due = now + max(FRESH_SECONDS, (now - began) / MOST_SHARE)

    def curves(self) -> None:
        """Write TensorBoard's files from the tables, now. Raises nothing of what writing raises."""
        from dilnas.report import write_tensorboard

        self._try(lambda: write_tensorboard(self._run, self._written))

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (DilnasError, OSError) as error:
            if str(error) not in self._told:
                self._say(f"the live views are not fresh, the search goes on: {error}")
            self._told.add(str(error))
