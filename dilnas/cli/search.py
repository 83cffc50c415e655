"""``dilnas search``: options in, a live table while it runs, the front at the end."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from dilnas.search.events import Event, Progress, SearchResult

__all__ = ["search"]

INTERRUPTED = 130


def search(
    *,
    space: Annotated[str, typer.Option(help="Shipped search space, or a YAML file.")] = (
        "dilateformer"
    ),
    budget_gflops: Annotated[
        float | None, typer.Option(help="Limit in GFLOPs, one multiply-add counting 1.")
    ] = None,
    budget_mparams: Annotated[float | None, typer.Option(help="Limit in 10^6 parameters.")] = None,
    budget_mb: Annotated[
        float | None, typer.Option(help="Limit in MB of weights and activations, fp32, one image.")
    ] = None,
    objectives: Annotated[
        str, typer.Option(help="accuracy and one of gflops, mparams, mb.")
    ] = "accuracy,gflops",
    trials: Annotated[
        int | None,
        typer.Option(help="Candidates to train. [default: 24, or no end under a time limit]"),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="No new training after this: 90s, 30m, 2h, or seconds.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the proposals and of training.")] = 0,
    data: Annotated[
        str, typer.Option(help="embedded, fashion-mnist, or a folder of images, IDX or CIFAR.")
    ] = "embedded",
    proxy: Annotated[str, typer.Option(help="Training setting: smoke, quick, standard.")] = "quick",
    sampler: Annotated[
        str, typer.Option(help="auto (gp, then tpe), gp, tpe, nsga2 or random.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Trainings at once. [default: one a CPU core, 8 at most]")
    ] = None,
    gpus_per_trial: Annotated[
        float, typer.Option(help="GPUs, or share of one, for each training.")
    ] = 0,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster that shares this file system.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the ledger. [default: SQLite in the run]")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run directory. [default: runs/NAME]")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result as one JSON document on stdout.")
    ] = False,
) -> None:
    """Find the architectures under a budget that no other beats in accuracy and cost.

    The same command goes on where it stopped, and does nothing when it had finished.

    Examples:

      dilnas search --budget-gflops 4

      dilnas search --space dilateformer-mobile --budget-gflops 1 --budget-mparams 5

      dilnas search --budget-gflops 4 --data photos/ --proxy standard --gpus-per-trial 0.5
    """
    from dilnas.search import search as run

    console = _console(stderr=True)
    screen = _Screen(console)
    with screen:
        result = run(
            space, budget_gflops=budget_gflops, budget_mparams=budget_mparams,
            budget_mb=budget_mb, objectives=tuple(objectives.split(",")), trials=trials,
            time_limit=_seconds(time_limit), seed=seed, data=data, proxy=proxy, sampler=sampler,
            workers=workers, gpus_per_trial=gpus_per_trial, address=address, storage=storage,
            out=out, on_event=screen.show,
        )  # fmt: skip
    if as_json:
        print(json.dumps(_document(result), allow_nan=False))
    _print_end(_console(stderr=as_json), result)
    if result.interrupted:
        _print_resume(console, result)
        raise typer.Exit(INTERRUPTED)


def _console(*, stderr: bool) -> Console:
    """A console; wide enough for the table where there is no terminal to ask."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)


def _seconds(text: str | None) -> float | None:
    """Seconds of "90", "90s", "30m" or "2h". Raises InputError for anything else."""
    from dilnas.errors import InputError

    if text is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:].lower())
    try:
        return float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        raise InputError(
            "not a time", where="--time-limit", expected="90s | 30m | 2h", got=text
        ) from None


