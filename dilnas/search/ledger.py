"""The ledger: an Optuna study in its storage, the only truth of a search.

One Optuna trial per distinct candidate. A trial is created whole in one transaction, and every
later fact is one more: killing the driver between two leaves a ledger that says what was done.

| candidate | Optuna state | user attributes |
|---|---|---|
| in training or paused | RUNNING | key, layout, origin, figures, choices, target, attempts, … |
| at full fidelity | COMPLETE, with all objectives | the same |
| stopped at a rung | PRUNED, without objectives | the same, reason |
| failed or rejected | FAIL | the same, reason, rejected, failed_at |

``choices`` is for people who open the study with other tools: parameters are places on an axis,
these are the values there.

The study's own attributes keep the sessions, the time, and what ``note`` is given.

A RUNNING trial whose driver is gone is continued by the next one: same number, same parameters,
from the checkpoint of its last rung.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dilnas.errors import RunError
from dilnas.search.candidate import (
    COMPLETE,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    Attempt,
    Candidate,
    Figures,
    Lost,
    RungScore,
    Session,
)
from dilnas.search.ledger_trial import candidate_of
from dilnas.search.storage import Patience, open_storage, shown_url

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Ledger", "distributions"]


def distributions(axes: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Optuna's ordinal integer distribution of every axis, given as (name, number of values)."""
    from optuna.distributions import IntDistribution

    return {name: IntDistribution(0, length - 1) for name, length in axes}


