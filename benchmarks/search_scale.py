"""What the driver costs a candidate, with 10 to 10,000 of them in the ledger.

    python benchmarks/search_scale.py            # all sizes, SQLite and in memory

The ledger is filled with candidates of random search in a simulated world with rungs; then the real
loop goes on with its default sampler and 16 simulated workers. Seconds are the driver's own CPU
seconds, so that other load on the machine does not enter; the largest and the mean are printed for
a suggestion (what to do next) and for an outcome (ledger, promotion, progress).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dilnas.bench.simulation import SECONDS, Simulation
from dilnas.bench.worlds import world
from dilnas.search.candidate import COMPLETE, RungScore

WORKERS = 16
MORE = 40
"""Candidates that the loop starts after the ledger was filled."""


def filled(simulation: Simulation, count: int) -> None:
    """``count`` random candidates, 18 % of them complete, the others stopped on their way."""
    here, ledger = simulation.world, simulation.ledger
    codes = here.domain.sample(3 * count + 1000, 1)
    costs = here.domain.costs(codes)["gflops"]
    codes = codes[costs <= here.budgets["gflops"]][:count]
    for number, code in enumerate(codes):
        member = here.domain.member(code)
        candidate = ledger.create(
            code=member.code, key=member.key, layout=member.layout, origin="random",
            figures=member.figures, target=0,
        )  # fmt: skip
        place = number * 37 % 100  # as many go on as the scheduler lets: no backlog to work off
        last = 2 if place < 18 else 1 if place < 30 else 0
        for rung in range(last + 1):
            if rung:
                ledger.send(number, rung)
            score = RungScore(
                accuracy=here.score(candidate.code, rung, 0),
                seconds=SECONDS * here.shares[rung], images=round(1000 * here.shares[rung]),
            )  # fmt: skip
            ledger.score(number, score)
        if last == 2:
            ledger.complete(number)


def measured(count: int, storage: Any) -> dict[str, float]:
    """CPU seconds of the driver for each of the next candidates."""
    here = world("default-mild", rungs=True)
    told: list[Any] = []
    simulation = Simulation(
        here, "auto", count + MORE, 0, workers=WORKERS, storage=storage, tell=told.append
    )
    start = time.process_time()
    filled(simulation, count)
    fill = time.process_time() - start
    asks: list[float] = []
    outcomes: list[float] = []
    loop = simulation.loop
    next_unit, on_outcome = loop.next_unit, loop.on_outcome
    loop.next_unit = lambda: timed(next_unit, asks)  # type: ignore[method-assign]
    loop.on_outcome = lambda outcome: timed(  # type: ignore[method-assign]
        lambda: on_outcome(outcome), outcomes
    )
    before = len(simulation.ledger.candidates)
    simulation.run()
    after = simulation.ledger.candidates
    assert len(after) >= before + MORE
    assert sum(c.state == COMPLETE for c in after) > 0
    return {
        "candidates": count, "fill_s": fill, "ask_mean_s": float(np.mean(asks)),
        "ask_max_s": float(np.max(asks)), "outcome_mean_s": float(np.mean(outcomes)),
        "per_candidate_s": (sum(asks) + sum(outcomes)) / MORE,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def timed(call: Any, seconds: list[float]) -> Any:
    """What ``call`` returns; its CPU seconds are appended to ``seconds``."""
    start = time.process_time()
    try:
        return call()
    finally:
        seconds.append(time.process_time() - start)


def main() -> None:
    """Print a line a size."""
    import optuna
    from optuna.storages import InMemoryStorage, RDBStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--sqlite", action="store_true", help="a ledger in a file, as in a search")
    options = parser.parse_args()
    print("CPU seconds; 16 simulated workers")
    print("candidates  suggestion mean  max   outcome  all, a candidate  peak MB")
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder)}/study.db"
            row = measured(size, RDBStorage(url) if options.sqlite else InMemoryStorage())
        print(
            f"{size:10,}  {row['ask_mean_s']:15.3f}  {row['ask_max_s']:.3f}  "
            f"{row['outcome_mean_s']:7.3f}  {row['per_candidate_s']:16.3f}  {row['peak_mb']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
