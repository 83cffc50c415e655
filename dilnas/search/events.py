"""What a search says while it runs, as plain data; whoever listens decides how it looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "Note", "Progress", "SearchResult", "UnitDone"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Note(Event):
    """Something to tell the user. ``detail`` is an object to render instead, if it has one."""

    text: str
    detail: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDone(Event):
    """A candidate has ended a rung, or with ``seed`` a re-training at full fidelity.

    ``reason`` is set when it failed instead.
    """

    number: int
    rung: int
    rungs: int
    accuracy: float | None
    gflops: float
    mparams: float
    layout: str
    seconds: float
    origin: str
    reason: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """Where the search stands.

    Attributes:
        trials: candidates to start in all; None when only a time limit ends the search.
        started: candidates sent to training so far.
        complete, pruned, failed, rejected, paused: candidates in that state.
        running: (number, rung) of what is being trained now.
        images_per_s: training images a second, over all workers, in this session.
        eta_s: seconds to the end, estimated; None before the first rung is done.
        hypervolume: share of the box up to the reference point that the front dominates.
        front: the front's rows so far, cheapest first.
        final_units: re-trainings in all, once they have begun; 0 before.
        final_done: those of them that have ended.
    """

    trials: int | None
    started: int
    complete: int
    pruned: int
    failed: int
    rejected: int
    paused: int
    running: tuple[tuple[int, int], ...]
    images_per_s: float
    eta_s: float | None
    elapsed_s: float
    hypervolume: float
    front: list[dict[str, Any]] = field(default_factory=list)
    final_units: int = 0
    final_done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search leaves: its directory and the rows of front.csv and trials.csv.

    Attributes:
        path: the run directory.
        front: rows of front.csv.
        trials: rows of trials.csv.
        hypervolume: share of the box up to the reference point that the front dominates.
        interrupted: ended by Ctrl-C; the same call goes on.
        trained: units of work done by this call; 0 when there was nothing to do.
        seconds: that the search has run, all its sessions together.
        spend: rows of spend.csv.
        history: rows of history.csv.
        audit: what audit.json holds.
    """

    path: str
    front: list[dict[str, Any]]
    trials: list[dict[str, Any]]
    hypervolume: float
    interrupted: bool
    trained: int
    seconds: float = 0.0
    spend: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)
