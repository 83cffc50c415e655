"""The second part of a search: trains the front again with other seeds, as units of work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dilnas.arch import Architecture
from dilnas.search.candidate import Attempt, Candidate
from dilnas.search.events import Event, Note, Progress, UnitDone
from dilnas.search.finals import (
    FinalScore,
    HeldOut,
    final_attempts,
    final_note,
    final_scores,
    final_seeds,
    lost_note,
    sent_note,
    wanted,
)
from dilnas.search.ledger import Ledger
from dilnas.search.limits import Limits
from dilnas.search.settings import Settings
from dilnas.search.unit import FINISHED, Finished, Outcome, Unit

__all__ = ["Retraining", "reported"]

EXPECTED = 6
"""Candidates to re-train, for the estimate of the time before they are known."""


class Retraining:
    """What is left to re-train, and what came of it; every decision from the ledger.

    Args:
        settings: the search.
        ledger: its truth.
        limits: nothing begins beyond them.
        rungs: number of rungs; each is trained.
        eta: how many times more a rung costs than the one before, for the estimate of the time.
        val_images: images of the validation split; None if not known.
        architecture: of a candidate.
        directory: where candidate N's re-training with seed S keeps its files.
        clock: seconds that the search has run so far.
        tell: called with every event.
        progress: where the search stands, without the re-training.

    Attributes:
        workers: units at once, for the estimate of the time that is left.
        units_done: by this driver.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        limits: Limits,
        *,
        rungs: int,
        eta: float,
        val_images: int | None,
        architecture: Callable[[Candidate], Architecture],
        directory: Callable[[int, int], str],
        clock: Callable[[], float],
        tell: Callable[[Event], None],
        progress: Callable[[], Progress],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._limits = limits
        self._rungs = rungs
        self._eta = eta
        self._val_images = val_images
        self._architecture = architecture
        self._directory = directory
        self._clock = clock
        self._tell = tell
        self._progress = progress
        self._scores = final_scores(ledger.notes())
        self._flying: list[tuple[int, int]] = []
        self._whole: list[tuple[Candidate, int]] | None = None
        self._began: float | None = None
        self._images = 0
        self.workers = 1
        self.units_done = 0

    @property
    def held_out(self) -> HeldOut:
        """All re-trainings so far, in an order that does not depend on which ended first."""
        scores = {n: sorted(self._scores[n], key=lambda s: s.seed) for n in sorted(self._scores)}
        return HeldOut(scores=scores, val_images=self._val_images)

    def wanted(self) -> list[tuple[Candidate, int]]:
        """(candidate, seed) of all re-trainings, in order; fixed once the first has begun."""
        if self._whole is not None:
            return self._whole
        seeds = final_seeds(self._settings.seed, self._settings.final_seeds)
        candidates, cost = self._ledger.candidates, self._settings.cost_name
        return wanted(candidates, cost, self._val_images, seeds)

    def missing(self) -> list[tuple[Candidate, int]]:
        """Those of ``wanted`` that have neither a score nor a failure."""
        known = {(n, s.seed) for n, scores in self._scores.items() for s in scores}
        return [(c, seed) for c, seed in self.wanted() if (c.number, seed) not in known]

    def next_unit(self) -> Unit | Finished | None:
        """The next unit of work, None for nothing now. Not before all trials have ended."""
        left = [] if self._limits.over() else self.missing()
        if self._whole is None:
            self._whole = self.wanted()
        new = [(c, seed) for c, seed in left if (c.number, seed) not in self._flying]
        if not new:
            return None if self._flying else FINISHED
        candidate, seed = new[0]
        self._flying.append((candidate.number, seed))
        now = self._clock()
        self._began = now if self._began is None else self._began
        session = max(0, len(self._ledger.sessions) - 1)
        before = final_attempts(self._ledger.notes()).get((candidate.number, seed), [])
        attempt = Attempt(rung=self._rungs - 1, at=now, session=session)
        self._ledger.note(*sent_note(candidate.number, seed, [*before, attempt]))
        self._tell(self._progress())
        return Unit(
            number=candidate.number,
            rung=self._rungs - 1,
            architecture=self._architecture(candidate).to_dict(),
            directory=self._directory(candidate.number, seed),
            seed=seed,
            final=True,
        )

    def on_outcome(self, outcome: Outcome) -> None:
        """Write an outcome to the ledger and tell it; a failure stays one, with its reason.

        A re-training whose worker died gets a second try, as in the search.
        """
        number, seed = outcome.unit.number, outcome.unit.seed
        self._flying.remove((number, seed))
        error = outcome.error
        if outcome.died:
            lost = lost_note(number, seed)
            if lost not in self._ledger.notes():
                self._ledger.note(lost, error)
                self._tell(Note(f"trial {number}, seed {seed}: {error}; begun again"))
                return
            error += "; for the second time"
        self.units_done += 1
        if not error and not math.isfinite(outcome.accuracy):
            error = "diverged: the accuracy is not a number"
        score = FinalScore(
            seed=seed, accuracy=None if error else outcome.accuracy,
            test_accuracy=outcome.test_accuracy if math.isfinite(outcome.test_accuracy) else None,
            seconds=outcome.seconds, images=outcome.images, error=error, at=self._clock(),
        )  # fmt: skip
        self._ledger.note(*final_note(number, score))
        self._scores.setdefault(number, []).append(score)
        self._images += score.images
        candidate = self._ledger.candidates[number]
        self._tell(
            UnitDone(
                number=number, rung=self._rungs - 1, rungs=self._rungs, accuracy=score.accuracy,
                gflops=candidate.figures.gflops, mparams=candidate.figures.mparams,
                layout=candidate.layout, seconds=score.seconds, origin=candidate.origin,
                reason=error, seed=seed,
            )
        )  # fmt: skip
        self._tell(self._progress())

    def end(self) -> None:
        """Note that this was all, as far as the limits allow."""
        ended = {"candidates": self._ledger.next_number, "left": len(self.missing())}
        self._ledger.note("reported", self._settings.limits() | ended)

    # --- where it stands --------------------------------------------------------------------

    def described(self, progress: Progress) -> Progress:
        """``progress`` with the re-training in it: its share of the time left, then its state."""
        if not self._settings.final_seeds:
            return progress
        if self._began is None:
            more = self._expected_seconds()
            eta = None if progress.eta_s is None or more is None else progress.eta_s + more
            return replace(progress, eta_s=self._limited(eta))
        whole, left = self.wanted(), self.missing()
        worked = self._clock() - self._began
        return replace(
            progress,
            final_units=len(whole),
            final_done=len(whole) - len(left),
            running=tuple((number, self._rungs - 1) for number, _ in self._flying),
            images_per_s=self._images / worked if worked else 0.0,
            eta_s=self._limited(sum(_took(c) for c, _ in left) / self.workers),
        )

    def _expected_seconds(self) -> float | None:
        scored = [c for c in self._ledger.candidates if c.alive and c.scores]
        if not scored:
            return None
        # A rung takes about eta times as long as the one before it, all rungs before it included.
        each = [_took(c) * self._eta ** (self._rungs - 1 - c.rung) for c in scored]
        count = self._settings.final_seeds * EXPECTED
        return count * sum(each) / len(each) / self.workers

    def _limited(self, eta: float | None) -> float | None:
        return None if eta is None else min(eta, self._limits.seconds_left())


def reported(notes: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the front of a search that has ended was re-trained and tested, as now asked."""
    ended, known = notes.get("finished"), notes.get("reported")
    if not ended or not known or known["candidates"] != ended["candidates"]:
        return False
    same = all(known.get(name) == value for name, value in settings.limits().items())
    return same or (settings.final_seeds <= known["final_seeds"] and not known["left"])


def _took(candidate: Candidate) -> float:
    """Seconds of a candidate's training so far."""
    return candidate.scores[-1].seconds
