"""The sentence that names a bottleneck, from rows of a breakdown: no device, no torch."""

from __future__ import annotations

from collections.abc import Sequence

from dilnas.measure.spans import COPY, IDLE, OTHER
from dilnas.records import BreakdownRow, DeviceRates

__all__ = ["bottleneck"]

REACHED = 0.5
"""Share of a roof from which on a row is bound by it."""

COPIES = 0.1
"""Share of a row's time in layout copies from which on they are named."""

WAITING = 0.2
"""Share of the time that a GPU waits from which on it is named beside a larger row."""

GAIN = 0.05
"""Share of the time from which on an operator far below its roof is named beside a larger row."""

_SUBJECTS = {
    "conv": "convolutions take",
    "linear": "linear layers take",
    "msda": "MSDA takes",
    "attention": "global attention takes",
    "layer_norm": "layer norms take",
    "batch_norm": "batch norms take",
    "gelu": "GELU takes",
    "add": "sums take",
    "pool": "pooling takes",
}
_HOST = "a larger batch, a CUDA graph or a faster host would help"


def bottleneck(
    parts: Sequence[BreakdownRow], operators: Sequence[BreakdownRow], rates: DeviceRates
) -> str:
    """A few sentences: the operator that takes most time, what holds it back, and where.

    If another operator stays behind its roof by more seconds, it is named too.

    A row is called bound by its nearer roof when it reaches half of it. Where it reaches less,
    the roof is not what holds it back (its code, its launches or other load may), and that is what
    is said.
    """
    total = sum(row.time_s for row in operators)
    if total <= 0:
        return "No time was observed."
    largest = max(operators, key=lambda row: row.time_s)
    macs = sum(row.macs for row in operators)
    sentence = _sentence(largest, largest.time_s / total, macs, rates)
    if largest.name == IDLE:
        return sentence  # while the device waits for the host, faster kernels gain nothing
    idle = next((row.time_s / total for row in operators if row.name == IDLE), 0.0)
    if idle >= WAITING:
        sentence += f" The GPU waits for the host {idle:.0%} of the time: {_HOST}."
    sentence += _most_to_gain(operators, largest, total, rates)
    part = max(parts, key=lambda row: row.time_s)
    if part.time_s < total:
        sentence += f" Of the parts, {part.name} takes most: {part.time_s / total:.0%}."
    return sentence


def _most_to_gain(
    operators: Sequence[BreakdownRow], largest: BreakdownRow, total: float, rates: DeviceRates
) -> str:
    """The operator with the most seconds above its roof, where that is not the largest one."""
    counted = [row for row in operators if row.moved_bytes and row.time_s > 0]
    if not counted:
        return ""
    row = max(counted, key=lambda row: row.time_s * (1 - row.attained(rates)))
    share, reached = row.time_s / total, row.attained(rates)
    if row.name == largest.name or share < GAIN or reached >= REACHED:
        return ""
    roof = "matmul" if row.bound(rates) == "compute" else "copy"
    subject = _SUBJECTS.get(row.name, f"{row.name} takes").rsplit(" ", 1)[0]
    return f" Most to gain: {subject}, {share:.0%} of the time at {reached:.0%} of the {roof} rate."


def _sentence(row: BreakdownRow, share: float, macs: int, rates: DeviceRates) -> str:
    if row.name == IDLE:
        return f"The GPU waits for the host {share:.0%} of the time: launch-bound; {_HOST}."
    if row.name == COPY:
        return f"Layout copies take {share:.0%} of the time: they compute nothing."
    if row.name == OTHER:
        return (
            f"Python between operators and operators that compute nothing take {share:.0%} of the"
            " time: bound by the host."
        )
    text = f"{_SUBJECTS.get(row.name, row.name + ' takes')} {share:.0%} of the time"
    if macs:
        text += f" for {_share_of(row.macs, macs)} of the MACs"
    text += f": {_held_back(row, rates)}"
    copies = row.copy_s / row.time_s
    if copies >= COPIES:
        text += f"; {copies:.0%} of that time are layout copies"
    return text[0].upper() + text[1:] + "."


def _share_of(some: int, total: int) -> str:
    if some == 0:
        return "none"
    share = some / total
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _held_back(row: BreakdownRow, rates: DeviceRates) -> str:
    bound, reached = row.bound(rates), row.attained(rates)
    rate = "matmul" if bound == "compute" else "copy"
    if bound == "memory" and reached > 1:
        return f"faster than this device copies ({reached:.0%}): the data stay in caches"
    if reached >= REACHED:
        return f"bound by {bound}, at {reached:.0%} of this device's {rate} rate"
    return (
        f"{reached:.0%} of this device's {rate} rate is reached, so {bound}, the nearer roof, is"
        " not the limit"
    )
