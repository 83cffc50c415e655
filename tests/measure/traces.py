"""A device whose times have a known truth: relative cost of a call times what the machine adds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dilnas.measure.device import Look, Run
from dilnas.measure.nvml import GpuReading
from dilnas.records import Environment

CALL_S = 0.01
"""Seconds of a call of relative cost 1 on an undisturbed machine."""

Trace = Callable[[random.Random], Iterator[float]]
"""Factors by which the machine slows one run after another."""


def _noise(rng: random.Random) -> float:
    return math.exp(rng.gauss(0, 0.01))


def drift(rng: random.Random) -> Iterator[float]:
    """A machine that becomes slower by 0.2 % a run, steadily."""
    return (_noise(rng) * (1 + 0.002 * i) for i in itertools.count())


def thermal_step(rng: random.Random) -> Iterator[float]:
    """A machine that throttles to 70 % of its clock at some moment and stays there."""
    at = rng.randrange(60, 200)
    return (_noise(rng) * (1 if i < at else 1 / 0.7) for i in itertools.count())


def spikes(rng: random.Random) -> Iterator[float]:
    """One run in ten takes longer, by a Pareto tail of infinite variance."""
    while True:
        yield _noise(rng) * (rng.paretovariate(1.2) if rng.random() < 0.1 else 1)


def bimodal(every: int) -> Trace:
    """A clock that alternates between two speeds, 30 % apart, ``every`` runs."""

    def trace(rng: random.Random) -> Iterator[float]:
        start = rng.randrange(2 * every)
        for i in itertools.count(start):
            yield _noise(rng) * (1.3 if i // every % 2 else 1)

    return trace


def autocorrelated(rng: random.Random) -> Iterator[float]:
    """Noise of 10 % that remembers: AR(1) with a coefficient of 0.95."""
    level = 0.0
    while True:
        level = 0.95 * level + rng.gauss(0, 0.1 * math.sqrt(1 - 0.95**2))
        yield math.exp(level)


TRACES: dict[str, Trace] = {
    "drift": drift,
    "thermal step": thermal_step,
    "spikes": spikes,
    "bimodal, every run": bimodal(1),
    "bimodal, every 7 runs": bimodal(7),
    "bimodal, every 50 runs": bimodal(50),
    "autocorrelated": autocorrelated,
}


class TraceDevice:
    """Runs no time at all: ``call()`` returns its relative cost, the trace gives the factor."""

    name = "cpu"

    def __init__(self, trace: Iterator[float]) -> None:
        self.trace = trace
        self.now = 0.0
        self.looked = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, call: Callable[[], Any]) -> Run:
        seconds = CALL_S * call() * next(self.trace)
        self.now += seconds
        return Run(seconds, seconds)

    def synchronize(self) -> None:
        pass

    def look(self) -> Look:
        self.looked += 1
        return GpuReading(absent="a trace")

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        return []

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        return {}

    def environment(self) -> Environment:
        return Environment(
            device_name="a trace", platform="any", python="3", torch="2", dilnas="0", threads=1
        )
