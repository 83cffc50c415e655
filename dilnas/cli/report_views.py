"""What ``dilnas report`` prints and writes, for runs and for profiles."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.errors import DependencyError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from dilnas.report import RunData

__all__ = ["profiles_report", "runs_report"]

COMPARISON = Path("comparison.html")


def profiles_report(
    paths: Sequence[Path],
    *,
    device: str,
    name: str,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Measured profiles as one table over devices."""
    from dilnas.records import load_profiles
    from dilnas.report.chosen import select_profiles, sorted_profiles
    from dilnas.report.devices import devices_view
    from dilnas.report.document import profiles_json

    loaded = [profile for path in paths for profile in load_profiles(path)]
    chosen = sorted_profiles(select_profiles(loaded, device=device, name=name))
    console = _console(as_json, 120)
    console.print(devices_view(chosen, console.width))
    if as_json:
        print(profiles_json(chosen), flush=True)
    if csv is not None or parquet is not None:
        from dilnas.report.frames import profiles_frame

        _write_frame(profiles_frame(chosen), csv, parquet)


def runs_report(
    folders: Sequence[Path],
    *,
    out: Path | None,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
    tensorboard: bool,
) -> None:
    """One run as a page, several compared."""
    from dilnas.runs import RunDirectory

    if out is not None and (out.suffix not in (".html", ".htm") or out.is_dir()):
        raise InputError("must be an HTML file", where="--out", expected="FILE.html", got=str(out))
    runs = [RunDirectory.open(folder) for folder in folders]
    console = _console(as_json, 140)
    if len(runs) == 1:
        from dilnas.report import RunData, write_report

        read = [RunData.of(runs[0])]
        page = write_report(runs[0], out)
        _print_run(console, read[0])
    else:
        from dilnas.report import RunComparison

        compared = RunComparison.of(runs)
        read, page = list(compared.runs), compared.write(out or COMPARISON)
        console.print(compared.table())
        for warning in compared.warnings():
            console.print(_line(warning, "yellow"))
        for setting, *values in compared.differences():
            console.print(_line(f"{setting}: {' | '.join(values)}", "dim"))
    if as_json:
        documents = [_document(data) for data in read]
        print(json.dumps({"dilnas_report": 1, "runs": documents}, allow_nan=False), flush=True)
    if csv is not None or parquet is not None:
        import pandas as pd

        frame = pd.DataFrame([row for one in read for row in one.rows()])
        frame["trial"] = frame["trial"].astype("Int64")  # empty for a variant that was no trial
        _write_frame(frame, csv, parquet)
    print(f"written: {page}", file=sys.stderr)
    if tensorboard:
        from dilnas.report import write_tensorboard

        for run in runs:
            write_tensorboard(run)
            print(f"written: {run.tensorboard}, tensorboard --logdir opens it", file=sys.stderr)


def _print_run(console: Console, data: RunData) -> None:
    from dilnas.cli.search_accounts import growth
    from dilnas.cli.search_screen import fitting
    from dilnas.report import audit_notes, audit_table, front_table
    from dilnas.report.audit import read_audit
    from dilnas.report.front_data import number
    from dilnas.report.run_page import spend_table

    console.print(front_table(fitting(data.front, console.width)))
    console.print(_line(data.picture.summary()))
    if grown := [row for row in data.history if number(row.get("hypervolume")) is not None]:
        console.print(_line(growth(grown)))
    if data.spend:
        console.print(spend_table(data.spend))
    if data.run.audit_json_path.is_file():
        audit = read_audit(data.run)
        console.print(audit_table(audit))
        for note in audit_notes(audit):
            console.print(_line(note, "dim"))
    for warning in (data.so_far, data.profiled.problem):
        if warning:
            console.print(_line(warning, "yellow"))
    if not data.so_far:
        console.print(_line(f"next: dilnas export {data.run.path} --pick knee --out DIR"))


def _document(data: RunData) -> dict[str, Any]:
    settings = dict(data.picture.settings)
    tables = {"spend": data.spend, "history": data.history, "rows": data.rows()}
    return {"path": str(data.run.path), "so_far": bool(data.so_far), "settings": settings, **tables}


def _line(text: str, style: str = "") -> Any:
    from rich.text import Text

    from dilnas.report.footnotes import printable

    return Text(printable(text), style=style)


def _console(as_json: bool, width: int) -> Console:
    """Where tables go: stderr beside a JSON document; ``width`` columns where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    wide = console.width if console.is_terminal else width
    return Console(stderr=as_json, highlight=False, width=wide, soft_wrap=False)


def _write_frame(frame: pd.DataFrame, csv: Path | None, parquet: Path | None) -> None:
    """Write rows as CSV, as Parquet, or both. Raises InputError where a file cannot be written."""
    from dilnas.files import write_atomic, write_with

    if csv is not None:
        write_atomic(csv, frame.to_csv(index=False))
        print(f"written: {csv}", file=sys.stderr)
    if parquet is not None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise DependencyError(
                "Parquet needs pyarrow: pip install pyarrow", where="--parquet"
            ) from error
        with write_with(parquet) as temporary:
            frame.to_parquet(temporary, engine="pyarrow", index=False)
        print(f"written: {parquet}", file=sys.stderr)
