"""One call of ``search``: check, prepare, run the loop, write what was found.

    settings -> space report -> data -> lock -> ledger and run.json -> Ray -> loop -> front, report

Nothing is written before the budget, the data and the devices have been checked.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.errors import RunError
from dilnas.files import remove_leftovers, write_atomic
from dilnas.runs import RunDirectory
from dilnas.search.accounts import write_accounts
from dilnas.search.candidate import COMPLETE, REJECTED, front
from dilnas.search.clock import SearchClock
from dilnas.search.domain import SpaceDomain
from dilnas.search.evaluator import Description
from dilnas.search.events import Event, Note, SearchResult
from dilnas.search.executor import ray_session, run_units
from dilnas.search.head import opened
from dilnas.search.history import history
from dilnas.search.ledger import Ledger
from dilnas.search.limits import Limits, finished
from dilnas.search.lock import check_writable, run_lock
from dilnas.search.loop import Loop
from dilnas.search.proposer import Proposal, Proposer
from dilnas.search.results import trial_rows, write_csv
from dilnas.search.scheduler import rule_for
from dilnas.search.settings import Settings, Workplace, default_directory
from dilnas.search.spend import spend_table
from dilnas.search.storage import check_storage
from dilnas.search.unit import Evaluator

if TYPE_CHECKING:
    from dilnas.space import SearchSpace
    from dilnas.space_report import SpaceReport

__all__ = ["run_search"]

Tell = Callable[[Event], None]


def run_search(
    settings: Settings, workplace: Workplace, evaluator: Evaluator, *, out: str | None, tell: Tell
) -> SearchResult:
    """Run or go on with a search; see ``dilnas.search.search``."""
    from dilnas.space import SearchSpace
    from dilnas.space_report import Budgets, presearch_report

    space = SearchSpace.load(settings.space)
    report = presearch_report(space, Budgets(**settings.budgets))
    run = RunDirectory(Path(out) if out else default_directory(settings))
    check_writable(run.path)
    if settings.storage:
        check_storage(settings.storage)
    with ExitStack() as stack:
        described = evaluator.describe()
        identity = settings.identity(
            space=space.name, fingerprint=space.fingerprint,
            proxy=described.settings, data=described.data,
        )  # fmt: skip
        stack.enter_context(run_lock(run.path))
        _tidy(run)
        head = opened(run, settings, identity, report)
        ledger = stack.enter_context(_ledger(run, head, space, settings, tell))
        # Not before everything was found in order: an error is then one line and nothing else.
        tell(Note(_report_text(report), detail=report))
        clock = SearchClock(ledger)
        limits = Limits(settings, ledger, clock)
        ray = _Ray(stack, workplace)
        if not (finished(ledger, settings, limits) or limits.over()):
            ray.start()
        return _Search(
            settings=settings, described=described, run=run, space=space, ledger=ledger,
            evaluator=evaluator, head=head, clock=clock, limits=limits, tell=tell,
        ).go(ray)  # fmt: skip


class _Ray:
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


class _Search:
    """The pieces of one call, put together."""

    def __init__(
        self,
        *,
        settings: Settings,
        described: Description,
        run: RunDirectory,
        space: SearchSpace,
        ledger: Ledger,
        evaluator: Evaluator,
        head: dict[str, Any],
        clock: SearchClock,
        limits: Limits,
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._run = run
        self._ledger = ledger
        self._evaluator = evaluator
        self._clock = clock
        self._limits = limits
        self._reference = head["reference_point"]
        self._tell = tell
        self._cost_name = settings.cost_name
        planned = settings.trials or max(24, ledger.next_number)
        self._rule = rule_for(
            planned, described.rungs, described.eta, settings.cost_name, first=ledger.ended_at
        )
        proposer = Proposer(
            SpaceDomain(space), settings.budgets, settings.cost_name, settings.seed,
            settings.sampler,
        )  # fmt: skip
        self._loop = Loop(
            settings, self._rule, ledger, proposer,
            decode=space.decode, reference=self._reference,
            image_size=space.image_size, clock=clock, keep=self._keep,
            directory=lambda number: str(run.trial_directory(number).resolve()), tell=tell,
        )  # fmt: skip

    def _keep(self, number: int, proposal: Proposal) -> None:
        path = self._run.architecture_path(number)
        if proposal.architecture is not None:
            write_atomic(path, proposal.architecture.to_yaml(), kind=RunError)

    def go(self, ray: _Ray) -> SearchResult:
        """Run what is left, if anything is, and write the result."""
        self._loop.settle()
        if finished(self._ledger, self._settings, self._limits):
            self._tell(Note(f"nothing to do: {self._run.path} has finished{self._limits.advice()}"))
            return self._result()
        known = [c for c in self._ledger.candidates if c.state != REJECTED]
        if known:
            done = sum(c.state == COMPLETE for c in known)
            self._tell(
                Note(f"going on with {self._run.path}: {len(known)} candidates, {done} done")
            )
        self._ledger.begin(self._clock.before, ray.gpus)
        try:
            with _interruptible(self._loop):
                if not self._limits.over():
                    self._train(ray.ready())
                self._loop.end()
                self._test()
        except KeyboardInterrupt:
            self._loop.interrupted = True
            self._clock.beat(now=True)
            return self._result()
        self._clock.beat(now=True)
        self._ledger.note("finished", self._limits.ending())
        return self._result()

    def _poll(self) -> None:
        self._loop.poll()
        self._clock.beat()

    def _train(self, place: Workplace) -> None:
        self._poll()
        self._loop.workers = place.workers or 1
        run_units(
            self._loop.next_unit, self._loop.on_outcome, self._evaluator, poll=self._poll,
            workers=place.workers or 1, threads=place.threads, gpus=place.gpus,
            scratch=self._run.path / ".ray",
        )  # fmt: skip

    def _test(self) -> None:
        """Score the front and the paper's variants on the test split; kept with the ledger."""
        candidates = self._ledger.candidates
        wanted = front(candidates, self._cost_name)
        wanted += [c for c in candidates if c.state == COMPLETE and c.origin == "variant"]
        tested = self._tested()
        for candidate in wanted:
            self._poll()
            if candidate.number not in tested:
                tested[candidate.number] = self._evaluator.test(
                    self._loop.architecture(candidate).to_dict(),
                    directory=str(self._run.trial_directory(candidate.number)),
                )
        self._ledger.note("test_accuracy", {str(n): v for n, v in tested.items()})

    def _tested(self) -> dict[int, float]:
        kept = self._ledger.notes().get("test_accuracy", {})
        return {int(number): float(value) for number, value in kept.items()}

    def _result(self) -> SearchResult:
        """Write the CSV files and the picture from the ledger, and return what they hold."""
        rows = self._loop.rows(self._tested())
        trials = trial_rows(self._ledger.candidates, self._cost_name)
        write_csv(self._run, rows, trials)
        now = self._clock()
        spend = spend_table(self._ledger.candidates, self._ledger.sessions, now)
        grown = history(self._ledger.candidates, self._cost_name, self._reference)
        write_accounts(self._run, spend, grown)
        if any(row.get("trial", "") != "" for row in rows):
            from dilnas.report import write_front_html, write_front_svg

            write_front_html(self._run)
            write_front_svg(self._run)
        self._tell(self._loop.progress())
        return SearchResult(
            path=str(self._run.path), front=rows, trials=trials,
            hypervolume=self._loop.hypervolume(), interrupted=self._loop.interrupted,
            trained=self._loop.units_done, seconds=now,
            spend=[asdict(row) for row in spend], history=[asdict(row) for row in grown],
        )  # fmt: skip


def _tidy(run: RunDirectory) -> None:
    """Remove what drivers and workers that were killed had half written."""
    for folder in (run.path, *map(run.trial_directory, run.trial_numbers())):
        remove_leftovers(folder)


@contextmanager
def _interruptible(loop: Loop) -> Iterator[None]:
    """First Ctrl-C: the loop stops at its next step, between two writes. Second: at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        loop.interrupted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _ledger(
    run: RunDirectory, head: dict[str, Any], space: SearchSpace, settings: Settings, tell: Tell
) -> Iterator[Ledger]:
    url = settings.storage or f"sqlite:///{run.ledger_path.resolve()}"
    axes = [(axis.name, len(axis)) for axis in space.axes]
    ledger = Ledger(url, head["study"], axes, settings.cost_name, say=lambda text: tell(Note(text)))
    try:
        yield ledger
    finally:
        ledger.close()


def _report_text(report: SpaceReport) -> str:
    """The space and the budget in a line."""
    text = f"{report.space}: {report.size:,} codes, {report.share_text()}"
    if report.binding is not None and not math.isclose(report.share, 1.0):
        text += f"; {report.binding} binds"
    return text
