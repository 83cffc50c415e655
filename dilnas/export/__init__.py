"""One architecture out of a run, as a folder to train from: ``export``; ``knee`` picks it."""

from __future__ import annotations

from dilnas.export.bundle import ExportResult, export
from dilnas.export.pick import best, knee

__all__ = ["ExportResult", "best", "export", "knee"]
