"""What a search has spent, and on whom: every second of every worker counts once.

A unit of work holds a worker from when it was sent to when the driver heard of its end. An attempt
that never ended (its driver or worker was killed, or interrupted) is work lost, done again later:
it lasted until the ledger last saw its session.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dilnas.search.candidate import (
    COMPLETE,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    Attempt,
    Candidate,
    Session,
)
from dilnas.search.finals import FinalScore, final_attempts, final_scores

__all__ = ["LOST", "TOTAL", "Spent", "Work", "final_work", "gpu_seconds", "spend_table", "work"]

LOST, FINAL, TOTAL = "lost", "final", "total"

ROWS = (COMPLETE, PRUNED, RUNNING, FAILED, REJECTED, LOST, FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt at one unit of work.

    Attributes:
        rung: that it was to train to.
        seconds: for which it held a worker.
        gpus: that the worker had.
        images: trained on; 0 where nothing came back.
        lost: whether it ended without an outcome. False for one that is running now.
    """

    rung: int
    seconds: float
    gpus: float
    images: int
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A row of the table.

    Attributes:
        on: state of the candidates whose units these are; "lost" for work that was killed,
            "final" for the re-training of the front, "total".
        candidates: how many. Those with lost work or re-trained are in another row too, so the
            total does not count them again.
        units: of work, begun.
        worker_seconds: for which they held a worker.
        gpu_seconds: the same times the GPUs of each.
        images: trained on, as far as a result came back.
    """

    on: str
    candidates: int
    units: int
    worker_seconds: float
    gpu_seconds: float
    images: int


def work(candidate: Candidate, sessions: Sequence[Session], now: float) -> list[Work]:
    """All attempts at one candidate, in order.

    Args:
        candidate: one of a ledger.
        sessions: of the same ledger.
        now: seconds of the search so far.
    """
    return [
        *_unwatched(candidate),
        *(_attempt(candidate, place, sessions, now) for place in range(len(candidate.attempts))),
    ]


def _unwatched(candidate: Candidate) -> Iterator[Work]:
    """Units of a ledger that kept no attempts: as long as the training itself."""
    for rung, score in enumerate(candidate.scores):
        if score.at is None:
            before = candidate.scores[rung - 1] if rung else None
            yield Work(
                rung=rung, seconds=score.seconds - (before.seconds if before else 0.0), gpus=0.0,
                images=score.images - (before.images if before else 0), lost=False,
            )  # fmt: skip


def _attempt(candidate: Candidate, place: int, sessions: Sequence[Session], now: float) -> Work:
    attempt = candidate.attempts[place]
    after = candidate.attempts[place + 1] if place + 1 < len(candidate.attempts) else None
    # Of several attempts at a rung only the last can have ended.
    ended = after is None or after.rung != attempt.rung
    score = None
    if ended and attempt.rung < len(candidate.scores):
        score = candidate.scores[attempt.rung]
    images, lost = 0, False
    if score is not None:
        end = attempt.at if score.at is None else score.at
        images = score.images - (candidate.scores[attempt.rung - 1].images if attempt.rung else 0)
    elif ended and candidate.failed_at is not None:
        end = candidate.failed_at
    else:
        end, lost = _last_seen(candidate, place, sessions, now)
    gpus = sessions[attempt.session].gpus if sessions else 0.0
    seconds = max(0.0, end - attempt.at)
    return Work(rung=attempt.rung, seconds=seconds, gpus=gpus, images=images, lost=lost)


def _last_seen(
    candidate: Candidate, place: int, sessions: Sequence[Session], now: float
) -> tuple[float, bool]:
    """When an attempt without an outcome was last known to go on, and whether it is lost."""
    attempt = candidate.attempts[place]
    later = candidate.attempts[place + 1 :]
    upto = later[0].at if later else math.inf
    died = [lost.at for lost in candidate.lost if lost.rung == attempt.rung and lost.at is not None]
    died = [at for at in died if attempt.at <= at <= upto]
    if died:
        return died[0], True
    if later and later[0].session == attempt.session:
        return later[0].at, True
    after = sessions[attempt.session + 1 :]
    return (after[0].at, True) if after else (now, False)


def final_work(
    notes: Mapping[str, Any], sessions: Sequence[Session], now: float
) -> list[tuple[int, Work]]:
    """(candidate's number, attempt) of all re-trainings, from a ledger's notes."""
    ended = {(n, s.seed): s for n, scores in final_scores(notes).items() for s in scores}
    return [
        (whose[0], _final_attempt(attempts, place, ended.get(whose), sessions, now))
        for whose, attempts in final_attempts(notes).items()
        for place in range(len(attempts))
    ]


def _final_attempt(
    attempts: Sequence[Attempt],
    place: int,
    score: FinalScore | None,
    sessions: Sequence[Session],
    now: float,
) -> Work:
    """One attempt at a re-training: only the last can have ended, the others are lost."""
    attempt, later = attempts[place], attempts[place + 1 :]
    after = sessions[attempt.session + 1 :]
    end, images, lost = now, 0, bool(later)
    if later and later[0].session == attempt.session:
        end = later[0].at
    elif not later and score is not None:
        end, images = score.at, score.images
    elif after:
        end, lost = after[0].at, True
    return Work(
        rung=attempt.rung, seconds=max(0.0, end - attempt.at),
        gpus=sessions[attempt.session].gpus if sessions else 0.0, images=images, lost=lost,
    )  # fmt: skip


def gpu_seconds(
    candidates: Sequence[Candidate],
    sessions: Sequence[Session],
    now: float,
    again: Sequence[tuple[int, Work]] = (),
) -> float:
    """GPU-seconds of all attempts, re-trainings ``again`` too, also of those that go on ``now``."""
    spent = sum(w.seconds * w.gpus for c in candidates for w in work(c, sessions, now))
    return spent + sum(w.seconds * w.gpus for _, w in again)


def spend_table(
    candidates: Sequence[Candidate],
    sessions: Sequence[Session],
    now: float,
    again: Sequence[tuple[int, Work]] = (),
) -> list[Spent]:
    """One row for each of ``ROWS``, also where nothing was spent, and their total.

    ``again``: what ``final_work`` gives.
    """
    members: dict[str, set[int]] = {name: set() for name in ROWS}
    done: dict[str, list[Work]] = {name: [] for name in ROWS}
    for candidate in candidates:
        members[candidate.state].add(candidate.number)
        for one in work(candidate, sessions, now):
            row = LOST if one.lost else candidate.state
            members[row].add(candidate.number)
            done[row].append(one)
    for number, one in again:
        row = LOST if one.lost else FINAL
        members[row].add(number)
        done[row].append(one)
    rows = [_spent(name, len(members[name]), done[name]) for name in ROWS]
    return [*rows, _spent(TOTAL, len(candidates), [one for name in ROWS for one in done[name]])]


def _spent(on: str, candidates: int, units: Sequence[Work]) -> Spent:
    return Spent(
        on=on,
        candidates=candidates,
        units=len(units),
        worker_seconds=math.fsum(w.seconds for w in units),
        gpu_seconds=math.fsum(w.seconds * w.gpus for w in units),
        images=sum(w.images for w in units),
    )
