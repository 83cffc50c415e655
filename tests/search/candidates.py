"""Candidates for tests of pure functions."""

from dilnas.search.candidate import Candidate, Figures, RungScore
from dilnas.search.finals import FinalScore


def complete(number, cost, scores, *, state="complete", origin="gp"):
    """A candidate with one score for each rung, at ``cost`` in every unit."""
    return Candidate(
        number=number, code=(number,), key=f"{number:016x}", layout="", origin=origin,
        figures=Figures(gflops=cost, mparams=cost, mb=cost), state=state,
        scores=tuple(RungScore(accuracy=a, seconds=1.0, images=1) for a in scores),
        target=len(scores) - 1,
    )  # fmt: skip


def finals(*accuracies):
    """Re-trainings with seeds 1, 2, …; None for one that failed."""
    return [
        FinalScore(
            seed=seed, accuracy=a, test_accuracy=None if a is None else a - 0.01, seconds=1.0,
            images=1, error="ValueError: no" if a is None else "",
        )
        for seed, a in enumerate(accuracies, 1)
    ]  # fmt: skip
