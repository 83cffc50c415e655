"""Scores a candidate by training it: what a search calls in its workers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture

if TYPE_CHECKING:
    from dilnas.data import DataSplits

__all__ = ["Description", "TrainingEvaluator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an evaluator scores with.

    Attributes:
        settings: JSON-able values that a score depends on.
        data: fingerprint of the data.
        rungs: number of rungs.
        eta: how many times more is spent on a rung than on the one before.
        val_images: images of the split that candidates are scored on; None if there is none.
    """

    settings: dict[str, Any]
    data: str
    rungs: int
    eta: float = 3.0
    val_images: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingEvaluator:
    """Trains through the rungs of a proxy on a data set; small to pickle, loads on first use.

    Attributes:
        proxy: name of the proxy.
        data: what ``load_data`` takes.
    """

    proxy: str
    data: str

    def __call__(
        self, architecture: dict[str, Any], rung: int, *, directory: str, seed: int
    ) -> dict[str, float]:
        """Accuracy (NaN when diverged) at ``rung``, seconds and images up to it."""
        from dilnas.train import proxy, train_to_rung

        result = train_to_rung(
            Architecture.from_dict(architecture), proxy(self.proxy), rung,
            _splits(self.proxy, self.data), seed=seed, directory=Path(directory),
        )  # fmt: skip
        accuracy = float("nan") if result.diverged else result.val_accuracy
        return {
            "accuracy": accuracy,
            "seconds": result.seconds,
            "images": float(result.images_seen),
        }

    def test(self, architecture: dict[str, Any], *, directory: str) -> float:
        """Accuracy on the test split of what ``directory`` holds; 0..1."""
        from dilnas.train import evaluate, proxy

        metrics = evaluate(
            Architecture.from_dict(architecture), proxy(self.proxy),
            _splits(self.proxy, self.data), split="test", directory=Path(directory),
        )  # fmt: skip
        return float(metrics["accuracy"])

    def describe(self) -> Description:
        """What it scores with. Loads the data.

        Raises InputError for an unknown proxy, DataError for data that cannot be used.
        """
        from dilnas.train import proxy

        chosen = proxy(self.proxy)
        splits = _splits(self.proxy, self.data)
        return Description(
            settings=chosen.to_dict(), data=splits.fingerprint, rungs=chosen.rungs,
            val_images=len(splits.val),
        )  # fmt: skip


@lru_cache(maxsize=2)
def _splits(proxy_name: str, data: str) -> DataSplits:
    from dilnas.data import load_data
    from dilnas.train import proxy

    return load_data(data, image_size=proxy(proxy_name).image_size)
