"""Third-party counters beside the closed form: every difference explained, to the last integer.

Counters that agree prove little: moved to fused attention, four of them lower their totals
together. So each is held against its own convention (``dilnas.count.identities``), operator by
operator, on a network written so that it sees everything; and what it says of the network as a user
would hand it over is explained by what it does not see there (``dilnas.count.blind``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version

from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.count.blind import BlindSpot, observe
from dilnas.count.by_fvcore import run_fvcore
from dilnas.count.by_ptflops import run_ptflops
from dilnas.count.by_torch import run_torch
from dilnas.count.copies import blank_model, sample_for
from dilnas.count.identities import CONVENTIONS, Convention, bias_additions, explained_rows
from dilnas.count.visible import visible_model
from dilnas.errors import CounterError, InputError
from dilnas.records import CounterReport

__all__ = ["COUNTERS", "check_reconciled", "reconcile"]

COUNTERS = ("fvcore", "ptflops", "torch")

OPERATOR_OF = {"convolution": "conv", "addmm": "linear", "mm": "linear", "bmm": "matmul"}
"""ATen operators in the closed form's names: in a DilateFormer only linear layers run addmm and
mm, and only attention runs bmm."""

Runner = Callable[[nn.Module, Tensor], dict[str, int]]


def _run_fvcore(module: nn.Module, sample: Tensor) -> dict[str, int]:
    return run_fvcore(module, sample)[0]


# The counter and the device on which it counts the network that hides nothing.
RUNNERS: dict[str, tuple[Runner, str]] = {
    "fvcore": (_run_fvcore, "cpu"),
    "ptflops": (run_ptflops, "meta"),
    "torch": (run_torch, "meta"),
}


def reconcile(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    counters: Iterable[str] = COUNTERS,
    *,
    unguarded: bool = True,
) -> tuple[CounterReport, ...]:
    """What each of ``counters`` says of one image of ``height`` x ``width``, by operator.

    Networks are built anew, so no model of the caller's is touched. A residual is in the report;
    ``check_reconciled`` makes it an error.

    Args:
        architecture: the network.
        height: pixels.
        width: pixels; as high as wide if left out.
        counters: of "fvcore", "ptflops" and "torch".
        unguarded: run each counter also on the plain network on the CPU, one real forward pass
            each or more, and say what it does not see there.

    Raises:
        InputError: an unknown counter, or a side that the network's strides do not divide.
        DependencyError: a counter that cannot be imported.
    """
    names = checked_counters(counters)
    width = height if width is None else width
    architecture.check_input(height, width)
    return tuple(_report(name, architecture, height, width, unguarded) for name in names)


def checked_counters(counters: Iterable[str]) -> tuple[str, ...]:
    """Each counter's name once, a lone name as well. Raises InputError for an unknown one."""
    names = (counters,) if isinstance(counters, str) else tuple(dict.fromkeys(counters))
    for name in names:
        if name not in CONVENTIONS:
            raise InputError(
                "unknown counter", where="counters", expected=" | ".join(COUNTERS), got=name
            )
    return names


def _report(
    name: str, architecture: Architecture, height: int, width: int, unguarded: bool
) -> CounterReport:
    convention = CONVENTIONS[name]
    run, device = RUNNERS[name]
    shape = (architecture.in_chans, height, width)
    model = visible_model(architecture, device)
    raw = run(model, sample_for(model, shape, device))
    counted: dict[str, int] = {}
    for operator, count in raw.items():
        known = OPERATOR_OF.get(operator, operator)
        counted[known] = counted.get(known, 0) + count
    rows = explained_rows(
        convention, counted, cost(architecture, height, width),
        bias_additions(architecture, height, width),
    )  # fmt: skip
    plain_total: int | None = None
    blind_to: tuple[str, ...] = ()
    if unguarded:
        plain = blank_model(architecture, "cpu")
        sample = sample_for(plain, shape, "cpu")
        plain_counts, spots = observe(plain, sample, name)
        plain_total = sum(plain_counts.values())
        blind_to = _sentences(convention, spots, sum(counted.values()) - plain_total)
    return CounterReport(
        counter=convention.name,
        version=version(convention.package),
        convention=convention.words,
        rows=rows,
        blind_to=blind_to,
        unguarded_total=plain_total,
    )


def _sentences(
    convention: Convention, spots: tuple[BlindSpot, ...], missed: int
) -> tuple[str, ...]:
    """What a counter misses, a sentence each; also what it misses and no blind spot explains."""
    sentences = tuple(spot.sentence for spot in spots)
    known = sum(convention.per_mac * (spot.macs or 0) + spot.additions for spot in spots)
    rest = missed - known
    if rest:
        sentences += (f"{rest:,} of its total that no operator known to be unseen explains",)
    return sentences


def check_reconciled(reports: Iterable[CounterReport]) -> None:
    """Raises CounterError, naming the first difference that no convention explains, if any."""
    wrong = [(report, row) for report in reports for row in report.rows if row.residual]
    if not wrong:
        return
    report, row = wrong[0]
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise CounterError(
        f"counts {row.operator} with an unexplained residual of {row.residual:+,}{more}",
        where=f"{report.counter} {report.version}",
        expected=f"{row.closed_form + row.explained:,}",
        got=f"{row.counted:,}",
    )
