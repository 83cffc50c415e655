"""Side by side at the start of a session: what needs no quiet machine, in processes of its own.

    0 s        jobs start, one process each, while the session's own imports torch
               checks | memory | MSDA's kernels | compiled networks
    join       their rows are noted as they come; what is not done when time is up is ended
    then       the machine is quiet, and the caches on the disk are warm: timings begin

On a fresh machine each kernel of MSDA takes seconds to compile, one after another minutes; the
cores of a GPU machine do it at once. A job that dies takes nothing but its own items along.
"""

from __future__ import annotations

import json
import os
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

__all__ = ["Crowd", "Job", "Row", "problems", "wanted"]

SCRIPT = str(Path(__file__).resolve().with_name("gpu_job.py"))
Row = dict[str, Any]

LARGEST = 32
"""Batch that stands for all larger ones: kernels are the same from there on."""

KERNEL_JOBS = 12


@dataclass(kw_only=True)
class Job:
    """One process. ``rows``: its answers so far; ``seen``: how many of them were noted."""

    kind: str
    items: list[Any]
    process: subprocess.Popen[str] | None = None
    rows: list[Row] = field(default_factory=list)
    seen: int = 0
    last_words: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, device: str, limit_s: float) -> None:
        """Begin; its answers are read by a thread of their own."""
        request = {"kind": self.kind, "device": device, "items": self.items, "limit_s": limit_s}
        environment = {"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_COMPILE_THREADS": "4", **os.environ}
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, json.dumps(request)], env=environment, text=True,
            encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        for stream, keep in ((self.process.stdout, self._answer), (self.process.stderr, self._say)):
            assert stream is not None
            reader = threading.Thread(target=_read, args=(stream, keep), daemon=True)
            reader.start()
            self.threads.append(reader)

    def _answer(self, line: str) -> None:
        self.rows.append(json.loads(line))

    def _say(self, line: str) -> None:
        self.last_words = [*self.last_words[-20:], line]

    @property
    def over(self) -> bool:
        """Whether it has begun and ended, and everything that it said was read."""
        ended = self.process is not None and self.process.poll() is not None
        return ended and not any(thread.is_alive() for thread in self.threads)

    def end(self) -> None:
        """Kill it if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _read(stream: IO[str], keep: Callable[[str], None]) -> None:
    for line in stream:
        try:
            keep(line)
        except ValueError:  # not an answer: the item counts as missing
            continue


class Crowd:
    """Jobs of a session, at most ``most`` at a time."""

    def __init__(self, jobs: Iterable[Job], device: str, limit_s: float, most: int) -> None:
        self.jobs = list(jobs)
        self._device, self._limit_s, self._most = device, limit_s, max(most, 1)

    def start(self) -> None:
        """Begin as many as may run; called again while waiting."""
        running = sum(job.process is not None and not job.over for job in self.jobs)
        for job in self.jobs:
            if job.process is None and running < self._most:
                job.start(self._device, self._limit_s)
                running += 1

    def join(self, runner: Runner, note: Callable[[str, Row], None]) -> None:
        """Give ``note`` every row with its job's kind, until all is done or time is up."""
        try:
            while not all(job.over for job in self.jobs) and runner.time_left() > 0:
                self.start()
                self._note(note)
                time.sleep(0.05)
        finally:
            self.end()
        self._note(note)
        for job in self.jobs:
            missing = job.items[len(job.rows) :]
            crashed = job.process is not None and (job.process.returncode or 0) not in (0, -9)
            why = "no time"
            if crashed:
                why = f"its process ended: {''.join(job.last_words[-1:]).strip()[:300]}"
            for item in missing:
                runner.leave_out(f"{job.kind}: {item}", why)
            if crashed and missing and job.process is not None:
                text = f"exit code {job.process.returncode}"
                runner.note_failure(f"{job.kind}: {missing[0]}", text, "".join(job.last_words))

    def _note(self, note: Callable[[str, Row], None]) -> None:
        for job in self.jobs:
            while job.seen < len(job.rows):
                row = job.rows[job.seen]
                job.seen += 1
                note(job.kind, row)

    def end(self) -> None:
        """Kill what runs: nothing goes on beside a timing, or after the session."""
        for job in self.jobs:
            job.end()


def wanted(plan: Plan, device: str, sections: Iterable[str], cores: int) -> list[Job]:
    """The jobs that the sections need, the longest first.

    On a CPU nothing is compiled, and checks take turns in one process.
    """
    names, on_cuda, jobs = set(sections), device.startswith("cuda"), []
    if on_cuda and "compile" in names:
        jobs += [
            Job(kind="networks", items=[[g.name, g.mode, g.dtype, g.batches[0], plan.side]])
            for g in plan.compiled
        ]
    if "memory" in names:
        jobs += [Job(kind="memory", items=[[*each, plan.side]]) for each in plan.memory]
    if on_cuda:
        jobs += _dealt("kernels", problems(plan), min(KERNEL_JOBS, cores))
    if "checks" in names:
        checks = [*plan.checks, *(plan.slow_checks if "compile" in names else ())]
        jobs += _dealt("checks", list(checks), min(len(checks), cores) if on_cuda else 1)
    return jobs


def _dealt(kind: str, items: list[Any], hands: int) -> list[Job]:
    """Items like cards to so many jobs."""
    return [Job(kind=kind, items=hand) for i in range(hands) if (hand := items[i::hands])]


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
