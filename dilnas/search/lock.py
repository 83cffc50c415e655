"""One driver at a time in a run directory."""

from dilnas.lock import check_writable, run_lock

__all__ = ["check_writable", "run_lock"]
