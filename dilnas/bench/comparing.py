"""Samplers side by side in one world: the same seeds, the same task, paired statistics."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from dilnas.bench.simulation import Trace, simulate
from dilnas.bench.world import World

__all__ = ["CHECKPOINTS", "Comparison", "Job", "Row", "RungRow", "compared", "rungs_compared"]

CHECKPOINTS = (25, 50, 75, 100, 200, 500)
RANDOM_EVALUATIONS = 500
"""A sampler is asked how many evaluations it needs for what random search has after as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One search to simulate."""

    world: World
    sampler: str
    trials: int
    seed: int
    workers: int = 1

    def __call__(self) -> Trace:
        """Simulate it."""
        return simulate(self.world, self.sampler, self.trials, self.seed, workers=self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sampler in one world, over seeds.

    Attributes:
        sampler: its name.
        regret: (seeds, checkpoints) per cent of the true hypervolume that is missing.
        reach: (seeds,) evaluations until random search's hypervolume after
            ``goal_trials``; infinite where it was not reached.
        igd: (seeds,) IGD+ of all evaluated to the true front, objectives scaled to it.
        p: Wilcoxon's paired test against the first sampler at the last checkpoint, Holm-corrected;
            NaN for the first itself.
        effect: Vargha and Delaney's A: chance that the first sampler's regret is lower; 0.5 equal.
    """

    sampler: str
    regret: Any
    reach: Any
    igd: Any
    p: float = math.nan
    effect: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows of one world, the first sampler first.

    Attributes:
        world: its name.
        checkpoints: evaluations at which regrets are.
        rows: one a sampler.
        traces: by sampler, those of its seeds: what the rows were made from.
    """

    world: str
    checkpoints: tuple[int, ...]
    rows: tuple[Row, ...]
    traces: dict[str, list[Trace]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRow:
    """A search with rungs against one of full trainings in the same world, over seeds.

    Attributes:
        world: its name.
        sampler: of the full trainings; rungs are the first one's.
        regret: (seeds,) of the candidates that reached full fidelity.
        epochs: (seeds,) full trainings' worth that the search with rungs spent.
        full_epochs: (seeds,) what the search of full trainings spent until it had the same
            hypervolume; infinite where it never had.
        full_spent: (seeds,) what it spent in all.
        complete: (seeds,) candidates that reached full fidelity.
    """

    world: str
    sampler: str
    regret: Any
    epochs: Any
    full_epochs: Any
    full_spent: Any
    complete: Any

    @property
    def ratio(self) -> Any:
        """(seeds,) epochs spent over those of full trainings for the same hypervolume.

        Where these never had it, over all that they spent: the ratio is at most that.
        """
        return self.epochs / np.where(self.reached, self.full_epochs, self.full_spent)

    @property
    def reached(self) -> Any:
        """(seeds,) whether full trainings had the same hypervolume before they ended."""
        return np.isfinite(self.full_epochs)


def traces(jobs: Sequence[Job], processes: int, tell: Callable[[int, int], None]) -> list[Trace]:
    """Traces of ``jobs``, in order; ``tell`` hears (done, all)."""
    for world in {id(job.world): job.world for job in jobs}.values():
        _ = world.corner  # found once, here: it travels to the processes with the world
    found: list[Trace | None] = [None] * len(jobs)
    for count, (place, trace) in enumerate(_run(jobs, processes), 1):
        found[place] = trace
        tell(count, len(jobs))
    return [trace for trace in found if trace is not None]


def _run(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, Trace]]:
    if processes == 1:
        yield from ((i, job()) for i, job in enumerate(jobs))
        return
    import multiprocessing

    # Set before the children start: a library's threads would share out the same few cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(job): i for i, job in enumerate(jobs)}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def compared(
    world: World,
    samplers: Sequence[str],
    *,
    seeds: int,
    trials: int,
    workers: int = 1,
    processes: int = 1,
    goal_trials: int = RANDOM_EVALUATIONS,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> Comparison:
    """``samplers`` in ``world``, each with ``seeds`` seeds and ``trials`` full trainings.

    The goal that ``Row.reach`` counts to is random search's after ``goal_trials``.
    """
    names = list(dict.fromkeys(samplers))
    jobs = [
        Job(world=world, sampler=name, trials=trials, seed=seed, workers=workers)
        for name in names
        for seed in range(seeds)
    ]
    jobs += [
        Job(world=world, sampler="random", trials=goal_trials, seed=seed) for seed in range(seeds)
    ]
    found = traces(jobs, processes, tell)
    points = tuple(k for k in CHECKPOINTS if k <= trials)
    goal = float(np.median([world.regret(t.codes) for t in found[-seeds:]]))
    mine = {name: found[i * seeds : (i + 1) * seeds] for i, name in enumerate(names)}
    rows = [_row(world, name, each, points, goal) for name, each in mine.items()]
    return Comparison(world=world.name, checkpoints=points, rows=tuple(_tested(rows)), traces=mine)


def rungs_compared(
    sampler: str, full: Sequence[Trace], rungs: Sequence[Trace], world: World
) -> RungRow:
    """Searches with rungs beside those of full trainings by ``sampler``, paired by seed."""
    needs = []
    for one, other in zip(full, rungs, strict=True):
        goal = world.regret(other.codes)
        needs.append(_evaluations_to(world, one, goal))
    return RungRow(
        world=world.name, sampler=sampler,
        regret=np.array([world.regret(t.codes) for t in rungs]),
        epochs=np.array([t.spent for t in rungs]), full_epochs=np.array(needs),
        full_spent=np.array([t.spent for t in full]),
        complete=np.array([len(t.codes) for t in rungs]),
    )  # fmt: skip


def _row(
    world: World, name: str, found: Sequence[Trace], points: Sequence[int], goal: float
) -> Row:
    return Row(
        sampler=name,
        regret=np.array([[world.regret(t.codes[:k]) for k in points] for t in found]),
        reach=np.array([_evaluations_to(world, t, goal) for t in found]),
        igd=np.array([world.distance(t.codes) for t in found]),
    )


def _evaluations_to(world: World, trace: Trace, goal: float) -> float:
    """Evaluations until the regret is at most ``goal``: it never rises, so halve the interval."""
    low, high = 0, len(trace.codes)
    if world.regret(trace.codes) > goal + 1e-9:
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if world.regret(trace.codes[:middle]) <= goal + 1e-9 else (
            middle, high)  # fmt: skip
    return float(high)


def _tested(rows: list[Row]) -> list[Row]:
    """Rows with the paired test and the effect size against the first."""
    from dataclasses import replace

    from scipy.stats import wilcoxon

    first = rows[0].regret[:, -1]
    raw = []
    for row in rows[1:]:
        gap = row.regret[:, -1] - first
        raw.append(float(wilcoxon(gap).pvalue) if np.any(gap) and len(gap) > 1 else 1.0)
    out = [rows[0]]
    for row, p in zip(rows[1:], _holm(raw), strict=True):
        other = row.regret[:, -1]
        effect = float((first[:, None] < other).mean() + 0.5 * (first[:, None] == other).mean())
        out.append(replace(row, p=p, effect=effect))
    return out


def _holm(raw: Sequence[float]) -> list[float]:
    """Holm's correction of p values for as many tests (1979)."""
    out = [0.0] * len(raw)
    running = 0.0
    for rank, place in enumerate(sorted(range(len(raw)), key=raw.__getitem__)):
        running = max(running, (len(raw) - rank) * raw[place])
        out[place] = min(1.0, running)
    return out
