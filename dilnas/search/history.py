"""How the front grew: the hypervolume after each candidate that was trained to the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dilnas.search.candidate import COMPLETE, Candidate, points

__all__ = ["HistoryRow", "history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """The front after one more candidate.

    Attributes:
        trial: number of the candidate.
        started: candidates that had been sent to training by then, this one included.
        complete: candidates that were trained to the end by then.
        seconds: of the search, all sessions together; None in ledgers that did not keep it.
        hypervolume: share (0..1) of the box up to the reference point that is dominated.
    """

    trial: int
    started: int
    complete: int
    seconds: float | None
    hypervolume: float


def history(
    candidates: Sequence[Candidate], cost_name: str, reference: Mapping[str, float]
) -> list[HistoryRow]:
    """One row a candidate that was trained to the end, in the order of their ends.

    Args:
        candidates: of a ledger.
        cost_name: the cost that is an objective.
        reference: far corner of the box by "error" and ``cost_name``.
    """
    import numpy as np

    from dilnas.cost import hypervolume, pareto_mask

    whole = sorted(
        (c for c in candidates if c.state == COMPLETE), key=lambda c: (_ended(c), c.number)
    )
    sent = np.sort(
        [c.attempts[0].at if c.attempts else -math.inf for c in candidates if c.target >= 0]
    )
    corner = np.array([reference["error"], reference[cost_name]])
    front = np.empty((0, 2))
    rows: list[HistoryRow] = []
    for place, candidate in enumerate(whole):
        front = np.vstack([front, points([candidate], cost_name) / corner])
        front = front[pareto_mask(front)]
        at = candidate.scores[-1].at
        rows.append(
            HistoryRow(
                trial=candidate.number,
                started=int(np.searchsorted(sent, _ended(candidate), side="right")),
                complete=place + 1,
                seconds=at,
                hypervolume=float(hypervolume(front, np.ones(2))),
            )
        )
    return rows


def _ended(candidate: Candidate) -> float:
    """When it ended; before all others where the ledger did not keep that."""
    at = candidate.scores[-1].at
    return -math.inf if at is None else at
