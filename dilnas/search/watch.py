"""Ends trainings that hang, from the driver: a worker stuck in native code heeds nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dilnas.search.unit import Unit

__all__ = ["watch"]

LOOK_AGAIN = 30.0
"""Seconds after which the limit of a unit that goes on is asked for again."""


def watch(
    running: Mapping[str, Unit], allowed: Callable[[Unit], float], overdue: dict[str, float]
) -> Any:
    """A Tune callback that kills the worker of a unit that runs longer than it is allowed to.

    Its time begins when the worker begins with it, so that starting a worker is not counted. Tune
    then sees a worker die, gives it up and starts another.

    Args:
        running: units by Tune's trial.
        allowed: seconds that a unit may run, as known now.
        overdue: receives the seconds of each trial that was ended.
    """
    import ray
    from ray.tune import Callback

    class Watch(Callback):  # type: ignore[misc, unused-ignore]
        """When each unit began, and when to look at it next."""

        def __init__(self) -> None:
            self._units: dict[str, tuple[float, Any]] = {}
            self._look: dict[str, float] = {}

        def on_trial_start(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            now = time.monotonic()
            self._units[trial.trial_id] = (now, trial.temporary_state.ray_actor)
            self._look[trial.trial_id] = now

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            now = time.monotonic()
            for trial_id, (began, actor) in list(self._units.items()):
                if trial_id not in running:
                    del self._units[trial_id], self._look[trial_id]
                elif now >= self._look[trial_id]:
                    limit = allowed(running[trial_id])
                    self._look[trial_id] = now + min(LOOK_AGAIN, max(0.0, began + limit - now))
                    if now - began > limit:
                        overdue[trial_id] = round(limit, 1)
                        self._look[trial_id] = now + LOOK_AGAIN
                        ray.kill(actor)

    return Watch()
