"""Neural Spectral Capacity: a score of an architecture's weight shapes, without any training.

Each weight matrix m x n contributes

    N ∫ ln(1 + M s² λ) f(λ; N/M) dλ,    N = min(m, n), M = max(m, n), s² = 2 / (m + n),

the expected log-determinant capacity of a random matrix with Xavier-scaled entries, f being the
Marchenko-Pastur density (Optima-CityU 2026; with other initial scales the score's gain over the
number of parameters vanishes). The integral has a closed form, the Shannon transform of that
density (Tulino and Verdú, "Random Matrix Theory and Wireless Communications", 2004, section 2.2).

Matrices: convolutions as (out, in·k·k), linear layers, the classifier; q, k and v split by head,
3·h matrices of (head_dim, dim) a block. Depthwise convolutions and norms are left out. Kernel
window, dilations and MSDA against global attention do not enter: the score cannot rank those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dilnas.arch import Architecture, Stage
from dilnas.cost.formulas import KERNELS, STEM_CONVS

__all__ = ["matrix_capacity", "nsc", "nsc_many", "weight_matrices"]


@lru_cache(maxsize=1 << 16)
def matrix_capacity(rows: int, columns: int) -> float:
    """Capacity in nats of a random rows x columns matrix with entries of variance 2/(rows+columns).

    With y = N/M and g = M s², the mean of ln(1 + gλ) is ln(1 + g - F/4) + ln(1 + gy - F/4)/y
    - F/(4gy), where F = (sqrt(g(1+√y)² + 1) - sqrt(g(1-√y)² + 1))².
    """
    small, large = min(rows, columns), max(rows, columns)
    ratio = small / large
    gain = large * 2 / (rows + columns)
    root = math.sqrt(ratio)
    edge = math.sqrt(gain * (1 + root) ** 2 + 1) - math.sqrt(gain * (1 - root) ** 2 + 1)
    quarter = edge * edge / 4
    mean = (
        math.log1p(gain - quarter)
        + math.log1p(gain * ratio - quarter) / ratio
        - quarter / (gain * ratio)
    )
    return small * mean


def weight_matrices(architecture: Architecture) -> Counter[tuple[int, int]]:
    """The weight matrices (rows, columns) that the score sums over, with how often each occurs."""
    shapes: Counter[tuple[int, int]] = Counter()
    channels = architecture.in_chans
    for listed, kernel, _ in STEM_CONVS[architecture.stem]:
        outputs = listed or architecture.stages[0].dim
        shapes[outputs, channels * kernel * kernel] += 1
        channels = outputs
    area = KERNELS[architecture.downsample] ** 2
    for before, after in zip(architecture.stages, architecture.stages[1:], strict=False):
        shapes[after.dim, before.dim * area] += 1
    for stage in architecture.stages:
        for shape, count in _block_matrices(stage):
            shapes[shape] += stage.depth * count
    if architecture.num_classes:
        shapes[architecture.num_classes, architecture.stages[-1].dim] += 1
    return shapes


def _block_matrices(stage: Stage) -> Iterable[tuple[tuple[int, int], int]]:
    yield (stage.head_dim, stage.dim), 3 * stage.num_heads
    yield (stage.dim, stage.dim), 1
    yield (stage.mlp_hidden, stage.dim), 1
    yield (stage.dim, stage.mlp_hidden), 1


def nsc(architecture: Architecture) -> float:
    """Neural Spectral Capacity of ``architecture`` in nats; more is better.

    A free score: show it beside its measured rank correlation, never filter by it unvalidated.
    """
    shapes = weight_matrices(architecture)
    return math.fsum(count * matrix_capacity(*shape) for shape, count in shapes.items())


def nsc_many(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """``nsc`` of each architecture, (N,) float64."""
    return np.array([nsc(architecture) for architecture in architectures], np.float64)
