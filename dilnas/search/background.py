"""Ray starts while the driver prepares itself: each takes seconds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from dilnas.ray_session import ray_session
from dilnas.search.settings import Workplace

__all__ = ["RayInBackground"]


class RayInBackground:
    """A Ray session that starts in the background while the proposer is prepared."""

    def __init__(self, stack: ExitStack, workplace: Workplace) -> None:
        self._stack = stack
        self._workplace = workplace
        self._pending: Any = None

    def start(self) -> None:
        """Begin to start Ray; at most once."""
        if self._pending is None:
            pool = self._stack.enter_context(ThreadPoolExecutor(1))
            self._pending = pool.submit(self._enter)

    def _enter(self) -> Any:
        place = self._workplace
        session = ray_session(place.workers or 1, gpus=place.gpus, address=place.address)
        session.__enter__()
        self._stack.push(session.__exit__)
        return session

    @property
    def gpus(self) -> float:
        """GPUs of each worker."""
        return self._workplace.gpus

    def ready(self) -> Workplace:
        """Wait for Ray; the workplace with its number of workers known."""
        self.start()
        self._pending.result()
        if self._workplace.workers is None:
            import ray

            cluster = ray.cluster_resources()
            slots = cluster.get("CPU", 1)
            if self._workplace.gpus:
                slots = min(slots, cluster.get("GPU", 0) / self._workplace.gpus)
            return replace(self._workplace, workers=max(1, int(slots)))
        return self._workplace
