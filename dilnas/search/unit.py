"""A unit of work, its outcome, and what does the work: the words that loop and executor share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from dilnas.search.evaluator import Description

__all__ = ["FINISHED", "Evaluator", "Finished", "Outcome", "Unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Train candidate ``number`` to ``rung``; ``architecture`` is its dict form.

    ``final``: a re-training for the report, with a seed of its own, scored on the test split too.
    """

    number: int
    rung: int
    architecture: dict[str, Any]
    directory: str
    seed: int
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a unit ended: metrics of its rung, or why there are none.

    ``died`` says that its worker was gone: the training raised nothing.
    """

    unit: Unit
    accuracy: float = math.nan
    seconds: float = 0.0
    images: int = 0
    error: str = ""
    died: bool = False
    test_accuracy: float = math.nan


class Evaluator(Protocol):
    """Scores an architecture at a rung; picklable."""

    def __call__(
        self, architecture: dict[str, Any], rung: int, *, directory: str, seed: int
    ) -> dict[str, float]:
        """``accuracy`` (0..1, NaN when diverged) at ``rung``; ``seconds``, ``images`` up to it.

        Called in a worker process. Idempotent: what ``directory`` holds is not trained again.
        """
        ...

    def test(self, architecture: dict[str, Any], *, directory: str) -> float:
        """Accuracy (0..1) on images that the search never looked at.

        Called in the driver, and in a worker after a re-training.
        """
        ...

    def describe(self) -> Description:
        """What it scores with. Called in the driver, before anything is written."""
        ...


class Finished:
    """What ``next_unit`` returns when there will be no more units."""


FINISHED = Finished()
