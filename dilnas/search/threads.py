"""The driver's numbers on one thread: the workers have the cores.

Its models are many small matrix operations. On 2 busy cores, proposing 40 candidates took 10 to 12
CPU seconds with BLAS on two threads, which wait for each other by spinning, and 1.3 on one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["one_blas_thread", "one_torch_thread", "torch_threads"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS, as numpy and scipy use it in this process, on one thread while the block runs."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch, with which Optuna's Gaussian process computes, on one thread while the block runs.

    Measured on 2 busy cores: 2 s a proposal instead of 15 to 20.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def torch_threads(threads: int) -> None:
    """So many threads for torch in this process, also where it is imported later.

    Nobody waits for torch's two seconds of import for the sake of an evaluator that trains nothing.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _controller() -> Any:
    # numpy and scipy bring a BLAS each, which must be loaded before it can be found.
    import numpy.linalg  # noqa: F401
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
