"""One call of ``search``: check, prepare, run the loop, write what was found.

    settings -> space report -> data -> lock -> ledger and run.json -> Ray -> loop, re-training ->
    front, audit, report

Nothing is written before the budget, the data and the devices have been checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.errors import DeviceError, RunError
from dilnas.files import remove_leftovers, write_atomic
from dilnas.interrupt import interruptible
from dilnas.lock import check_writable, run_lock
from dilnas.runs import RunDirectory
from dilnas.search.accounts import write_accounts
from dilnas.search.background import RayInBackground
from dilnas.search.candidate import COMPLETE, REJECTED
from dilnas.search.clock import SearchClock
from dilnas.search.cluster import head_watched
from dilnas.search.domain import SpaceDomain
from dilnas.search.evaluator import Description
from dilnas.search.events import Event, Note, Progress, SearchResult
from dilnas.search.executor import run_units
from dilnas.search.head import opened
from dilnas.search.history import HistoryRow, history
from dilnas.search.latency import FrontLatency
from dilnas.search.lease import Lease, held
from dilnas.search.ledger import Ledger
from dilnas.search.limits import Limits, finished
from dilnas.search.live import LiveViews
from dilnas.search.loop import Loop
from dilnas.search.proposer import Proposal, Proposer
from dilnas.search.reporter import Reporter
from dilnas.search.retraining import Retraining, reported
from dilnas.search.scheduler import rule_for
from dilnas.search.settings import Settings, Workplace, default_directory
from dilnas.search.spend import Spent, final_work, spend_table
from dilnas.search.storage import check_storage
from dilnas.search.timeouts import TimeOut
from dilnas.search.unit import Evaluator, Finished, Outcome, Unit
from dilnas.sizes import sides_of

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
    own = sides_of(space.image_size)
    if settings.image_size == own:  # nothing was asked for
        settings = replace(settings, image_size=None)
    size = settings.image_size or own
    latency = FrontLatency.of(settings.profile, space, size)
    report = presearch_report(
        space, Budgets(**settings.budgets), image_size=size, latency=latency.seconds
    )
    run = RunDirectory(Path(out) if out else default_directory(settings))
    check_writable(run.path)
    if settings.storage:
        check_storage(settings.storage)
    with ExitStack() as stack:
        described = evaluator.describe()
        identity = settings.identity(
            space=space.name, fingerprint=space.fingerprint, image_size=size,
            proxy=described.settings, data=described.data, calibration=latency.identity(),
        )  # fmt: skip
        stack.enter_context(run_lock(run.path))
        _tidy(run)
        head = opened(run, settings, identity, report)
        ledger = stack.enter_context(_ledger(run, head, space, settings, tell))
        lease = stack.enter_context(held(ledger.study, ledger.where, lambda text: tell(Note(text))))
        ledger.read()  # what another driver wrote until it was gone
        # Not before everything was found in order: an error is then one line and nothing else.
        tell(Note(_report_text(report), detail=report))
        clock = SearchClock(ledger)
        limits = Limits(settings, ledger, clock)
        ray = RayInBackground(stack, workplace)
        done = finished(ledger, settings, limits) and reported(ledger.notes(), settings)
        if not (done or limits.over()):
            ray.start()
        return _Search(
            settings=settings, described=described, run=run, space=space, ledger=ledger,
            evaluator=evaluator, head=head, clock=clock, limits=limits, lease=lease, tell=tell,
            latency=latency,
        ).go(ray)  # fmt: skip


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
        lease: Lease,
        tell: Tell,
        latency: FrontLatency,
    ) -> None:
        self._settings = settings
        self._run = run
        self._ledger = ledger
        self._evaluator = evaluator
        self._clock = clock
        self._limits = limits
        self._lease = lease
        self._reference = head["reference_point"]
        self._tell = tell
        self._latency = latency
        domain = SpaceDomain(space, latency.predictor, settings.image_size)
        planned = settings.trials or max(24, ledger.next_number)
        self._rule = rule_for(
            planned, described.rungs, described.eta, settings.cost_name, first=ledger.ended_at
        )
        proposer = Proposer(
            domain, settings.budgets, settings.cost_name, settings.seed,
            settings.sampler,
        )  # fmt: skip
        self._loop = Loop(
            settings, self._rule, ledger, proposer,
            decode=space.decode, reference=self._reference,
            clock=clock, keep=self._keep,
            directory=lambda number: str(run.trial_directory(number).resolve()), tell=self._say,
        )  # fmt: skip
        self._retraining = Retraining(
            settings, ledger, limits, rungs=described.rungs, eta=described.eta,
            val_images=described.val_images, architecture=self._loop.architecture,
            directory=lambda number, seed: str(run.final_directory(number, seed).resolve()),
            clock=clock, tell=self._say, progress=self._loop.progress,
        )  # fmt: skip
        self._reporter = Reporter(
            run, ledger, cost_name=settings.cost_name, rungs=described.rungs,
            price=domain.figures, architecture=self._loop.architecture,
            choices=lambda candidate: domain.choices(candidate.code),
            held_out=lambda: self._retraining.held_out,
        )  # fmt: skip
        self._live = LiveViews(run, self._tables, lambda text: self._say(Note(text)))
        self._searched = finished(ledger, settings, limits)

    def _keep(self, number: int, proposal: Proposal) -> None:
        path = self._run.architecture_path(number)
        if proposal.architecture is not None:
            write_atomic(path, proposal.architecture.to_yaml(), kind=RunError)

    def go(self, ray: RayInBackground) -> SearchResult:
        """Run what is left, if anything is, and write the result."""
        self._loop.settle()
        if self._searched and reported(self._ledger.notes(), self._settings):
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
            with interruptible(self._loop.interrupt):
                if not self._limits.over():
                    self._train(ray.ready())
                self._end_trials()
                self._reporter.test(self._evaluator, self._poll)
                self._measure()
        except KeyboardInterrupt:
            self._loop.interrupted = True
            self._clock.beat(now=True)
            return self._result()
        self._clock.beat(now=True)
        self._retraining.end()
        return self._result()

    def _measure(self) -> None:
        """The front's latency, where it was predicted for this machine."""
        if self._latency.predictor is None:
            return
        if why := self._latency.why_not_here():
            self._tell(Note(f"latencies of the front are predicted only: {why}"))
            return
        self._tell(Note("measuring the latency of the front"))
        try:
            self._reporter.measure(self._latency, self._poll)
            if anchor := self._ledger.notes().get("anchor_ms"):
                self._tell(Note(self._latency.pace(anchor)))
        except DeviceError as error:  # of the last thing that a search does: its result stands
            self._tell(Note(f"not all of the front could be measured: {error}"))

    def _next_unit(self) -> Unit | Finished | None:
        """Of the search; when all trials have ended, of the re-training."""
        if not self._searched:
            unit = self._loop.next_unit()
            if not isinstance(unit, Finished):
                return unit
            self._end_trials()
        return self._retraining.next_unit()

    def _end_trials(self) -> None:
        """After this the candidates stay as they are, and so does whom to re-train."""
        if not self._searched:
            self._loop.end()
            self._ledger.note("finished", self._limits.ending())
            self._searched = True

    def _on_outcome(self, outcome: Outcome) -> None:
        part = self._retraining if outcome.unit.final else self._loop
        part.on_outcome(outcome)
        self._live.refresh()

    def _say(self, event: Event) -> None:
        """Tell ``event``; where the search stands, with the re-training in it."""
        if isinstance(event, Progress):
            event = self._retraining.described(event)
            if event.final_units:
                rows = self._reporter.front()
                event = replace(event, front=[r for r in rows if r.get("trial", "") != ""])
        self._tell(event)

    def _poll(self) -> None:
        self._lease.check()
        self._loop.poll()
        self._clock.beat()

    def _train(self, place: Workplace) -> None:
        self._poll()
        self._loop.workers = self._retraining.workers = place.workers or 1
        with head_watched(lambda text: self._tell(Note(text))):
            run_units(
                self._next_unit, self._on_outcome, self._evaluator, poll=self._poll,
                allowed=TimeOut(self._ledger, self._clock, self._settings.trial_timeout),
                workers=place.workers or 1, threads=place.threads, gpus=place.gpus,
                scratch=self._run.path / ".ray",
            )  # fmt: skip

    def _result(self) -> SearchResult:
        """Write the CSV files and the pictures from the ledger, and return what they hold."""
        report = self._reporter
        front, trials, audit = report.front(), report.trials(), report.audit()
        now, spend, grown = self._account()
        report.write(front, trials, audit)
        self._live.curves()
        self._say(self._loop.progress())
        return SearchResult(
            path=str(self._run.path), front=front, trials=trials, audit=audit,
            hypervolume=self._loop.hypervolume(), interrupted=self._loop.interrupted,
            trained=self._loop.units_done + self._retraining.units_done, seconds=now,
            spend=[asdict(row) for row in spend], history=[asdict(row) for row in grown],
        )  # fmt: skip

    def _tables(self) -> None:
        """Write the CSV files as far as the search is."""
        self._account()
        self._reporter.write_tables(self._reporter.front(), self._reporter.trials())

    def _account(self) -> tuple[float, list[Spent], list[HistoryRow]]:
        """Write spend.csv and history.csv; seconds of the search, and their rows."""
        ledger, now = self._ledger, self._clock()
        again = final_work(ledger.notes(), ledger.sessions, now)
        spend = spend_table(ledger.candidates, ledger.sessions, now, again)
        grown = history(ledger.candidates, self._settings.cost_name, self._reference)
        write_accounts(self._run, spend, grown)
        return now, spend, grown


def _tidy(run: RunDirectory) -> None:
    """Remove what drivers and workers that were killed had half written."""
    trials = [run.trial_directory(number) for number in run.trial_numbers()]
    again = [folder for trial in trials for folder in trial.glob("seed-*")]
    for folder in (run.path, *trials, *again):
        remove_leftovers(folder)


@contextmanager
def _ledger(
    run: RunDirectory, head: dict[str, Any], space: SearchSpace, settings: Settings, tell: Tell
) -> Iterator[Ledger]:
    url = settings.storage or f"sqlite:///{run.ledger_path.resolve()}"
    axes = [(axis.name, len(axis)) for axis in space.axes]
    ledger = Ledger(
        url, head["study"], axes, settings.cost_name, say=lambda text: tell(Note(text)),
        choices=SpaceDomain(space).choices,
    )  # fmt: skip
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
