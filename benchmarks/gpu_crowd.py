"""Side by side at the start of a session: what needs no quiet machine, in processes of its own.

    0 s        as many processes as there are cores, while the session's own imports torch
               checks, then memory, then MSDA's kernels, then compiled networks: one queue
    join       their rows are noted as they come; what is not done when time is up is ended
    then       the machine is quiet, and the caches on the disk are warm: timings begin

On a fresh machine each kernel of MSDA takes seconds to compile, one after another minutes; the
cores of a GPU machine do it at once. More processes than cores, each importing torch and starting a
compiler's pool, end nothing in time. A process that dies takes the task along that it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gpu_plan import Plan
from gpu_runner import Runner

__all__ = ["Crowd", "Row", "Task", "Worker", "problems", "wanted"]

SCRIPT = str(Path(__file__).resolve().with_name("gpu_job.py"))
Row = dict[str, Any]

LARGEST = 32
"""Batch that stands for all larger ones: kernels are the same from there on."""

NETWORK_CORES = 4
"""Of torch.compile: its own compiling processes."""

REAPED_S = 2.0
"""How long a killed process may take to be gone."""

PATIENCE_S = 30.0
"""How much longer than everything else compiled networks may take."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One item of a kind that ``gpu_job`` knows. ``cores``: what it keeps busy."""

    kind: str
    item: Any
    cores: int = 1

    def __str__(self) -> str:
        return f"{self.kind}: {self.item}"


@dataclass(kw_only=True)
class Worker:
    """A process that does one task after another. ``task``: what it has not answered yet."""

    process: subprocess.Popen[str]
    cores: int
    task: Task | None = None
    rows: list[Row] = field(default_factory=list)
    last_words: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def start(cls, device: str, limit_s: float, cores: int) -> Worker:
        """Begin; its answers are read by a thread of their own."""
        threads = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": str(cores)}
        process = subprocess.Popen(
            [sys.executable, SCRIPT, json.dumps({"device": device, "limit_s": limit_s})],
            env={**threads, **os.environ}, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # its own children end with it, see ``end``
        )  # fmt: skip
        worker = cls(process=process, cores=cores)
        for stream, keep in ((process.stdout, worker._answer), (process.stderr, worker._say)):
            assert stream is not None
            reader = threading.Thread(target=_read, args=(stream, keep), daemon=True)
            reader.start()
            worker.threads.append(reader)
        return worker

    def _answer(self, line: str) -> None:
        self.rows.append(json.loads(line))

    def _say(self, line: str) -> None:
        self.last_words = [*self.last_words[-20:], line]

    def give(self, task: Task) -> None:
        """The next task; that it has died meanwhile is seen when its end is."""
        self.task = task
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps({"kind": task.kind, "item": task.item}) + "\n")
            self.process.stdin.flush()

    def dismiss(self) -> None:
        """No more tasks."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    @property
    def ready(self) -> bool:
        """Whether it can be given a task."""
        assert self.process.stdin is not None
        return self.task is None and not self.process.stdin.closed

    @property
    def over(self) -> bool:
        """Whether it has ended and everything that it answered was read."""
        return self.process.poll() is not None and not self.threads[0].is_alive()

    def end(self) -> None:
        """Kill it if it runs, and what it has started: that would go on beside the timings."""
        if self.ended:
            return
        self.ended = True
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        # With a limit: a signal's handler may have come in the middle of ``poll``, whose lock an
        # unlimited ``wait`` would then wait for for ever.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(REAPED_S)
        self.threads[1].join(1.0)


def _read(stream: IO[str], keep: Callable[[str], None]) -> None:
    for line in stream:
        try:
            keep(line)
        except ValueError:  # not an answer: the item counts as missing
            continue


class Crowd:
    """Tasks of a session in the order of their worth, on ``most`` cores."""

    def __init__(self, tasks: Iterable[Task], device: str, limit_s: float, most: int) -> None:
        self.tasks = list(tasks)
        self.queue = list(self.tasks)
        self.workers: list[Worker] = []
        self._device, self._limit_s, self._most = device, limit_s, max(most, 1)

    def start(self) -> None:
        """Begin as many as may run; called again while waiting."""
        while self.queue:
            task = self.queue[0]
            idle = [w for w in self.workers if w.ready and w.cores == task.cores]
            if not idle:
                self._dismiss_all_but(task.cores)
                busy = sum(worker.cores for worker in self.workers)
                if self.workers and busy + task.cores > self._most:
                    return
                idle = [Worker.start(self._device, self._limit_s, task.cores)]
                self.workers += idle
            idle[0].give(self.queue.pop(0))
        self._dismiss_all_but(0)

    def _dismiss_all_but(self, cores: int) -> None:
        for worker in self.workers:
            if worker.task is None and worker.cores != cores:
                worker.dismiss()

    def join(self, runner: Runner, note: Callable[[str, Row], None]) -> None:
        """Give ``note`` every row with its task's kind, until all is done or time is up."""
        alone_since = None
        try:
            self._collect(runner, note)
            while (self.queue or self.workers) and runner.time_left() > 0:
                self.start()
                time.sleep(0.02)
                self._collect(runner, note)
                left = [*self.queue, *(w.task for w in self.workers if w.task is not None)]
                if all(task.kind == "networks" for task in left):
                    alone_since = alone_since or time.monotonic()
                    if time.monotonic() - alone_since > PATIENCE_S:
                        break
        finally:
            self.end()
        self._collect(runner, note, crashes=False)
        given = [worker.task for worker in self.workers if worker.task is not None]
        for task in (*given, *self.queue):
            runner.leave_out(str(task), "no time")

    def _collect(self, runner: Runner, note: Callable[[str, Row], None], *,
                 crashes: bool = True) -> None:  # fmt: skip
        """Note what was answered; what a process that ended by itself has left is a failure."""
        for worker in list(self.workers):
            over = worker.over
            while worker.rows and worker.task is not None:
                kind, worker.task = worker.task.kind, None
                row = worker.rows.pop(0)
                if row.pop("last", False):
                    worker.dismiss()  # or the next task would reach it while it ends
                note(kind, row)
            if over and crashes:
                self.workers.remove(worker)
                worker.end()
                if worker.task is not None:
                    self._crashed(runner, worker, worker.task)

    def _crashed(self, runner: Runner, worker: Worker, task: Task) -> None:
        words = "".join(worker.last_words)
        last = words.strip().rpartition("\n")[2][:300]
        runner.leave_out(str(task), f"its process ended: {last}")
        runner.note_failure(str(task), f"exit code {worker.process.returncode}", words)

    def end(self) -> None:
        """Kill what runs: nothing goes on beside a timing, or after the session."""
        for worker in self.workers:
            worker.end()


