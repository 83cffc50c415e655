"""spend.csv and history.csv of a run directory."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.runs import RunDirectory
from dilnas.search.history import HistoryRow
from dilnas.search.spend import Spent

__all__ = ["HISTORY_COLUMNS", "SPEND_COLUMNS", "write_accounts"]

SPEND_COLUMNS = tuple(field.name for field in fields(Spent))
HISTORY_COLUMNS = tuple(field.name for field in fields(HistoryRow))


def write_accounts(run: RunDirectory, spend: Sequence[Spent], grown: Sequence[HistoryRow]) -> None:
    """Write both files. Raises RunError if the directory cannot be written."""
    _write(run.spend_csv, SPEND_COLUMNS, spend)
    _write(run.history_csv, HISTORY_COLUMNS, grown)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Spent | HistoryRow]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = asdict(row)
        writer.writerow({k: round(v, 9) if isinstance(v, float) else v for k, v in cells.items()})
    write_atomic(path, text.getvalue(), kind=RunError)
