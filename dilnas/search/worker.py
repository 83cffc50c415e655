"""What runs in a worker process: one evaluator, unit after unit."""

from __future__ import annotations

import math
from typing import Any

from dilnas.errors import DataError, DependencyError, DeviceError, RunError
from dilnas.search.failures import WorkerRuinedError, reason_of, release_memory, ruins_worker
from dilnas.search.threads import torch_threads
from dilnas.search.unit import Evaluator

__all__ = ["worker_class"]

NOT_ITS_FAULT = (DataError, DependencyError, DeviceError, RunError)
"""What ends a training for reasons of the machine's, not of the candidate's: a full disk, say."""


def worker_class() -> Any:
    """The class that Tune runs in a worker process: one step is one unit."""
    from ray import tune

    class Worker(tune.Trainable):  # type: ignore[misc, unused-ignore]
        """Keeps its evaluator, and so torch and the data, between units."""

        def setup(self, config: dict[str, Any], evaluator: Evaluator, threads: int) -> None:
            torch_threads(threads)
            evaluator.describe()  # what a worker lacks (a module, the data) is no candidate's fault
            self._evaluator = evaluator
            self._unit = config["unit"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._unit = new_config["unit"]
            return True

        def step(self) -> dict[str, Any]:
            unit = self._unit
            try:
                metrics = self._evaluator(
                    unit["architecture"], unit["rung"],
                    directory=unit["directory"], seed=unit["seed"],
                )  # fmt: skip
                tested = self._tested(metrics["accuracy"])
            except NOT_ITS_FAULT as error:
                return {"broken": str(error), "done": True}
            except Exception as error:  # noqa: BLE001 - whatever a candidate raises is its result
                reason = reason_of(error)
                if ruins_worker(error):
                    raise WorkerRuinedError(reason) from None
            else:
                reason = ""
            if reason:
                release_memory()
                return {"error": reason, "done": True}
            kept = {name: float(metrics[name]) for name in ("accuracy", "seconds", "images")}
            return {**kept, "test_accuracy": tested, "error": "", "done": True}

        def _tested(self, accuracy: float) -> float:
            """Test accuracy of a re-training that did not diverge, else NaN."""
            unit = self._unit
            if not unit["final"] or not math.isfinite(accuracy):
                return math.nan
            return self._evaluator.test(unit["architecture"], directory=unit["directory"])

    return Worker
