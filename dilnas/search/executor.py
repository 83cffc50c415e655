"""Runs units of work on Ray Tune; remembers nothing.

A *unit* is "train candidate N to rung r". Each is one Tune trial of one step in a reused actor, so
a promotion is just another unit and Tune's own state never matters: a restart asks the ledger and
begins a new experiment. Tune's ``Searcher`` here is a door to two functions, its
``TrialScheduler`` runs what is pending.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dilnas.errors import RunError
from dilnas.search.deaths import kept_error, last_line, why_dead
from dilnas.search.unit import Evaluator, Finished, Outcome, Unit
from dilnas.search.watch import watch
from dilnas.search.worker import worker_class

__all__ = ["run_units"]


def run_units(
    next_unit: Callable[[], Unit | Finished | None],
    on_outcome: Callable[[Outcome], None],
    evaluator: Evaluator,
    *,
    poll: Callable[[], None],
    allowed: Callable[[Unit], float],
    workers: int,
    threads: int,
    gpus: float = 0,
    scratch: Path,
) -> None:
    """Run units until ``next_unit`` says ``FINISHED`` and all have ended; needs a Ray session.

    The functions are called in this process and thread, ``poll`` about ten times a second.
    ``next_unit`` returning None means "nothing now". A unit that runs longer than the seconds that
    ``allowed`` gives for it is ended; its outcome says so. An exception that one of them raises
    ends the loop and comes out here; what was being trained is then abandoned. ``scratch`` is
    Tune's folder, removed at the end.

    Raises RunError when a worker cannot start, or a full disk or lost data ends a training: no
    candidate is to blame, the next would fail too.
    """
    from ray import tune

    quiet = logging.getLogger("ray")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    # How many trials may wait for an actor: all workers start at once, not one after another.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    door = _searcher(next_unit, on_outcome, workers)
    shutil.rmtree(scratch, ignore_errors=True)  # of a driver that was killed
    trainable = tune.with_parameters(worker_class(), evaluator=evaluator, threads=threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tune.run(
                trainable, name="units", num_samples=-1, search_alg=door,
                scheduler=_scheduler(door.causes), reuse_actors=True, verbose=0,
                resources_per_trial={"cpu": 1, "gpu": gpus} if gpus else {"cpu": 1},
                storage_path=str(scratch.resolve()), raise_on_failed_trial=False,
                max_failures=0,
                callbacks=[
                    _each_step(door.check, poll), watch(door.running, allowed, door.overdue),
                ],
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
        shutil.rmtree(scratch, ignore_errors=True)


def _searcher(
    next_unit: Callable[[], Unit | Finished | None],
    on_outcome: Callable[[Outcome], None],
    workers: int,
) -> Any:
    from ray.tune.search import Searcher

    class Door(Searcher):  # type: ignore[misc, unused-ignore]
        """Hands units to Tune and outcomes back; at most ``workers`` at once."""

        def __init__(self) -> None:
            super().__init__()
            self.running: dict[str, Unit] = {}
            self.causes: dict[str, Exception | None] = {}
            self.broken: Exception | None = None
            self.overdue: dict[str, float] = {}

        def check(self) -> None:
            if self.broken is not None:
                raise self.broken

        def suggest(self, trial_id: str) -> Any:
            if len(self.running) >= workers:
                return None
            unit = next_unit()
            if unit is None:
                return None
            if isinstance(unit, Finished):
                return Searcher.FINISHED
            self.running[trial_id] = unit
            return {"unit": asdict(unit)}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            unit = self.running.pop(trial_id, None)
            if unit is None:
                return
            if result and "broken" in result:
                self.broken = RunError(
                    f"the search cannot go on: {result['broken']}", where=f"trial {unit.number}"
                )
                return
            if error or not result or "error" not in result:
                cause = self.causes.pop(trial_id, None)
                if getattr(cause, "actor_init_failed", False):
                    self.broken = RunError(
                        f"no worker can start: {last_line(cause)}", where=f"trial {unit.number}"
                    )
                    return
                if trial_id in self.overdue:
                    late = f"timed out after {self.overdue.pop(trial_id):,.10g} s"
                    outcome = Outcome(unit=unit, error=late)
                else:
                    outcome = Outcome(unit=unit, error=why_dead(cause), died=True)
            elif result["error"]:
                outcome = Outcome(unit=unit, error=result["error"])
            else:
                outcome = Outcome(
                    unit=unit, accuracy=result["accuracy"],
                    test_accuracy=result["test_accuracy"],
                    seconds=result["seconds"], images=int(result["images"]),
                )  # fmt: skip
            try:
                on_outcome(outcome)
            except Exception as problem:
                self.broken = problem  # Tune takes it for the trial's and goes on
                raise

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the ledger is the only truth."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing, as above."""

        def get_state(self) -> dict[str, Any]:
            """Nothing, as above."""
            return {}

    return Door()


def _each_step(*calls: Callable[[], None]) -> Any:
    from ray.tune import Callback

    class EachStep(Callback):  # type: ignore[misc, unused-ignore]
        """Calls at every step of Tune's loop; its searcher is not asked while all are busy."""

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            for call in calls:
                call()

    return EachStep()


def _scheduler(causes: dict[str, Exception | None]) -> Any:
    from ray.tune.schedulers import TrialScheduler

    class RunPending(TrialScheduler):  # type: ignore[misc, unused-ignore]
        """First in, first out; a unit is done after its one result."""

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            """Nothing to prepare."""

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            """Keep the exception: the searcher, told next, gets none."""
            causes[trial.trial_id] = kept_error(trial.pickled_error_file)

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            return str(TrialScheduler.STOP)

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None:
            """The searcher hears of it."""

        def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
            """Nothing is kept."""

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            pending = (t for t in tune_controller.get_trials() if t.status == "PENDING")
            return next(pending, None)

        def debug_string(self) -> str:
            return "first in, first out"

    return RunPending()
