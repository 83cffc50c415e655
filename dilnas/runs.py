"""A search's directory on disk: what lies where, read without torch and without Optuna.

    runs/NAME/run.json                     the search: space, budgets, objectives, proxy, seed, …
    runs/NAME/study.db                     the ledger (Optuna), unless another storage was given
    runs/NAME/trials/N/architecture.yaml   candidate N, from the moment it was proposed
    runs/NAME/trials/N/…                   its checkpoint and curve
    runs/NAME/trials/N/seed-S/…            the same of its re-training with seed S
    runs/NAME/front.csv, trials.csv        the result, for people and pandas
    runs/NAME/audit.json                   how well the cheap scores rank candidates
    runs/NAME/spend.csv, history.csv       what it took; how the front grew
    runs/NAME/report.html                  the report
    runs/NAME/tensorboard/trial-N/…        its curve, as TensorBoard reads it

The search room writes it; every other room reads it through ``RunDirectory`` and ``resolve``.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, RunError
from dilnas.files import read_text
from dilnas.variants import VARIANTS

__all__ = ["RunDirectory", "load_architecture", "read_table", "resolve"]


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and contents of one search's directory."""

    path: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The run at ``path``. Raises RunError where there is none."""
        run = cls(Path(path))
        if not run.run_json_path.is_file():
            raise RunError("no search was run here: run.json is missing", where=str(path))
        return run

    @property
    def run_json_path(self) -> Path:
        """Settings of the search."""
        return self.path / "run.json"

    @property
    def ledger_path(self) -> Path:
        """SQLite file of the ledger."""
        return self.path / "study.db"

    @property
    def front_csv(self) -> Path:
        """Non-dominated full-fidelity trials, one a row, cheapest first."""
        return self.path / "front.csv"

    @property
    def trials_csv(self) -> Path:
        """Every candidate, one a row."""
        return self.path / "trials.csv"

    @property
    def spend_csv(self) -> Path:
        """What was spent on whom."""
        return self.path / "spend.csv"

    @property
    def history_csv(self) -> Path:
        """Hypervolume after each candidate that was trained to the end."""
        return self.path / "history.csv"

    @property
    def audit_json_path(self) -> Path:
        """Rank correlations of the scores that a search goes by."""
        return self.path / "audit.json"

    @property
    def report_html(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """Folder that TensorBoard opens."""
        return self.path / "tensorboard"

    @property
    def front_svg(self) -> Path:
        """The front as a small picture."""
        return self.path / "front.svg"

    def trial_directory(self, number: int) -> Path:
        """Folder of candidate ``number``."""
        return self.path / "trials" / str(number)

    def final_directory(self, number: int, seed: int) -> Path:
        """Folder of the re-training of candidate ``number`` with ``seed``."""
        return self.trial_directory(number) / f"seed-{seed}"

    def architecture_path(self, number: int) -> Path:
        """Architecture file of candidate ``number``."""
        return self.trial_directory(number) / "architecture.yaml"

    def run_json(self) -> dict[str, Any]:
        """Settings of the search as written. Raises RunError if they are damaged."""
        try:
            data = json.loads(read_text(self.run_json_path, kind=RunError))
        except ValueError as error:
            raise RunError(f"not JSON: {error}", where=str(self.run_json_path)) from error
        if not isinstance(data, dict):
            raise RunError("must hold a JSON object", where=str(self.run_json_path))
        return data

    def architecture(self, number: int) -> Architecture:
        """Candidate ``number``. Raises RunError naming the candidates there are."""
        path = self.architecture_path(number)
        if not path.is_file():
            raise RunError(
                "no such trial", where=f"{self.path}#{number}", expected=self._numbers_shown()
            )
        return load_architecture(path)

    def trial_numbers(self) -> list[int]:
        """Numbers of the candidates with a folder, ascending."""
        folder = self.path / "trials"
        names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else iter(())
        return sorted(int(name) for name in names if name.isdigit())

    def front_rows(self) -> list[dict[str, Any]]:
        """Rows of front.csv, numbers as numbers, empty cells as None."""
        return read_table(self.front_csv)

    def trial_rows(self) -> list[dict[str, Any]]:
        """Rows of trials.csv, numbers as numbers, empty cells as None."""
        return read_table(self.trials_csv)

    def _numbers_shown(self) -> str:
        numbers = self.trial_numbers()
        return f"0..{numbers[-1]}" if numbers else "a trial; none was run yet"


def load_architecture(path: str | os.PathLike[str]) -> Architecture:
    """The architecture in a YAML or JSON file. Raises ArchitectureError naming the file."""
    text = read_text(path, kind=ArchitectureError)
    parse = Architecture.from_json if Path(path).suffix == ".json" else Architecture.from_yaml
    try:
        return parse(text)
    except ArchitectureError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise ArchitectureError(
            error.rule, where=where, expected=error.expected, got=error.got
        ) from None


def resolve(spec: str) -> tuple[str, Architecture]:
    """Name and architecture that ``spec`` stands for: a variant, a file, or ``RUN#N``.

    Raises ArchitectureError or RunError saying which of these it is not.
    """
    if spec in VARIANTS:
        return spec, VARIANTS[spec]
    folder, mark, number = spec.rpartition("#")
    if mark and folder:
        if not (number.isdecimal() and len(number) < 10):
            raise RunError("a trial number must follow #", where=spec, got=number)
        return spec, RunDirectory.open(folder).architecture(int(number))
    if os.path.isfile(os.path.join(spec, "architecture.yaml")):  # noqa: PTH113, PTH118 - never raises
        return spec, load_architecture(Path(spec) / "architecture.yaml")
    if os.path.exists(spec) or Path(spec).suffix in {".yaml", ".yml", ".json"}:  # noqa: PTH110
        return Path(spec).stem, load_architecture(spec)
    raise ArchitectureError(
        "unknown architecture", where=repr(spec),
        expected=f"{' | '.join(VARIANTS)} | FILE.yaml | RUN#N",
    )  # fmt: skip


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's CSV file, numbers as numbers, empty cells as None. Raises RunError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {k: _cell(k, v) for k, v in row.items() if k is not None}
                for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise RunError(
            f"cannot be read: {error.strerror or error}; has the search finished?", where=str(path)
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunError("not a CSV file", where=str(path)) from error


TEXT_COLUMNS = frozenset(
    ("state", "reason", "layout", "dims", "depths", "dilations", "windows", "key", "origin",
     "reference", "architecture_file", "rung_scores", "final_scores",
     "final_failed", "membership", "selected_by", "choices", "rung_images")
)  # fmt: skip
"""Columns that stay text, also where it looks like a number (a key such as 12e4567890123456)."""


def _cell(column: str, text: str | None) -> Any:
    if not text:
        return None
    if column in TEXT_COLUMNS:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