class Ledger:
    """Candidates of one search, written through to the study at once.

    One driver at a time owns it (the lease); so what was read at the start stays true.

    Args:
        storage: SQLAlchemy URL of the storage, or an open Optuna storage.
        name: name of the study in it; created if it is not there.
        axes: (name, number of values) of the space's axes, in order.
        cost_name: the cost that is minimised beside the accuracy, which is maximised.
        say: told when the database is away and when it is back.
        choices: the value of each axis of a code; kept with a trial, never read again.

    Every method may raise RunError: the database stayed away, or cannot be written.
    """

    def __init__(
        self,
        storage: str | BaseStorage,
        name: str,
        axes: Sequence[tuple[str, int]],
        cost_name: str,
        say: Callable[[str], None] = lambda text: None,
        *,
        choices: Callable[[Sequence[int]], dict[str, Any]] | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._axes = tuple(axes)
        self._cost_name = cost_name
        self._choices = choices
        self._distributions = distributions(axes)
        url = storage if isinstance(storage, str) else type(storage).__name__
        self._where = shown_url(url)
        self._patient = Patience(url, say)
        opened = open_storage(storage, say) if isinstance(storage, str) else storage

        def study() -> Any:
            return optuna.create_study(
                storage=opened,
                study_name=name,
                directions=["maximize", "minimize"],
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
            )

        self._study = self._patient(study)
        with warnings.catch_warnings():
            # Naming the objectives is marked experimental; dashboards show the names.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._patient(lambda: self._study.set_metric_names(["accuracy", cost_name]))
        self._storage: Any = self._study._storage
        self.read()

    # --- reading ----------------------------------------------------------------------------

    def read(self) -> None:
        """Read everything anew."""
        trials = self._trials()
        self._ids = [trial._trial_id for trial in trials]
        self._candidates = [candidate_of(trial, self._axes) for trial in trials]
        self._sessions = [Session(**one) for one in self.notes().get("sessions", ())]

    @property
    def study(self) -> Any:
        """The Optuna study."""
        return self._study

    @property
    def where(self) -> str:
        """Name of the storage, for errors."""
        return self._where

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates, by number."""
        return list(self._candidates)

    @property
    def next_number(self) -> int:
        """Number that the next candidate gets."""
        return len(self._candidates)

    def notes(self) -> dict[str, Any]:
        """What ``note`` has kept with the study."""
        return self._patient(lambda: dict(self._study.user_attrs))

    @property
    def sessions(self) -> list[Session]:
        """The sessions of all drivers, in order; the last is this one's, once it has begun."""
        return list(self._sessions)

    @property
    def ended_at(self) -> int:
        """Candidates that were there when the search last came to its end; 0 if it never did."""
        return int((self.notes().get("finished") or {}).get("candidates", 0))

    def _trials(self) -> list[FrozenTrial]:
        found: list[FrozenTrial] = self._patient(lambda: self._study.get_trials(deepcopy=False))
        return found

    # --- writing ----------------------------------------------------------------------------

    def begin(self, at: float, gpus: float = 0.0) -> None:
        """A driver begins to work, at ``at`` seconds of the search, with ``gpus`` a worker.

        Attempts without an end are lost by this.
        """
        self._sessions.append(Session(at=at, gpus=gpus))
        self.note("sessions", [asdict(session) for session in self._sessions])

    def create(
        self,
        *,
        code: Sequence[int],
        key: str,
        layout: str,
        origin: str,
        figures: Figures,
        target: int = -1,
        rejected: str = "",
        at: float = 0.0,
    ) -> Candidate:
        """A new candidate, to be trained to rung ``target``, or ``rejected`` for that reason.

        ``at``: seconds of the search, here and below.
        """
        from optuna.trial import TrialState, create_trial

        attrs: dict[str, Any] = {
            "key": key, "layout": layout, "origin": origin, "figures": asdict(figures),
            "target": target,
        }  # fmt: skip
        attempts = (self._attempt(target, at),) if target >= 0 else ()
        attrs["attempts"] = [asdict(one) for one in attempts]
        if rejected:
            attrs |= {"rejected": True, "reason": rejected}
        values = [int(value) for value in code]
        if self._choices is not None:
            attrs["choices"] = self._choices(values)
        template = create_trial(
            state=TrialState.FAIL if rejected else TrialState.RUNNING,
            params=dict(zip(self._distributions, values, strict=True)),
            distributions=self._distributions,
            user_attrs=attrs,
        )
        self._ids.append(self._new_trial(template))
        candidate = Candidate(
            number=self.next_number, code=tuple(values), key=key, layout=layout, origin=origin,
            figures=figures, target=target, state=REJECTED if rejected else RUNNING,
            reason=rejected, attempts=attempts,
        )  # fmt: skip
        self._candidates.append(candidate)
        return candidate

    def send(self, number: int, rung: int, at: float = 0.0) -> Candidate:
        """Candidate ``number`` is to be trained to ``rung``."""
        attempts = (*self._candidates[number].attempts, self._attempt(rung, at))
        self._attribute(number, "attempts", [asdict(one) for one in attempts])
        return self._update(number, target=rung, attempts=attempts)

    def _attempt(self, rung: int, at: float) -> Attempt:
        return Attempt(rung=rung, at=at, session=max(0, len(self._sessions) - 1))

    def score(self, number: int, score: RungScore) -> Candidate:
        """Candidate ``number`` has finished its next rung."""
        scores = (*self._candidates[number].scores, score)
        self._attribute(number, "scores", [asdict(s) for s in scores])
        return self._update(number, scores=scores)

    def lose(self, number: int, lost: Lost) -> Candidate:
        """A training of candidate ``number`` ended with its worker and is begun again."""
        losses = (*self._candidates[number].lost, lost)
        self._attribute(number, "lost", [asdict(one) for one in losses])
        return self._update(number, lost=losses)

    def complete(self, number: int) -> Candidate:
        """Candidate ``number`` has its score at full fidelity: tell both objectives."""
        candidate = self._candidates[number]
        values = [candidate.scores[-1].accuracy, candidate.figures.get(self._cost_name)]
        self._tell(number, "COMPLETE", values)
        return self._update(number, state=COMPLETE)

    def prune(self, number: int, reason: str) -> Candidate:
        """Candidate ``number`` goes no further; it has no objectives and is on no front."""
        self._attribute(number, "reason", reason)
        self._tell(number, "PRUNED", None)
        return self._update(number, state=PRUNED, reason=reason)

    def fail(self, number: int, reason: str, at: float = 0.0) -> Candidate:
        """Candidate ``number`` could not be trained."""
        self._attribute(number, "reason", reason)
        self._attribute(number, "failed_at", at)
        self._tell(number, "FAIL", None)
        return self._update(number, state=FAILED, reason=reason, failed_at=at)

    def note(self, name: str, value: Any) -> None:
        """Keep a JSON-able fact with the study."""
        self._patient(lambda: self._study.set_user_attr(name, value))

    def _new_trial(self, template: FrozenTrial) -> int:
        """Id of a new trial. One that a lost connection left behind is taken, not made twice."""
        number = self.next_number

        def made() -> int:
            return int(self._storage.create_new_trial(self._study._study_id, template))

        def found() -> int:
            there = self._study.get_trials(deepcopy=False)[number:]
            return int(there[0]._trial_id) if there else made()

        new = self._patient(made, again=found)
        if self._storage.get_trial_number_from_id(new) != number:
            raise RunError("another process writes to this ledger", where=f"trial {number}")
        return new

    def _attribute(self, number: int, name: str, value: Any) -> None:
        self._patient(lambda: self._storage.set_trial_user_attr(self._ids[number], name, value))

    def _tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        from optuna.trial import TrialState

        def tell() -> None:
            self._storage.set_trial_state_values(self._ids[number], TrialState[state], values)

        def unless_told() -> None:
            if self._study.get_trials(deepcopy=False)[number].state.name != state:
                tell()

        self._patient(tell, again=unless_told)

    def _update(self, number: int, **changes: Any) -> Candidate:
        self._candidates[number] = replace(self._candidates[number], **changes)
        return self._candidates[number]

    def close(self) -> None:
        """Give the database connections back."""
        self._storage.remove_session()