def wanted(plan: Plan, device: str, sections: Iterable[str]) -> list[Task]:
    """The tasks that the sections need, most valuable first. On a CPU nothing is compiled."""
    names, on_cuda = set(sections), device.startswith("cuda")
    tasks = []
    if "checks" in names:
        tasks += [Task(kind="checks", item=name) for name in plan.checks]
    if "memory" in names:
        tasks += [Task(kind="memory", item=[*each, plan.side]) for each in plan.memory]
    if on_cuda:
        tasks += [Task(kind="kernels", item=problem) for problem in problems(plan)]
    if on_cuda and "compile" in names:
        tasks += [Task(kind="checks", item=name) for name in plan.slow_checks]
        tasks += [
            Task(kind="networks", item=[g.name, g.mode, g.dtype, g.batches[0], plan.side],
                 cores=NETWORK_CORES)
            for g in plan.compiled
        ]  # fmt: skip
    return tasks


def problems(plan: Plan) -> list[list[Any]]:
    """Every problem of MSDA that the plan's own backend meets, once, with gradients first.

    [batch, height, width, heads, head dimension, window, dilations, dtype, train]
    """
    from dilnas.variants import variant

    groups = [g for g in (*plan.sweep, *plan.compiled) if not g.msda]
    met = {(g.name, b, g.dtype, g.mode == "train") for g in groups for b in g.batches}
    met |= {(name, batch, dtype, False) for name, dtype, batch in (*plan.energy, *plan.breakdown)}
    met |= {
        (name, batch, dtype, False)
        for dtype, batch, names in plan.comparisons for name in names if ":" not in name
    }  # fmt: skip
    found: dict[str, list[Any]] = {}
    for name, batch, dtype, train in sorted(met):
        side = plan.side // 4
        for stage in variant(name).stages:
            if stage.msda_depth:
                heads, window = stage.num_heads, stage.window_size
                problem = [
                    min(batch, LARGEST), side, side, heads, stage.dim // heads, window,
                    list(stage.dilations), "fp32" if dtype == "tf32" else dtype, train,
                ]  # fmt: skip
                found[json.dumps(problem)] = problem
            side //= 2
    return sorted(found.values(), key=lambda problem: not problem[-1])