class _Screen:
    """Shows events: a live table on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> _Screen:
        (self._live or nullcontext()).__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*problem)

    def show(self, event: Event) -> None:
        """Show ``event``."""
        from dilnas.search.events import Note, Progress, UnitDone

        if isinstance(event, Note):
            self._console.print(_note(event), highlight=False)
        elif isinstance(event, UnitDone) and (self._live is None or event.reason):
            print(_unit_line(event), file=self._console.file, flush=True)
        elif isinstance(event, Progress) and self._live is not None:
            self._live.update(_live_table(event))


def _note(event: Any) -> RenderableType:
    from dilnas.space_report import SpaceReport

    if isinstance(event.detail, SpaceReport):
        report = event.detail
        lines = [
            f"space   {report.space}: {report.size:,} codes, {report.share_text()}",
            *(
                f"budget  {limit.limit:g} {limit.name}: {limit.share:.1%} within"
                + (", the limit that binds" if limit.name == report.binding else "")
                for limit in report.limits
            ),
            *(
                f"range   {span.minimum:.3g} / {span.median:.3g} / {span.maximum:.3g} {name}"
                " (least, median, most)"
                for name, span in report.ranges.items()
            ),
        ]
        return "\n".join(lines)
    return str(event.text)


def _unit_line(event: Any) -> str:
    place = f"trial {event.number:>3}  rung {event.rung + 1}/{event.rungs}"
    cost = f"{event.gflops:6.3f} GFLOPs {event.mparams:6.2f} MParams"
    if event.reason:
        return f"{place}  failed: {event.reason}"
    return f"{place}  {event.accuracy:7.2%}  {cost}  {event.seconds:6.1f} s  {event.layout}"


def _live_table(p: Progress) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    from dilnas.report import front_table

    counts = Table.grid(padding=(0, 2))
    of = f"/{p.trials}" if p.trials else ""
    running = " ".join(f"{n}→{rung + 1}" for n, rung in p.running) or "–"
    eta = "–" if p.eta_s is None else _clock(p.eta_s)
    counts.add_row("candidates", f"{p.started}{of}", "running (trial→rung)", running)
    counts.add_row(
        "done", f"{p.complete}", "paused / stopped", f"{p.paused} / {p.pruned}",
        "rejected", f"{p.rejected}", "failed", f"{p.failed}",
    )  # fmt: skip
    counts.add_row(
        "images/s", f"{p.images_per_s:.0f}", "elapsed / left", f"{_clock(p.elapsed_s)} / {eta}",
        "hypervolume", f"{p.hypervolume:.4f}",
    )  # fmt: skip
    return Group(counts, front_table(p.front)) if p.front else counts


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _print_end(console: Console, result: SearchResult) -> None:
    from rich.text import Text

    from dilnas.report import front_table

    rows = [{k: None if v == "" else v for k, v in row.items()} for row in result.front]
    states = [row["state"] for row in result.trials]
    trained = sum(state != "rejected" for state in states)
    found = sum(row.get("trial") is not None for row in rows)
    console.print(front_table(rows))
    console.print(
        Text(
            f"{trained} candidates trained, {states.count('complete')} to the end, "
            f"{states.count('failed')} failed, {states.count('rejected')} rejected; "
            f"{found} on the front; hypervolume {result.hypervolume:.4f}"
        )
    )
    console.print(Text(f"{result.path}: front.csv, trials.csv, report.html"))
    if found and not result.interrupted:
        console.print(Text(f"next: dilnas export {result.path} --pick knee --out DIR"))


def _print_resume(console: Console, result: SearchResult) -> None:
    from rich.text import Text

    done = sum(row["state"] == "complete" for row in result.trials)
    console.print(
        Text(
            f"interrupted with {done} candidates done, nothing lost; give the same command to go on"
        )
    )


def _document(result: SearchResult) -> dict[str, Any]:
    return {
        "dilnas_search": 1,
        "path": result.path,
        "interrupted": result.interrupted,
        "trained_units": result.trained,
        "hypervolume": result.hypervolume,
        "front": [{k: None if v == "" else v for k, v in row.items()} for row in result.front],
        "trials": [{k: None if v == "" else v for k, v in row.items()} for row in result.trials],
    }
