"""Re-training of the front with seeds that the search did not use: what is kept, and of whom.

The best of many noisy scores is partly luck, so a search's own scores are good for choosing and too
good for reporting. Once all trials have ended, the front's members, the paper's variants and a few
candidates just below the front are trained again from the start, with other seeds. Whom this
concerns is a function of the ledger's candidates, so a driver that is killed in between goes on
with the same ones.

Optuna lets nobody add to a finished trial, so each result is an attribute of the study, written in
one transaction: ``final:<trial>:<seed>``. Under ``final-sent:…`` stands when it was begun, under
``final-lost:…`` why it was begun again after its worker had died.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dilnas.search.candidate import COMPLETE, Attempt, Candidate, front

__all__ = [
    "FinalScore",
    "HeldOut",
    "chosen",
    "default_seeds",
    "final_attempts",
    "final_note",
    "final_scores",
    "final_seeds",
    "final_times",
    "lost_note",
    "sent_note",
    "wanted",
]

DEFAULT_SEEDS = {"smoke": 1, "quick": 2}
"""Seeds by proxy. quick: two, so that the default search ends within 8 minutes on two idle CPU
cores: it took 5 min 29 s, two and a half of them for the re-training."""

OTHER_SEEDS = 3

MOST = 8
"""Re-trained candidates up to which those just below the front are taken in."""

PREFIX, SENT, LOST = "final", "final-sent", "final-lost"
SEEDS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalScore:
    """One re-training at full fidelity.

    Attributes:
        seed: what it was trained with.
        accuracy: on the validation split, 0..1; None if it failed.
        test_accuracy: of the same network on the test split; None if it failed.
        seconds: of training and scoring.
        images: images trained on.
        error: why it failed; empty if it did not.
        at: when that was known, in seconds of the search.
    """

    seed: int
    accuracy: float | None
    test_accuracy: float | None
    seconds: float
    images: int
    error: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """All that is known beside the search's own scores.

    Attributes:
        scores: re-trainings by candidate's number, by seed.
        val_images: images of the validation split; None if not known.
    """

    scores: Mapping[int, Sequence[FinalScore]] = field(default_factory=dict)
    val_images: int | None = None

    def accuracies(self, number: int) -> list[float]:
        """Validation accuracies of the candidate's re-trainings that did not fail."""
        return [s.accuracy for s in self.scores.get(number, ()) if s.accuracy is not None]

    def test_accuracies(self, number: int) -> list[float]:
        """Test accuracies of the same."""
        found = self.scores.get(number, ())
        return [s.test_accuracy for s in found if s.test_accuracy is not None]


def default_seeds(proxy: str) -> int:
    """Seeds that the front is re-trained with when none are asked for."""
    return DEFAULT_SEEDS.get(proxy, OTHER_SEEDS)


def final_seeds(seed: int, count: int) -> list[int]:
    """``count`` seeds, all different and none of them the search's; more begin with fewer."""
    return [(seed + 1 + i) % SEEDS for i in range(count)]


def final_note(number: int, score: FinalScore) -> tuple[str, dict[str, Any]]:
    """Name and value under which the ledger keeps a re-training of candidate ``number``."""
    return f"{PREFIX}:{number}:{score.seed}", asdict(score)


def sent_note(
    number: int, seed: int, attempts: Sequence[Attempt]
) -> tuple[str, list[dict[str, Any]]]:
    """Name and value under which the ledger keeps when a re-training was begun, each time."""
    return f"{SENT}:{number}:{seed}", [asdict(attempt) for attempt in attempts]


def lost_note(number: int, seed: int) -> str:
    """Name under which the ledger keeps why a re-training was begun again."""
    return f"{LOST}:{number}:{seed}"


def final_scores(notes: Mapping[str, Any]) -> dict[int, list[FinalScore]]:
    """All re-trainings among a ledger's notes, by candidate, each list by seed."""
    found: dict[int, list[FinalScore]] = {}
    for name, value in notes.items():
        if name.startswith(f"{PREFIX}:"):
            found.setdefault(_whose(name)[0], []).append(FinalScore(**value))
    return {number: sorted(scores, key=lambda s: s.seed) for number, scores in found.items()}


def final_attempts(notes: Mapping[str, Any]) -> dict[tuple[int, int], list[Attempt]]:
    """When each re-training, as (candidate, seed), was begun."""
    return {
        _whose(name): [Attempt(**one) for one in value]
        for name, value in notes.items()
        if name.startswith(f"{SENT}:")
    }


def final_times(notes: Mapping[str, Any]) -> list[float]:
    """All moments that the re-trainings' notes know of, in seconds of the search."""
    ends = [s.at for scores in final_scores(notes).values() for s in scores]
    return ends + [one.at for attempts in final_attempts(notes).values() for one in attempts]


def _whose(name: str) -> tuple[int, int]:
    _, number, seed = name.split(":")
    return int(number), int(seed)


def chosen(
    candidates: Sequence[Candidate], cost_name: str, val_images: int | None
) -> list[Candidate]:
    """Whom to re-train: the front, the paper's variants at full fidelity, and the near misses.

    A near miss is a full-fidelity candidate that lies at most one binomial standard error of the
    validation split below the best that costs no more: a noisy front drops good members. Nearest
    first, as many as leave ``MOST`` in all; none where the size of the split is not known.
    """
    members = front(list(candidates), cost_name)
    known = {c.number for c in members}
    whole = [c for c in candidates if c.state == COMPLETE and c.number not in known]
    taken = members + [c for c in whole if c.origin == "variant"]
    misses = [c for c in whole if c.origin != "variant"]
    gaps = {c.number: _gap(c, members, cost_name, val_images) for c in misses}
    near = sorted((c for c in misses if gaps[c.number] <= 1), key=lambda c: gaps[c.number])
    return taken + near[: max(0, MOST - len(taken))]


def wanted(
    candidates: Sequence[Candidate],
    cost_name: str,
    val_images: int | None,
    seeds: Sequence[int],
) -> list[tuple[Candidate, int]]:
    """(candidate, seed) of all re-trainings, in the order in which they are done.

    Everybody's first seed first, so that what was interrupted is even; the dearest candidate
    first, so that parallel workers end together.
    """
    whom = chosen(candidates, cost_name, val_images)
    whom.sort(key=lambda c: (-c.figures.get(cost_name), c.number))
    return [(candidate, seed) for seed in seeds for candidate in whom]


def _gap(
    candidate: Candidate, members: Sequence[Candidate], cost_name: str, val_images: int | None
) -> float:
    """Standard errors by which a candidate lies below the front; infinite if not known."""
    cost = candidate.figures.get(cost_name)
    cheaper = [c.scores[-1].accuracy for c in members if c.figures.get(cost_name) <= cost]
    if not cheaper or not val_images:
        return math.inf
    best = max(cheaper)
    error = math.sqrt(best * (1 - best) / val_images)
    return (best - candidate.scores[-1].accuracy) / error if error else math.inf
