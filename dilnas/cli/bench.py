"""``dilnas bench search``: does the search work, in simulated worlds or on a table of results."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dilnas.bench.world import World

__all__ = ["app"]

app = typer.Typer(
    name="bench", help="What the search is worth, measured.", no_args_is_help=True,
    rich_markup_mode="rich",
)  # fmt: skip


@app.callback()
def _group() -> None:
    """What the search is worth, measured."""


@app.command("search")
def search(
    *,
    world: Annotated[
        list[str] | None,
        typer.Option(
            help="Of small-… and default-… mild, rugged, flat; small-mild@0, small-mild@1, … are "
            "others of a kind; repeat; default: the six."
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="A CSV file of real results instead.", metavar="FILE")
    ] = None,
    axes: Annotated[
        str, typer.Option(help="Its columns that encode the architecture (default: the rest).")
    ] = "",
    accuracy: Annotated[str, typer.Option(help="Its column of the accuracy.")] = "",
    cost: Annotated[str, typer.Option(help="Its column of the cost.")] = "",
    rungs: Annotated[
        str, typer.Option(help="Its accuracies by epochs: acc10:10,acc30:30,accuracy:90.")
    ] = "",
    budget: Annotated[float | None, typer.Option(help="Limit on its cost.")] = None,
    noise: Annotated[
        float, typer.Option(help="Standard deviation added to its accuracies (0..1).")
    ] = 0.0,
    samplers: Annotated[
        str, typer.Option(help="Compared with the first one: ehvi, gp, tpe, nsga2, random.")
    ] = "ehvi,tpe,nsga2,random",
    seeds: Annotated[int, typer.Option(help="Searches of each.", min=1)] = 10,
    trials: Annotated[int, typer.Option(help="Candidates of each search.", min=25)] = 100,
    workers: Annotated[int, typer.Option(help="Simulated workers.", min=1)] = 1,
    with_rungs: Annotated[
        bool,
        typer.Option(
            "--with-rungs", help="Also the first sampler with rungs, beside full trainings of each."
        ),
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes (default: the cores).", min=1)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result as one JSON document on stdout.")
    ] = False,
) -> None:
    """Samplers and schedulers compared where the true front is known.

    Searches run through the product's own ledger, proposer and scheduler; only the training and
    the clock are stand-ins. Regret is the share of the true front's hypervolume that is missing;
    p is Wilcoxon's paired test over seeds (Holm-corrected), A12 the chance that the first wins.

    \b
    Examples:
      dilnas bench search --world small-mild --seeds 5 --trials 50
      dilnas bench search --with-rungs
      dilnas bench search --table results.csv --cost flops --accuracy top1
    """  # fmt: skip
    from rich.console import Console

    from dilnas.bench.comparing import Job, compared, rungs_compared, traces
    from dilnas.bench.shown import comparison_table, document, rung_table
    from dilnas.errors import InputError
    from dilnas.search.settings import SAMPLERS

    names = [name.strip() for name in samplers.split(",") if name.strip()]
    for name in names or [samplers]:
        if name not in SAMPLERS:
            raise InputError(
                "unknown sampler", where="--samplers", expected=" | ".join(SAMPLERS), got=name
            )
    processes = jobs or len(os.sched_getaffinity(0))
    console = Console(stderr=True)
    out = Console(stderr=as_json, width=None if console.is_terminal else 140)
    worlds = _worlds(world, table, axes=axes, accuracy=accuracy, cost=cost, rungs=rungs,
                     budget=budget, noise=noise)  # fmt: skip
    found, rung_rows = [], []
    for full, stepped in worlds:
        with _Progress(console, full.name) as tell:
            found.append(
                compared(full, names, seeds=seeds, trials=trials, workers=workers,
                         processes=processes, tell=tell)
            )  # fmt: skip
        out.print(comparison_table(found[-1]), "")
        if with_rungs and len(stepped.shares) > 1:
            plan = [Job(world=stepped, sampler=names[0], trials=trials, seed=s, workers=workers)
                    for s in range(seeds)]  # fmt: skip
            with _Progress(console, f"{full.name} with rungs") as tell:
                done = traces(plan, processes, tell)
            rung_rows += [rungs_compared(name, whole, done, full)
                          for name, whole in found[-1].traces.items()]  # fmt: skip
    if rung_rows:
        out.print(rung_table(rung_rows))
    if as_json:
        print(json.dumps(document(found, rung_rows), allow_nan=False))


def _worlds(
    names: list[str] | None, table: str | None, *, axes: str, rungs: str, **options: Any
) -> list[tuple[World, World]]:
    """Each world without and with rungs."""
    from dataclasses import replace

    from dilnas.bench.tables import table_world
    from dilnas.bench.worlds import WORLDS, world

    if table is None:
        return [(world(name), world(name, rungs=True)) for name in names or WORLDS]
    stepped = table_world(table, axes=_list(axes), rungs=_list(rungs), **options)
    return [(replace(stepped, shares=(1.0,)), stepped)]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class _Progress:
    """Counts searches on stderr: one line on a terminal, a new one every ten seconds elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name, self._last = console, name, 0.0
        self._status = console.status(name)

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._status.stop()

    def __call__(self, done: int, count: int) -> None:
        text = f"{self._name}: {done} of {count} searches"
        if self._console.is_terminal:
            self._status.update(text)
        elif done == count or time.monotonic() > self._last + 10:
            self._last = time.monotonic()
            self._console.print(text, highlight=False)
