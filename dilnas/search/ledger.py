"""The ledger: an Optuna study in its storage, the only truth of a search.

One Optuna trial per distinct candidate. A trial is created whole in one transaction, and every
later fact is one more: killing the driver between two leaves a ledger that says what was done.

| candidate | Optuna state | user attributes |
|---|---|---|
| in training or paused | RUNNING | key, layout, origin, figures, target, attempts, scores, lost |
| at full fidelity | COMPLETE, with all objectives | the same |
| stopped at a rung | PRUNED, without objectives | the same, reason |
| failed or rejected | FAIL | the same, reason, rejected, failed_at |

The study's own attributes keep the sessions, the time, and what ``note`` is given.

A RUNNING trial whose driver is gone is continued by the next one: same number, same parameters,
from the checkpoint of its last rung.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Ledger", "check_storage", "distributions", "shown_url"]


def distributions(axes: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Optuna's ordinal integer distribution of every axis, given as (name, number of values)."""
    from optuna.distributions import IntDistribution

    return {name: IntDistribution(0, length - 1) for name, length in axes}


class Ledger:
    """Candidates of one search, written through to the study at once.

    One driver at a time owns it (the run's lock); so what was read at the start stays true.

    Args:
        storage: SQLAlchemy URL of the storage, or an open Optuna storage.
        name: name of the study in it; created if it is not there.
        axes: (name, number of values) of the space's axes, in order.
        cost_name: the cost that is minimised beside the accuracy, which is maximised.
    """

    def __init__(
        self,
        storage: str | BaseStorage,
        name: str,
        axes: Sequence[tuple[str, int]],
        cost_name: str,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._axes = tuple(axes)
        self._cost_name = cost_name
        self._distributions = distributions(axes)
        with _storage_errors(storage if isinstance(storage, str) else type(storage).__name__):
            self._study = optuna.create_study(
                storage=_opened(storage) if isinstance(storage, str) else storage,
                study_name=name,
                directions=["maximize", "minimize"],
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
            )
            with warnings.catch_warnings():
                # Naming the objectives is marked experimental; dashboards show the names.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(["accuracy", cost_name])
            trials = self._study.get_trials(deepcopy=False)
        self._storage: Any = self._study._storage
        self._ids = [trial._trial_id for trial in trials]
        self._candidates = [self._read(trial) for trial in trials]
        self._sessions = [Session(**one) for one in self.notes().get("sessions", ())]

    # --- reading ----------------------------------------------------------------------------

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
        return dict(self._study.user_attrs)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of all drivers, in order; the last is this one's, once it has begun."""
        return list(self._sessions)

    @property
    def ended_at(self) -> int:
        """Candidates that were there when the search last came to its end; 0 if it never did."""
        return int((self.notes().get("finished") or {}).get("candidates", 0))

    def _read(self, trial: FrozenTrial) -> Candidate:
        from optuna.trial import TrialState

        attrs = trial.user_attrs
        try:
            state = {
                TrialState.RUNNING: RUNNING,
                TrialState.COMPLETE: COMPLETE,
                TrialState.PRUNED: PRUNED,
                TrialState.FAIL: REJECTED if attrs.get("rejected") else FAILED,
            }[trial.state]
            attempts = tuple(Attempt(**one) for one in attrs.get("attempts", ()))
            return Candidate(
                number=trial.number,
                code=tuple(int(trial.params[name]) for name, _ in self._axes),
                key=attrs["key"],
                layout=attrs["layout"],
                origin=attrs["origin"],
                figures=Figures(**attrs["figures"]),
                state=state,
                reason=attrs.get("reason", ""),
                scores=tuple(RungScore(**score) for score in attrs.get("scores", ())),
                lost=tuple(Lost(**lost) for lost in attrs.get("lost", ())),
                target=max([attrs.get("target", -1), *(a.rung for a in attempts)]),
                attempts=attempts,
                failed_at=attrs.get("failed_at"),
            )
        except (KeyError, TypeError) as error:
            raise RunError(
                f"the ledger holds a trial that dilnas did not write: {error}",
                where=f"trial {trial.number}",
            ) from error

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
        template = create_trial(
            state=TrialState.FAIL if rejected else TrialState.RUNNING,
            params=dict(zip(self._distributions, values, strict=True)),
            distributions=self._distributions,
            user_attrs=attrs,
        )
        self._ids.append(self._storage.create_new_trial(self._study._study_id, template))
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
        self._study.set_user_attr(name, value)

    def _attribute(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._ids[number], name, value)

    def _tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        from optuna.trial import TrialState

        self._storage.set_trial_state_values(self._ids[number], TrialState[state], values)

    def _update(self, number: int, **changes: Any) -> Candidate:
        self._candidates[number] = replace(self._candidates[number], **changes)
        return self._candidates[number]

    def close(self) -> None:
        """Give the database connections back."""
        self._storage.remove_session()


CONNECT_SECONDS = 10
"""How long a database server may take to answer."""


def _opened(url: str, tries: int = 5) -> Any:
    """Optuna's storage at ``url``; waits for another process that creates its tables just now."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    for left in reversed(range(tries)):
        try:
            return optuna.storages.RDBStorage(url)
        except SQLAlchemyError as error:
            if not left or "already exists" not in str(error):
                raise
        time.sleep(0.5)
    raise AssertionError("unreachable")


def shown_url(url: str) -> str:
    """``url`` without its password, for run.json and for messages."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "--storage"


def check_storage(url: str) -> None:
    """Raise RunError unless the database at ``url`` answers. Writes nothing."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url

    with _storage_errors(url):
        parsed = make_url(url)
        server = parsed.get_backend_name() in ("postgresql", "mysql", "mariadb")
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite(parsed.database or "")
        options = {"connect_timeout": CONNECT_SECONDS} if server else {}
        engine = create_engine(url, connect_args=options)
        try:
            inspect(engine).get_table_names()
        finally:
            engine.dispose()


def _check_sqlite(database: str) -> None:
    """A file that is or can be there; SQLAlchemy would make an empty one while looking."""
    folder = Path(database).parent
    if database in ("", ":memory:"):
        raise RuntimeError("a ledger in memory would be lost; name a file")
    if not folder.is_dir():
        raise RuntimeError(f"{folder} is no folder")
    if not Path(database).exists() and not os.access(folder, os.W_OK):
        raise RuntimeError(f"{folder} cannot be written")


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Turn what SQLAlchemy and Optuna say about a storage into RunError."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OptunaError, ImportError, RuntimeError, ValueError) as error:
        text = str(error).split("\n")[0].replace(url, shown_url(url))
        raise RunError(
            f"the ledger's storage cannot be used: {text}", where=shown_url(url)
        ) from error
