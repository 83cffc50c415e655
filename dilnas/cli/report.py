"""``dilnas report``: a run as a page, several runs compared, measured profiles as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dilnas.errors import InputError

__all__ = ["report"]


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH…",
            help="A run, several runs, or profiles: folders (with their sub-folders) or files.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page of runs (default: report.html in the run; comparison.html here).",
            metavar="FILE.html",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the runs' curves for TensorBoard too.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(help="Only profiles of devices whose name contains this.", show_default=False),
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            help="Only profiles of networks whose name contains this.", show_default=False
        ),
    ] = "",
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write the rows here too, units in the headings.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(help="The same rows as Parquet.", metavar="FILE", show_default=False),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="All of it as one JSON document on stdout, table on stderr."),
    ] = False,
) -> None:
    """What a search found, or what was measured: a page to look at, tables, CSV and Parquet.

    A run gets one HTML file that works without a network: the front, every trial, the drawing of
    the architecture that you pick, learning curves, which choices matter, what was spent. It can be
    made while the search goes on. Several runs are compared. Profiles (dilnas profile --out) become
    a table over devices, networks and workloads.

    \b
    Examples:
      dilnas report runs/NAME
      dilnas report runs/NAME --csv trials.csv --tensorboard
      dilnas report runs/A runs/B --out comparison.html
      dilnas report profiles/
      dilnas report profiles/ --device h200 --name base --csv base.csv
    """  # fmt: skip
    from dilnas.cli.report_views import profiles_report, runs_report

    runs = [path for path in paths if _is_run(path)]
    if runs and len(runs) < len(paths):
        other = next(path for path in paths if path not in runs)
        raise InputError(
            "runs and profiles cannot be reported together", where=f"{runs[0]} and {other}",
            expected="runs alone, or profiles alone",
        )  # fmt: skip
    if runs:
        _only_for("profiles", {"--device": device, "--name": name})
        folders = [path.parent if path.name == "run.json" else path for path in runs]
        runs_report(folders, out=out, csv=csv, parquet=parquet, as_json=as_json,
                    tensorboard=tensorboard)  # fmt: skip
    else:
        _only_for("a run", {"--out": out, "--tensorboard": tensorboard})
        profiles_report(paths, device=device, name=name, csv=csv, parquet=parquet, as_json=as_json)


def _is_run(path: Path) -> bool:
    """A search's directory, or its run.json."""
    return (path / "run.json").is_file() or (path.name == "run.json" and path.is_file())


def _only_for(what: str, options: dict[str, object]) -> None:
    """Raise InputError for an option that was given and does not belong here."""
    for option, value in options.items():
        if value:
            raise InputError(f"is for {what}", where=option)
