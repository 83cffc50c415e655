"""Places: how many workers, on what, with how many loading processes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dilnas.errors import DeviceError, InputError

__all__ = ["Places", "cores"]

MOST_LOADERS = 12


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a training computes.

    Attributes:
        workers: processes that train together.
        device: "cpu" or "cuda".
        loaders: processes for each that load images; None: chosen.
        threads: of torch in each worker; 0: as torch finds them.
    """

    workers: int
    device: str
    loaders: int | None
    threads: int

    @classmethod
    def checked(
        cls, *, workers: int | None, device: str | None, address: str | None, loaders: int | None
    ) -> Places:
        """From a user's values. Raises InputError or DeviceError naming the option at fault."""
        import torch

        here = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for value, where, low in ((workers, "--workers", 1), (loaders, "--loaders", 0)):
            if value is not None and not (isinstance(value, int) and low <= value <= 4096):
                raise InputError("out of range", where=where, expected=f"{low}..4096", got=value)
        if device not in (None, "cpu", "cuda"):
            raise InputError("unknown device", where="--device", expected="cpu | cuda", got=device)
        if device is None:
            device = "cuda" if here else "cpu"
        if address is None and device == "cuda":
            if not here:
                raise DeviceError("there is no CUDA device here", where="--device", got=device)
            if (workers or 1) > here:
                raise DeviceError(
                    "more workers than GPUs", where="--workers", expected=f"<= {here}", got=workers
                )
        if workers is None:
            workers = here if device == "cuda" and address is None else 1
        threads = 0 if device == "cuda" or address is not None else max(1, cores() // workers)
        return cls(
            workers=workers, device=device, loaders=loaders,
            threads=threads if workers > 1 else 0,
        )  # fmt: skip

    def loaders_for(self, *, in_memory: bool) -> int:
        """Loading processes of each worker: none for images in memory on a CPU."""
        if self.loaders is not None:
            return self.loaders
        if in_memory and self.device == "cpu":
            return 0
        return max(1, min(MOST_LOADERS, cores() // self.workers))
