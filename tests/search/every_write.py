"""A driver without Ray that kills itself, with -9, just before its N-th write.

A write is the commit of a transaction that changed something, a file that is moved into its place,
and, if asked for, a statement that creates a table. Between two of them nothing on the disk changes
that a restart would see.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from contextlib import nullcontext

from closed_form_world import World

from dilnas.search.unit import Finished, Outcome

READY = [
    "alembic.command", "dilnas.report", "dilnas.search.driver", "moocore",
    "optuna.storages._rdb.models", "plotly.offline", "scipy.stats", "tensorboardX", "every_write",
]  # fmt: skip
"""What the children of the fork server find imported."""


def processes():
    """Where the drivers come from: forks of a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(READY)
    return context


def drive(folder, options, at, beat=1000.0):
    """The search in ``folder``, killed before write ``at`` (0: never); its writes to "writes"."""
    writes = 0

    def write(*_):
        nonlocal writes
        writes += 1
        if writes == at:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(write, options.get("tables", False))
    driver = importlib.import_module("dilnas.search.driver")
    driver.run_units = _run_here
    # Proposals are drawn from fewer architectures than else, which takes less time.
    importlib.import_module("dilnas.search.proposer").POOL = 128
    # A beat is a write at a moment of its own.
    for beating in ("clock", "lease"):
        importlib.import_module(f"dilnas.search.{beating}").BEAT_SECONDS = beat
    driver.head_watched = nullcontext
    background = importlib.import_module("dilnas.search.background")
    background.ray_session = lambda *_, **__: nullcontext()
    search = importlib.import_module("dilnas.search").search
    world = World(str(folder / "log.txt"), rungs=options["rungs"], pause=options.get("pause", 0))
    values = {k: v for k, v in options.items() if k not in ("rungs", "tables", "pause")}
    search("smoke", workers=1, out=str(folder / "run"), evaluator=world, **values)
    (folder / "writes").write_text(str(writes))


def _watch(write, tables):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    changed = False

    def statement(connection, cursor, text, *_):
        nonlocal changed
        word = text.split()[0].upper()
        changed |= word in ("INSERT", "UPDATE", "DELETE")
        if tables and word == "CREATE":
            write()

    def commit(_):
        nonlocal changed
        if changed:
            write()
        changed = False

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", commit)
    sys.addaudithook(lambda name, _: write() if name == "os.rename" else None)


def _run_here(next_unit, on_outcome, evaluator, *, poll, **_):
    """In place of Ray: one unit after another, in this process."""
    while not isinstance(unit := next_unit(), Finished):
        poll()
        found = evaluator(unit.architecture, unit.rung, directory=unit.directory, seed=unit.seed)
        if unit.final:
            tested = evaluator.test(unit.architecture, directory=unit.directory)
            found |= {"test_accuracy": tested}
        on_outcome(Outcome(unit=unit, **(found | {"images": int(found["images"])})))
