"""What third-party counters count, and why it differs from the closed form: residual 0 or a bug."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CounterReport", "CounterRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRow:
    """One operator of one image: what the counter and the closed form say, in the counter's unit.

    Attributes:
        operator: its name.
        counted: what the counter says, in its unit.
        closed_form: what the closed form says, in the counter's unit.
        explained: the difference that the counter's convention makes, in its unit;
            ``counted - closed_form - explained`` is the residual.
        why: the convention in words.
    """

    operator: str
    counted: int
    closed_form: int
    explained: int = 0
    why: str = ""

    @property
    def residual(self) -> int:
        """What nobody explains: 0, or somebody counts wrongly."""
        return self.counted - self.closed_form - self.explained


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterReport:
    """One counter on one architecture, for one image.

    Attributes:
        counter: "fvcore", "ptflops (aten)", "torch".
        version: of the package.
        convention: what it counts, in words ("2 a multiply-add; no norms, no biases").
        rows: by operator; they sum to the counter's total.
        blind_to: what the counter does not see in the model as a user would hand it over, a
            sentence each; the rows were taken with those operators written so that it sees them.
        unguarded_total: the total, in the counter's unit, of that model without such care; None if
            not run.
    """

    counter: str
    version: str
    convention: str
    rows: tuple[CounterRow, ...]
    blind_to: tuple[str, ...] = ()
    unguarded_total: int | None = None

    @property
    def total(self) -> int:
        """The counter's total, in its own unit."""
        return sum(row.counted for row in self.rows)

    @property
    def residual(self) -> int:
        """Sum of the rows' absolute residuals."""
        return sum(abs(row.residual) for row in self.rows)
