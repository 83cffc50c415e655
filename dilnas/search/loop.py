"""The search itself: what to do next, and what an outcome means. Ray, files and time stay outside.

    propose -> reject at once, or train to rung 0 -> promote rung by rung -> complete
                                  \\-> failed            \\-> paused, pruned at the end

Every decision is taken from the ledger's candidates; what is in flight is remembered only to not
hand it out twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from dilnas.arch import Architecture
from dilnas.search.candidate import (
    COMPLETE,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    Candidate,
    Lost,
    RungScore,
)
from dilnas.search.estimate import work_left
from dilnas.search.events import Event, Note, Progress, UnitDone
from dilnas.search.failures import SameFailure
from dilnas.search.ledger import Ledger
from dilnas.search.limits import Limits
from dilnas.search.proposer import Proposal, Proposer
from dilnas.search.results import dominated_share, front_rows
from dilnas.search.scheduler import PromotionRule, next_promotion
from dilnas.search.settings import Settings
from dilnas.search.threads import one_blas_thread
from dilnas.search.unit import FINISHED, Finished, Outcome, Unit

__all__ = ["Loop"]


class Loop:
    """One driver's work on one ledger.

    Args:
        settings: the search.
        rule: how candidates are promoted.
        ledger: its truth.
        proposer: where candidates come from.
        decode: architecture of a code; None where there are none, in a table of results: units
            then carry no architecture, and there are no rows to show.
        reference: far corner of the hypervolume's box.
        clock: seconds that the search has run so far, over all its sessions; never goes back.
        keep: called with the number and the proposal of a candidate before the ledger has it.
        directory: where candidate N's training keeps its files.
        tell: called with every event; None: nobody listens.

    Attributes:
        workers: units at once, for the estimate of the time that is left.
    """

    def __init__(
        self,
        settings: Settings,
        rule: PromotionRule,
        ledger: Ledger,
        proposer: Proposer,
        *,
        decode: Callable[[tuple[int, ...]], Architecture] | None,
        reference: dict[str, float],
        clock: Callable[[], float],
        keep: Callable[[int, Proposal], None],
        directory: Callable[[int], str],
        tell: Callable[[Event], None] | None,
    ) -> None:
        self._settings = settings
        self._rule = rule
        self._ledger = ledger
        self._proposer = proposer
        self._decode = decode
        self._reference = reference
        self._clock = clock
        self._limits = Limits(settings, ledger, clock)
        self._keep = keep
        self._directory = directory
        self._tell = tell
        self._first_unit_at: float | None = None
        self._flying: dict[int, int] = {}
        self._images = 0
        self._exhausted = False
        self._failures = SameFailure()
        self._designs: list[Proposal] | None = None
        self._architectures: dict[int, Architecture] = {}
        self._shown: tuple[int, float, list[dict[str, Any]]] | None = None
        self.workers = 1
        self.interrupted = False
        self.units_done = 0

    # --- what to do next --------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stop at the next ``poll``: what Ctrl-C asks for."""
        self.interrupted = True

    def poll(self) -> None:
        """Raise KeyboardInterrupt if a Ctrl-C came since: between two writes, not inside one.

        RunError when no candidate can be trained here.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        self._failures.check()

    def next_unit(self) -> Unit | Finished | None:
        """The next unit of work, None for nothing now."""
        with one_blas_thread():
            candidate = None if self._limits.search_over() else self._next_candidate()
        if candidate is None:
            return None if self._flying else FINISHED
        self._flying[candidate.number] = candidate.target
        if self._first_unit_at is None:
            self._first_unit_at = self._clock()
        self._say_progress()
        return Unit(
            number=candidate.number,
            rung=candidate.target,
            architecture={} if self._decode is None else self.architecture(candidate).to_dict(),
            directory=self._directory(candidate.number),
            seed=self._settings.seed,
        )

    def _next_candidate(self) -> Candidate | None:
        """What another driver left undone, else a promotion, else something new."""
        for candidate in self._ledger.candidates:
            undone = candidate.state == RUNNING and not candidate.waits
            if undone and candidate.number not in self._flying:
                rung = max(candidate.target, candidate.rung + 1)
                return self._ledger.send(candidate.number, rung, self._clock())
        ending = self._exhausted or self._limits.nothing_new()
        promoted = next_promotion(
            self._ledger.candidates, self._rule, ending=ending,
            forecast=lambda: self._proposer.forecast(self._ledger.candidates),
        )  # fmt: skip
        if promoted is not None:
            return self._ledger.send(promoted.number, promoted.rung + 1, self._clock())
        return None if ending else self._new_candidate()

    def _new_candidate(self) -> Candidate | None:
        while proposals := self._next_design() or self._proposed():
            created = [self._create(proposal) for proposal in proposals][-1]
            if created.state != REJECTED:
                return created
        self._exhausted = True
        return self._next_candidate()

    def _proposed(self) -> list[Proposal]:
        return self._proposer.propose(self._ledger.candidates, self._ledger.next_number)

    def _next_design(self) -> list[Proposal]:
        """The next starting design that is not in the ledger yet."""
        if self._designs is None:
            self._designs = self._proposer.designs(self._settings.most_candidates)
        known = {c.key for c in self._ledger.candidates}
        return next(([d] for d in self._designs if d.key not in known), [])

    def _create(self, proposal: Proposal) -> Candidate:
        number = self._ledger.next_number
        self._keep(number, proposal)
        return self._ledger.create(
            code=proposal.code,
            key=proposal.key,
            layout=proposal.layout,
            origin=proposal.origin,
            figures=proposal.figures,
            target=-1 if proposal.reason else 0,
            rejected=proposal.reason,
            at=self._clock(),
        )

    # --- what an outcome means --------------------------------------------------------------

    def on_outcome(self, outcome: Outcome) -> None:
        """Write an outcome to the ledger and tell it."""
        number, rung = outcome.unit.number, outcome.unit.rung
        self._flying.pop(number, None)
        before = self._ledger.candidates[number]
        at = self._clock()
        if outcome.died and self._begun_again(before, Lost(rung=rung, reason=outcome.error, at=at)):
            return
        self.units_done += 1
        score = RungScore(
            accuracy=outcome.accuracy, seconds=outcome.seconds, images=outcome.images, at=at
        )
        seconds = score.seconds - (before.scores[-1].seconds if before.scores else 0.0)
        if outcome.error or not score.usable:
            reason = outcome.error or "diverged: the accuracy is not a number"
            reason += "; for the second time" if outcome.died else ""
            candidate = self._ledger.fail(number, reason, at)
            if not any(c.scores for c in self._ledger.candidates):
                self._failures.add(candidate.reason)
        else:
            self._images += score.images - (before.scores[-1].images if before.scores else 0)
            candidate = self._ledger.score(number, score)
            if candidate.rung == self._rule.rungs - 1:
                candidate = self._ledger.complete(number)
        self._say(
            UnitDone(
                number=number, rung=rung, rungs=self._rule.rungs, accuracy=candidate.accuracy,
                gflops=candidate.figures.gflops, mparams=candidate.figures.mparams,
                layout=candidate.layout, seconds=seconds, origin=candidate.origin,
                reason=candidate.reason,
            )
        )  # fmt: skip
        self._say_progress()

    def _begun_again(self, candidate: Candidate, lost: Lost) -> bool:
        """Whether a training whose worker died gets its second try, from its last checkpoint.

        A lost node or a victim of the system's memory killer is rarely the candidate's fault.
        """
        if any(before.rung == lost.rung for before in candidate.lost):
            return False
        self._ledger.lose(candidate.number, lost)
        self._say(Note(f"trial {candidate.number}: {lost.reason}; begun again from its last rung"))
        return True

    def settle(self) -> None:
        """Bring the ledger in order after a kill: a candidate with all its scores is complete, one
        that a lost connection to the database left there twice has failed.
        """
        seen: set[str] = set()
        for candidate in self._ledger.candidates:
            if candidate.state == RUNNING and candidate.key in seen:
                self._ledger.fail(candidate.number, "recorded twice", self._clock())
                continue
            seen.add(candidate.key)
            if candidate.state == RUNNING and candidate.rung == self._rule.rungs - 1:
                self._ledger.complete(candidate.number)

    def end(self) -> None:
        """Tell every paused candidate that it goes no further."""
        for candidate in self._ledger.candidates:
            if candidate.state == RUNNING:
                place = f"at rung {candidate.rung}" if candidate.scores else "before rung 0"
                reason = f"stopped {place} of {self._rule.rungs - 1}"
                self._ledger.prune(candidate.number, reason)

    def _say(self, event: Event) -> None:
        if self._tell is not None:
            self._tell(event)

    def _say_progress(self) -> None:
        if self._tell is not None:
            self._tell(self.progress())

    # --- where it stands --------------------------------------------------------------------

    def architecture(self, candidate: Candidate) -> Architecture:
        """The candidate's architecture."""
        assert self._decode is not None
        if candidate.number not in self._architectures:
            self._architectures[candidate.number] = self._decode(candidate.code)
        return self._architectures[candidate.number]

    def _front(self, complete: int) -> tuple[float, list[dict[str, Any]]]:
        """The hypervolume and the front's rows so far; kept while as many are ``complete``."""
        if self._shown is None or self._shown[0] != complete:
            rows: list[dict[str, Any]] = []
            if self._decode is not None:
                rows = front_rows(self._ledger.candidates, self._rule.cost_name, self.architecture)
            members = [row for row in rows if row.get("trial", "") != ""]
            self._shown = complete, self.hypervolume(), members
        return self._shown[1:]

    def hypervolume(self) -> float:
        """Share of the reference box that the finished candidates dominate."""
        return dominated_share(self._ledger.candidates, self._rule.cost_name, self._reference)

    def progress(self) -> Progress:
        """Where the search stands, for whoever shows it."""
        candidates = self._ledger.candidates
        now = self._clock()
        working = 0.0 if self._first_unit_at is None else now - self._first_unit_at
        states = Counter(c.state for c in candidates)
        hypervolume, rows = self._front(states[COMPLETE])
        return Progress(
            trials=self._settings.trials,
            started=len(candidates) - states[REJECTED],
            complete=states[COMPLETE],
            pruned=states[PRUNED],
            failed=states[FAILED],
            rejected=states[REJECTED],
            paused=sum(c.waits for c in candidates),
            running=tuple(sorted(self._flying.items())),
            images_per_s=self._images / working if working else 0.0,
            eta_s=self._seconds_left(),
            elapsed_s=now,
            hypervolume=hypervolume,
            front=rows,
        )

    def _seconds_left(self) -> float | None:
        over, trials = self._limits.seconds_left(), self._settings.trials
        if trials is None:
            return over
        left = work_left(self._ledger.candidates, self._rule, trials)
        return None if left is None else min(over, left / self.workers)
