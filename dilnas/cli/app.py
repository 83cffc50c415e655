"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from dilnas.cli.bench import app as bench_app
from dilnas.cli.calibrate import calibrate
from dilnas.cli.compare import compare
from dilnas.cli.export import export
from dilnas.cli.predict import predict
from dilnas.cli.profile import profile
from dilnas.cli.report import report
from dilnas.cli.search import search
from dilnas.cli.space import app as space_app
from dilnas.cli.train import train

__all__ = ["app"]

EXAMPLES = """
\b
Examples:
  dilnas profile --variant base          its cost and speed, measured here
  dilnas compare tiny mine.yaml          which is faster here, beyond noise
  dilnas calibrate --batch-size 8        learn this device, to predict on it
  dilnas predict base --profile NAME     latency and memory, before it runs
  dilnas search --budget-gflops 4        the Pareto front under a budget
  dilnas export runs/NAME --pick knee    one of them, ready for full training
  dilnas train exports/NAME --data DIR   train it by the paper's recipe
  dilnas space show dilateformer         what a search may vary
  dilnas report runs/NAME                a search as a page to pick from
  dilnas report profiles/                measured profiles side by side
  dilnas bench search                    what the search is worth, measured
"""

app = typer.Typer(
    name="dilnas",
    help="Finds the DilateFormer that fits your budget and hardware, and measures it.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from dilnas import __version__

        print(f"dilnas {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback on errors; works after any command.")
    ] = False,
) -> None:
    """Finds the DilateFormer that fits your budget and hardware, and measures it."""


app.command(no_args_is_help=False)(profile)
app.command()(compare)
app.command()(calibrate)
app.command()(predict)
app.command()(search)
app.command()(export)
app.command()(train)
app.command()(report)
app.add_typer(space_app, name="space")
app.add_typer(bench_app, name="bench")
