"""Sections that run one after another against a clock; what fails or does not fit is noted.

    |-- section 1 --|-- section 2 --------|-- 3 --| ... |  limit
     gets its share of what is left; what it does not use flows to those after it

A section is stopped softly (it asks ``time_left``), then by an alarm, and a watchdog thread ends
the process when even that does not come through: a GPU kernel cannot be interrupted. Nothing here
knows what is measured. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "DeviceLost", "OutOfTime", "Outcome", "Runner", "Section", "SectionSkipped", "json_text",
    "told", "trace", "write_file",
]  # fmt: skip

ROOT = str(Path(__file__).resolve().parents[1]) + os.sep

ALARM_GRACE_S = 10.0
"""How long a section may go on beyond its share before the alarm."""

WATCHDOG_GRACE_S = 20.0
"""How long after the limit the process is ended."""


class OutOfTime(BaseException):
    """Raised by the alarm within a section that did not stop by itself.

    No ``Exception``: a library that catches those must not swallow it.
    """


class DeviceLost(BaseException):
    """Raised by ``Runner.fail`` when the device answers no more: every later item would fail."""


class SectionSkipped(Exception):  # noqa: N818
    """Raised by a section that cannot run here, with the reason."""


@dataclass(kw_only=True)
class Section:
    """``run(runner)`` does the work. ``weight``: its share against those after it."""

    name: str
    weight: float
    run: Callable[[Runner], None]


@dataclass(kw_only=True)
class Outcome:
    """What became of a section.

    ``status``: "ok", "failed" (it raised, or noted failures), "skipped" (it cannot run here),
    "cut" (stopped by the alarm), "no time" (not begun) or "handed on" (the device was lost before;
    another process does it). ``left_out`` says what of it was not done and why, ``failures`` what
    went wrong within it while the rest went on.
    """

    name: str
    status: str
    seconds: float = 0.0
    allowed_s: float = 0.0
    error: str = ""
    traceback: str = ""
    failures: list[dict[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Runner:
    """Runs sections; ``on_change`` is called after each one and whenever something was kept.

    ``start``: when the session began, on ``clock``; None: now. ``health``: why the device cannot be
    used any more (a CUDA error stays for the whole process), "" while it can.
    """

    def __init__(
        self,
        sections: list[Section],
        *,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        start: float | None = None,
        health: Callable[[], str] = lambda: "",
        say: Callable[[str], None] = print,
        on_change: Callable[[Runner], None] = lambda runner: None,
        grace_s: float = ALARM_GRACE_S,
        smallest_s: float = 1.0,
    ) -> None:
        self.sections = sections
        self.limit_s = limit_s
        self.outcomes: list[Outcome] = []
        self._clock, self._say, self._on_change = clock, say, on_change
        self._alarms = hasattr(signal, "setitimer") and _in_main_thread()
        self._grace_s, self._smallest_s = grace_s, smallest_s
        self._start = clock() if start is None else start
        self._health = health
        self.lost = ""
        self._section_end = limit_s
        self._current: Outcome | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the session began."""
        return self._clock() - self._start

    def time_left(self) -> float:
        """Seconds that the section now running may still use; not above 0 when it should stop."""
        return self._section_end - self.elapsed_s

    def say(self, text: str) -> None:
        """One progress line with the elapsed time."""
        self._say(f"[{self.elapsed_s:6.1f} s] {text}")

    def leave_out(self, what: str, why: str) -> None:
        """Note what is not done, and why."""
        self.say(f"  left out: {what}: {why}")
        if self._current is not None:
            self._current.left_out.append(f"{what}: {why}")

    def fail(self, what: str, error: BaseException) -> None:
        """Note what went wrong within the section, which goes on."""
        self.note_failure(what, told(error), trace(error))
        if why := self._health():
            raise DeviceLost(why)

    def device_trouble(self) -> str:
        """Why the device cannot be used any more, "" while it can."""
        return self._health()

    def note_failure(self, what: str, text: str, traceback_text: str) -> None:
        """The same of what went wrong in another process."""
        self.say(f"  FAILED: {what}: {text.splitlines()[0][:300] if text else '?'}")
        if self._current is not None:
            failure = {"what": what, "error": text, "traceback": traceback_text}
            self._current.failures.append(failure)

    def enough(self, what: str, needs_s: float = 0.0) -> bool:
        """Whether ``needs_s`` more seconds may be used; notes ``what`` as left out if not."""
        if self.time_left() > needs_s:
            return True
        self.leave_out(what, f"no time ({max(self.time_left(), 0):.0f} s left in its section)")
        return False

    def changed(self) -> None:
        """Something was kept: write it."""
        self._on_change(self)

    def run(self) -> None:
        """Every section in order."""
        for i, section in enumerate(self.sections):
            left = self.limit_s - self.elapsed_s
            weights = sum(later.weight for later in self.sections[i:])
            allowed = left * section.weight / weights
            if self.lost:
                outcome = Outcome(name=section.name, status="handed on", error=self.lost)
            elif left <= self._smallest_s:
                outcome = Outcome(name=section.name, status="no time", allowed_s=max(left, 0.0))
                self.say(f"{section.name}: no time left")
            else:
                outcome = self._one(section, allowed)
            self.outcomes.append(outcome)
            self.changed()

    def _one(self, section: Section, allowed_s: float) -> Outcome:
        begin = self.elapsed_s
        self._section_end = begin + allowed_s
        outcome = self._current = Outcome(name=section.name, status="ok", allowed_s=allowed_s)
        self.say(f"{section.name}: up to {allowed_s:.0f} s")
        try:
            with self._alarm(allowed_s + self._grace_s):
                section.run(self)
        except SectionSkipped as reason:
            outcome.status, outcome.error = "skipped", str(reason)
        except OutOfTime:
            outcome.status, outcome.error = "cut", "stopped by the alarm"
        except DeviceLost as why:
            outcome.status, outcome.error = "failed", f"the device was lost: {why}"
        except Exception as error:  # noqa: BLE001 - a session goes on, whatever a section raises
            outcome.status = "failed"
            outcome.error = told(error)
            outcome.traceback = trace(error)
        finally:
            self._current = None
        if outcome.failures and outcome.status == "ok":
            outcome.status = "failed"
            outcome.error = f"{len(outcome.failures)} failed, see failures"
        outcome.seconds = self.elapsed_s - begin
        self.lost = self._health()
        self.say(f"{section.name}: {outcome.status} {outcome.error[:300]}".rstrip())
        return outcome

    @contextmanager
    def _alarm(self, seconds: float) -> Iterator[None]:
        if not self._alarms:
            yield
            return

        def ring(number: int, frame: object) -> None:
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def watch(self, on_end: Callable[[], None]) -> None:
        """End the process with code 3 when it goes on long after the limit, ``on_end`` first."""

        def wait() -> None:
            time.sleep(max(self.limit_s + WATCHDOG_GRACE_S - self.elapsed_s, 0.0))
            if self._current is not None:
                self._current.status, self._current.error = "cut", "ended by the watchdog"
                self.outcomes.append(self._current)
            try:
                on_end()
            finally:
                os._exit(3)

        threading.Thread(target=wait, daemon=True).start()

    def as_dict(self) -> dict[str, Any]:
        """The state as plain data; sections not reached yet are "pending"."""
        done = [asdict(outcome) for outcome in self.outcomes]
        if self._current is not None and len(done) < len(self.sections):
            now = asdict(self._current)
            now["status"] = "running"
            done.append(now)
        rest = [{"name": s.name, "status": "pending"} for s in self.sections[len(done) :]]
        return {
            "limit_s": self.limit_s,
            "elapsed_s": round(self.elapsed_s, 3),
            "sections": [*done, *rest],
        }

    def exit_code(self) -> int:
        """0: nothing failed (what was left out is listed); 1: something did."""
        bad = any(outcome.status in ("failed", "cut") for outcome in self.outcomes)
        return 1 if bad or self.lost else 0


def told(error: BaseException) -> str:
    """Its kind and words, files named from the repository's root."""
    return f"{type(error).__name__}: {error}".strip().replace(ROOT, "")[:2000]


def trace(error: BaseException) -> str:
    """The end of its traceback, files named from the repository's root."""
    text = "".join(traceback.format_exception(error))
    return text.replace(ROOT, "")[-6000:]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def write_file(path: Path, content: str) -> None:
    """Write whole or not at all, also where nothing but Python can be imported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def json_text(data: object) -> str:
    """Readable JSON; what JSON does not know becomes its text."""
    return json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n"
