"""``dilnas report``: measured profiles as one table over devices."""

from __future__ import annotations

import sys
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
            help="Profiles: a folder (read with its sub-folders) or files.",
            show_default=False,
        ),
    ],
    *,
    device: Annotated[
        str,
        typer.Option(help="Only devices whose name contains this.", show_default=False),
    ] = "",
    name: Annotated[
        str,
        typer.Option(help="Only networks whose name contains this.", show_default=False),
    ] = "",
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write the rows here too, units in the headings.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="The profiles as one JSON document on stdout, table on stderr."
        ),
    ] = False,
) -> None:
    """Profiles side by side: a table over devices, networks and workloads.

    Reads what dilnas profile --out has written. What the paper prints stands beside its networks,
    and what makes a figure doubtful stands below. A workload that failed is a line that says why.

    \b
    Examples:
      dilnas report profiles/
      dilnas report profiles/ --device h200 --name base --csv base.csv
      dilnas report before.json after.json
    """  # fmt: skip
    from rich.console import Console

    from dilnas.files import write_atomic
    from dilnas.records import load_profiles
    from dilnas.report.chosen import select_profiles, sorted_profiles
    from dilnas.report.devices import devices_view
    from dilnas.report.document import profiles_json
    from dilnas.report.frames import profiles_frame

    _refuse_runs(paths)
    loaded = [profile for path in paths for profile in load_profiles(path)]
    chosen = sorted_profiles(select_profiles(loaded, device=device, name=name))
    console = Console(stderr=as_json, highlight=False)
    width = console.width if console.is_terminal else 120
    Console(stderr=as_json, highlight=False, width=width, soft_wrap=False).print(
        devices_view(chosen, width)
    )
    if as_json:
        print(profiles_json(chosen), flush=True)
    if csv is not None:
        write_atomic(csv, profiles_frame(chosen).to_csv(index=False))
        print(f"written: {csv}", file=sys.stderr)


def _refuse_runs(paths: list[Path]) -> None:
    """A search's directory holds candidates, not profiles."""
    for path in paths:
        if (path / "run.json").is_file() or path.name == "run.json":
            raise InputError(
                "a search's run has its own report.html and front.csv; this reads profiles",
                where=str(path), expected="a folder or file of profiles",
            )  # fmt: skip
