"""A candidate out of the Optuna trial that the ledger keeps it in; the inverse of its writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["candidate_of"]


def candidate_of(trial: FrozenTrial, axes: Sequence[tuple[str, int]]) -> Candidate:
    """The candidate in ``trial``; ``axes`` are (name, number of values), in the code's order.

    Raises RunError for a trial that another program wrote.
    """
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
            code=tuple(int(trial.params[name]) for name, _ in axes),
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
