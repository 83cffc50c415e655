"""A search in simulated time: the product's proposer, ledger, scheduler and loop; only the clock
and the training are stand-ins."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dilnas.bench.world import World
from dilnas.errors import RunError
from dilnas.search.candidate import COMPLETE
from dilnas.search.events import Event
from dilnas.search.ledger import Ledger
from dilnas.search.loop import Loop
from dilnas.search.proposer import Proposer
from dilnas.search.scheduler import rule_for
from dilnas.search.settings import Settings
from dilnas.search.unit import Finished, Outcome, Unit

__all__ = ["SECONDS", "Simulation", "Trace", "simulate"]

SECONDS = 100.0
"""Simulated seconds of a full training."""

ETA = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a simulated search did.

    Attributes:
        codes: (N, A) of the candidates that reached full fidelity, in that order.
        epochs: (N,) full trainings' worth of training that was spent when each did.
        noisy: (N,) the scores that the search saw.
        spent: full trainings' worth in all.
        started: (M, A) codes of all candidates that were trained at all, by number.
        seconds: simulated time at the end.
    """

    codes: Any
    epochs: Any
    noisy: Any
    spent: float
    started: Any
    seconds: float


def simulate(
    world: World, sampler: str, trials: int, seed: int, *, workers: int = 1, storage: Any = None
) -> Trace:
    """Run one search of ``trials`` candidates in ``world``; equal arguments give an equal trace."""
    return Simulation(world, sampler, trials, seed, workers=workers, storage=storage).run()


class Simulation:
    """One search in simulated time, ready to run.

    Args:
        world: where.
        sampler: of ``SAMPLERS``.
        trials: candidates to start.
        seed: of the sampler and of the trainings' noise.
        workers: simulated trainings at once.
        storage: an open Optuna storage for the ledger; None: in memory.
        tell: what the loop tells its events; None: nobody.

    Attributes:
        world, ledger, loop: the pieces.
    """

    def __init__(
        self,
        world: World,
        sampler: str,
        trials: int,
        seed: int,
        *,
        workers: int = 1,
        storage: Any = None,
        tell: Callable[[Event], None] | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        settings = Settings.checked(
            space=world.name, budgets=world.budgets, objectives=("accuracy", world.cost_name),
            trials=trials, time_limit=None, seed=seed, data="none", proxy="none", sampler=sampler,
            storage=None,
        )  # fmt: skip
        self.world = world
        self.ledger = Ledger(
            storage or optuna.storages.InMemoryStorage(), "world", world.domain.axes,
            world.cost_name,
        )  # fmt: skip
        self._clock, self._workers = _Clock(), workers
        self.loop = Loop(
            settings, rule_for(trials, len(world.shares), ETA, world.cost_name), self.ledger,
            Proposer(world.domain, dict(world.budgets), world.cost_name, seed, sampler),
            decode=self._decode if tell else None,
            reference={"error": 1.0, world.cost_name: float(np.exp(world.corner[1]))},
            clock=self._clock, keep=lambda number, proposal: None,
            directory=str, tell=tell,
        )  # fmt: skip
        self.loop.workers = workers

    def _decode(self, code: tuple[int, ...]) -> Any:
        return self.world.domain.member(code).architecture

    def run(self) -> Trace:
        """Run to the end."""
        flying: list[tuple[float, int, Unit]] = []
        done: list[tuple[int, float]] = []
        spent, order, ended = 0.0, 0, False
        while True:
            while len(flying) < self._workers and not ended:
                unit = self.loop.next_unit()
                if isinstance(unit, Finished):
                    ended = True
                elif unit is None:
                    break
                else:
                    order += 1
                    lasts = SECONDS * _share(self.world, unit.rung)
                    heapq.heappush(flying, (self._clock.now + lasts, order, unit))
            if not flying:
                break
            self._clock.now, _, unit = heapq.heappop(flying)
            spent += _share(self.world, unit.rung)
            self.loop.on_outcome(self._outcome(unit))
            if self.ledger.candidates[unit.number].state == COMPLETE:
                done.append((unit.number, spent))
        self.loop.end()
        return _trace(self.ledger, done, spent, self._clock.now)

    def _outcome(self, unit: Unit) -> Outcome:
        share = self.world.shares[unit.rung]
        code = self.ledger.candidates[unit.number].code
        return Outcome(
            unit=unit, accuracy=self.world.score(code, unit.rung, unit.seed),
            seconds=SECONDS * share, images=round(1000 * share),
        )  # fmt: skip


class _Clock:
    """Simulated seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _share(world: World, rung: int) -> float:
    """Of a full training that ``rung`` alone takes."""
    return world.shares[rung] - (world.shares[rung - 1] if rung else 0.0)


def _trace(ledger: Ledger, done: list[tuple[int, float]], spent: float, seconds: float) -> Trace:
    found = ledger.candidates
    if not done:
        raise RunError("no simulated training reached the end")
    return Trace(
        codes=np.array([found[number].code for number, _ in done]),
        epochs=np.array([epochs for _, epochs in done]),
        noisy=np.array([found[number].accuracy for number, _ in done]),
        spent=spent, started=np.array([c.code for c in found if c.scores]), seconds=seconds,
    )  # fmt: skip
