"""What a search leaves for people: the test split's scores, the audit, the CSV files, the pictures.

Everything is read from the ledger, so it can be written again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import RunError
from dilnas.files import write_atomic
from dilnas.runs import RunDirectory
from dilnas.search.candidate import COMPLETE, Candidate, Figures
from dilnas.search.finals import HeldOut
from dilnas.search.latency import FrontLatency
from dilnas.search.ledger import Ledger
from dilnas.search.noise import reported_front
from dilnas.search.results import front_rows, trial_rows, write_csv
from dilnas.search.unit import Evaluator
from dilnas.variants import VARIANTS

__all__ = ["Reporter"]


class Reporter:
    """Writes one run's results.

    Args:
        run: its directory.
        ledger: its truth.
        cost_name: the cost that is an objective.
        rungs: number of rungs.
        price: cost of an architecture that was no candidate.
        architecture: of a candidate.
        choices: the value of each axis of the space, of a candidate.
        held_out: the re-trainings so far.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: Ledger,
        *,
        cost_name: str,
        rungs: int,
        price: Callable[[Architecture], Figures],
        architecture: Callable[[Candidate], Architecture],
        choices: Callable[[Candidate], dict[str, Any]],
        held_out: Callable[[], HeldOut],
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._cost_name = cost_name
        self._rungs = rungs
        self._price = price
        self._architecture = architecture
        self._choices = choices
        self._held_out = held_out

    def test(self, evaluator: Evaluator, poll: Callable[[], None]) -> None:
        """Score the front and the paper's variants, as the search trained them, on the test split;
        kept with the ledger. ``poll`` is called between two.
        """
        candidates = self._ledger.candidates
        wanted = reported_front(candidates, self._cost_name, self._held_out())
        wanted += [c for c in candidates if c.state == COMPLETE and c.origin == "variant"]
        tested = self._tested()
        for candidate in wanted:
            poll()
            if candidate.number not in tested:
                tested[candidate.number] = evaluator.test(
                    self._architecture(candidate).to_dict(),
                    directory=str(self._run.trial_directory(candidate.number)),
                )
        self._ledger.note("test_accuracy", {str(n): v for n, v in tested.items()})

    def measure(self, latency: FrontLatency, poll: Callable[[], None]) -> None:
        """Measure the front and the variants in its table on this machine, and the calibration's
        anchor beside them; kept with the ledger.

        ``poll`` is called between two.
        """
        rows = [row for row in self.front() if row["predicted_ms"] != ""]
        known = dict(self._ledger.notes().get("measured_ms", {}))
        networks = {c.key: self._architecture(c) for c in self._ledger.candidates}
        networks |= {variant.key: variant for variant in VARIANTS.values()}
        missing = dict.fromkeys(row["key"] for row in rows if row["key"] not in known)
        for key in missing:
            poll()
            known[key] = latency.measured(networks[key])
            self._ledger.note("measured_ms", known)
        if rows and (missing or "anchor_ms" not in self._ledger.notes()):
            poll()
            self._ledger.note("anchor_ms", latency.measured_anchor())

    def _tested(self) -> dict[int, float]:
        kept = self._ledger.notes().get("test_accuracy", {})
        return {int(number): float(value) for number, value in kept.items()}

    def front(self) -> list[dict[str, Any]]:
        """Rows of front.csv."""
        return front_rows(
            self._ledger.candidates, self._cost_name, self._architecture, self._tested(),
            self._held_out(), price=self._price,
            measured=self._ledger.notes().get("measured_ms"),
        )  # fmt: skip

    def trials(self) -> list[dict[str, Any]]:
        """Rows of trials.csv."""
        return trial_rows(
            self._ledger.candidates, self._cost_name, self._held_out(),
            architecture=self._architecture, choices=self._choices,
        )  # fmt: skip

    def audit(self) -> dict[str, Any]:
        """What audit.json holds."""
        from dilnas.cost import nsc
        from dilnas.search.audit import audit, audit_document

        candidates = self._ledger.candidates
        whole = [c for c in candidates if c.state == COMPLETE]
        free = {c.number: nsc(self._architecture(c)) for c in whole}
        lines = audit(candidates, self._cost_name, free, self._held_out(), rungs=self._rungs)
        return audit_document(lines, candidates)

    def write_tables(self, front: list[dict[str, Any]], trials: list[dict[str, Any]]) -> None:
        """Write front.csv and trials.csv. Raises RunError if the directory cannot be written."""
        write_csv(self._run, front, trials)

    def write(
        self, front: list[dict[str, Any]], trials: list[dict[str, Any]], audit: dict[str, Any]
    ) -> None:
        """Write the CSV files and audit.json, and the pictures where there is a front.

        Raises RunError if the directory cannot be written.
        """
        self.write_tables(front, trials)
        text = json.dumps(audit, indent=1, allow_nan=False) + "\n"
        write_atomic(self._run.audit_json_path, text, kind=RunError)
        if any(row.get("trial", "") != "" for row in front):
            from dilnas.report import write_front_svg, write_report

            write_report(self._run)
            write_front_svg(self._run)
