"""``dilnas search``: options in, a live table while it runs, the front at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dilnas.search.events import SearchResult

__all__ = ["search"]

INTERRUPTED = 130

NOISE_NOTE = (
    "final: mean ± standard deviation of trainings with other seeds, test: the same networks; "
    "noise: = #N, no better than the cheaper #N as far as can be told"
)
ONE_SEED_NOTE = (
    "one training each: the scatter between seeds is not known; noise: = #N, no better than the "
    "cheaper #N beyond the validation split's binomial error"
)


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
    budget_ms: Annotated[
        float | None,
        typer.Option(help="Limit in predicted ms of a batch of the calibration's workload."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Calibration that predicts latency: dilnas calibrate."),
    ] = None,
    img_size: Annotated[
        str | None,
        typer.Option(
            help="Side or HEIGHTxWIDTH that costs are of (default: the space's own); the proxy "
            "trains at its own.",
            show_default=False,
        ),
    ] = None,
    objectives: Annotated[
        str, typer.Option(help="accuracy and one of gflops, mparams, mb, ms.")
    ] = "accuracy,gflops",
    trials: Annotated[
        int | None,
        typer.Option(help="Candidates to train (default: 24, or no end under another limit)."),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="No new training after this, restarts included: 90s, 30m, 2h, seconds."),
    ] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option(help="No new training after this: hours of all workers' GPUs together."),
    ] = None,
    final_seeds: Annotated[
        int | None,
        typer.Option(
            help="Seeds to re-train the front with at the end (default: 3; quick 2, smoke 1).",
            show_default=False,
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            help="End a training, from one rung to the next, after this (default: ten times what "
            "others took, 10m at least)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the proposals and of training.")] = 0,
    data: Annotated[
        str, typer.Option(help="embedded, fashion-mnist, or a folder of images, IDX or CIFAR.")
    ] = "embedded",
    proxy: Annotated[str, typer.Option(help="Training setting: smoke, quick, standard.")] = "quick",
    sampler: Annotated[
        str, typer.Option(help="auto (ehvi), ehvi, gp, tpe, nsga2 or random.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Trainings at once (default: one a CPU core, 8 at most).")
    ] = None,
    gpus_per_trial: Annotated[
        float, typer.Option(help="GPUs, or share of one, for each training.")
    ] = 0,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster that shares this file system.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the ledger (default: SQLite in the run).")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run directory (default: runs/NAME).")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result as one JSON document on stdout.")
    ] = False,
) -> None:
    """Find the architectures under a budget that no other beats in accuracy and cost.

    The same command goes on where it stopped, and does nothing when it had finished.

    \b
    Examples:
      dilnas search --budget-gflops 4
      dilnas search --space dilateformer-mobile --budget-mparams 5
      dilnas search --data photos/ --proxy standard --gpus-per-trial 0.5
      dilnas search --budget-gflops 80 --img-size 800x1280
      dilnas search --budget-ms 300 --profile NAME
    """
    from dilnas.cli.options import seconds_of
    from dilnas.cli.profile_options import image_sides
    from dilnas.cli.search_screen import Screen
    from dilnas.search import search as run

    console = _console(stderr=True)
    screen = Screen(console)
    size = None if img_size is None else image_sides(img_size)
    with screen:
        result = run(
            space, budget_gflops=budget_gflops, budget_mparams=budget_mparams,
            budget_mb=budget_mb, budget_ms=budget_ms, profile=profile,
            img_size=size,
            objectives=tuple(objectives.split(",")), trials=trials,
            time_limit=seconds_of(time_limit, "--time-limit"), gpu_hours=gpu_hours,
            final_seeds=final_seeds, trial_timeout=seconds_of(trial_timeout, "--trial-timeout"),
            seed=seed, data=data,
            proxy=proxy, sampler=sampler, workers=workers, gpus_per_trial=gpus_per_trial,
            address=address, storage=storage, out=out, on_event=screen.show,
        )  # fmt: skip
    if as_json:
        print(json.dumps(_document(result), allow_nan=False))
    _print_end(_console(stderr=as_json), result, size)
    if result.interrupted:
        _print_resume(console, result)
        raise typer.Exit(INTERRUPTED)


def _console(*, stderr: bool) -> Console:
    """A console; wide enough for the table where there is no terminal to ask."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)


def _print_end(console: Console, result: SearchResult, size: tuple[int, int] | None) -> None:
    from rich.text import Text

    from dilnas.cli.search_accounts import growth, spend_table
    from dilnas.cli.search_screen import fitting
    from dilnas.report import audit_notes, audit_table, front_table
    from dilnas.sizes import size_text

    rows = [{k: None if v == "" else v for k, v in row.items()} for row in result.front]
    again = any(row.get("final_accuracy") is not None for row in rows)
    states = [row["state"] for row in result.trials]
    trained = sum(state != "rejected" for state in states)
    found = sum(row.get("trial") is not None for row in rows)
    if rows:
        console.print(front_table(fitting(rows, console.width)))
        console.print(Text(NOISE_NOTE if again else ONE_SEED_NOTE, style="dim"))
        if size is not None:
            console.print(Text(f"costs are of one {size_text(size)} image", style="dim"))
    console.print(
        Text(
            f"{trained} candidates trained, {states.count('complete')} to the end, "
            f"{states.count('failed')} failed, {states.count('rejected')} rejected; "
            f"{found} on the front; hypervolume {result.hypervolume:.4f}"
        )
    )
    if result.history:
        console.print(Text(growth(result.history)))
    console.print(spend_table(result.spend, result.seconds))
    if result.audit.get("lines"):
        console.print(audit_table(result.audit))
        for note in audit_notes(result.audit):
            console.print(Text(note, style="dim"))
    files = "front.csv, trials.csv, spend.csv, audit.json"
    files += ", report.html" if found else ""
    console.print(Text(f"{result.path}: {files}"), soft_wrap=True)
    if found and not result.interrupted:
        console.print(
            Text(f"next: dilnas export {result.path} --pick knee --out DIR"), soft_wrap=True
        )


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
        "seconds": result.seconds,
        "spend": result.spend,
        "history": result.history,
        "audit": result.audit,
        "front": [{k: None if v == "" else v for k, v in row.items()} for row in result.front],
        "trials": [{k: None if v == "" else v for k, v in row.items()} for row in result.trials],
    }
