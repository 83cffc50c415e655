"""What a profiler saw, as plain spans, and whose time each of them was: no torch.

    |---------------------------- batch ----------------------------|
    |-- part: stem --||-- part: stage 1 ------------------|
      conv2d  gelu      |-- core: msda -----------|  add
                        |-- core: -|              |-- core: -|
                          conv2d     _Portable        linear

Ranges (names that begin with ``RANGE``) say in which part of the network and in which attention an
operator ran; the outermost operator within a range says what it was for: a copy inside of a linear
layer is the linear layer's. A span of the backward pass bears the sequence number of the forward
operator that it is the derivative of, and so belongs where that one belongs. What cannot be told
stays in part "outside" or operator "other": no time is dropped, none is counted twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

__all__ = [
    "BATCH", "COPY", "IDLE", "OTHER", "OUTSIDE", "RANGE", "Batch", "Span", "Spent", "Trace",
    "attribute",
]  # fmt: skip

RANGE = "dilnas|"
BATCH = RANGE + "batch"
PART = RANGE + "part|"
CORE = RANGE + "core|"
"""Names of ranges: one batch; PART + part; CORE + "msda", "attention" or, within one, nothing."""

OUTSIDE = "outside"
"""The part that time belongs to when it belongs to no part of the network."""

OTHER, COPY, IDLE = "other", "copy", "idle"
"""Operators beside those of ``dilnas.cost.traffic``: unknown ones and Python between operators,
layout copies, and a GPU that waits for the host."""

_ENGINE = "autograd::engine::evaluate_function: "

_OPERATORS = {
    "aten::conv2d": "conv",
    "aten::convolution": "conv",
    "aten::linear": "linear",
    "aten::addmm": "linear",
    "aten::matmul": "linear",
    "aten::layer_norm": "layer_norm",
    "aten::native_layer_norm": "layer_norm",
    "aten::batch_norm": "batch_norm",
    "aten::gelu": "gelu",
    "aten::add": "add",
    "aten::mean": "pool",
}
"""What the model calls, in the profiler's names."""

_COPIES = frozenset(
    (
        "aten::clone",
        "aten::contiguous",
        "aten::copy_",
        "aten::reshape",
        "aten::to",
        "aten::_to_copy",
    )
)
_SUMS = ("aten::add", "aten::add_")


@dataclass(frozen=True, slots=True)
class Span:
    """One event of a host thread.

    Attributes:
        name: operator ("aten::addmm"), autograd node or range.
        start_us: microseconds of the profiler's clock.
        end_us: likewise.
        thread: number of the host thread.
        sequence: autograd's number; -1 where there is none.
        kernels_us: device time of the kernels that it launched itself, its children's not included.
    """

    name: str
    start_us: float
    end_us: float
    thread: int
    sequence: int = -1
    kernels_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Spans of the host and, where work is done on a device, (start, duration) of each kernel."""

    spans: tuple[Span, ...]
    kernels_us: tuple[tuple[float, float], ...] = ()


@dataclass(slots=True)
class Spent:
    """Microseconds, and how many of them in layout copies."""

    time_us: float = 0.0
    copy_us: float = 0.0


Key: TypeAlias = tuple[str, str]
"""(part, operator)"""


@dataclass(slots=True)
class Batch:
    """One batch: ``spent`` sums to ``total_us``."""

    start_us: float
    total_us: float = 0.0
    spent: dict[Key, Spent] = field(default_factory=dict)

    def add(self, part: str, operator: str, time_us: float, *, copy: bool) -> None:
        """Book some time."""
        entry = self.spent.setdefault((part, operator), Spent())
        entry.time_us += time_us
        entry.copy_us += time_us * copy
        self.total_us += time_us


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose time a span is. ``operator`` is None until the outermost operator is reached."""

    batch: int
    part: str = OUTSIDE
    core: str = ""
    operator: str | None = None
    copy: bool = False
    backward: bool = False
    engine: bool = False


@dataclass(slots=True)
class _Node:
    span: Span
    place: _Place | None
    parent: _Node | None
    self_us: float


def attribute(trace: Trace, *, on_device: bool) -> list[Batch]:
    """The batches of a trace, each with its time by part and operator.

    On a CPU a batch's time is that of its range, shared out by what each span did itself; a span
    in another thread runs beside it and adds nothing. On a device (``on_device``) it is the sum of
    its kernels, each the time of the span that launched it; kernels that no span launched are
    OUTSIDE and OTHER.
    """
    nodes, starts = _nodes(trace.spans)
    batches = [Batch(start) for start in starts]
    for node in nodes:
        place = node.place
        if place is None:
            continue
        time_us = node.span.kernels_us if on_device else node.self_us
        if (on_device and time_us > 0) or (not on_device and _nested(node)):
            operator = place.operator or OTHER
            batches[place.batch].add(place.part, operator, time_us, copy=place.copy)
    if on_device:
        _add_unlaunched(batches, trace, starts)
    return batches


def _add_unlaunched(batches: list[Batch], trace: Trace, starts: Sequence[float]) -> None:
    seen = [0.0] * len(batches)
    for start_us, duration_us in trace.kernels_us:
        index = bisect_right(starts, start_us) - 1
        if index >= 0:
            seen[index] += duration_us
    for batch, total in zip(batches, seen, strict=True):
        if total > batch.total_us:
            batch.add(OUTSIDE, OTHER, total - batch.total_us, copy=False)


def _nested(node: _Node) -> bool:
    """Whether a span lies within its batch's own range, in the same thread."""
    above: _Node | None = node
    while above is not None and above.span.name != BATCH:
        above = above.parent
    return above is not None


def _nodes(spans: Sequence[Span]) -> tuple[list[_Node], list[float]]:
    """Spans with their places, in order of time, and when each batch began."""
    nodes: list[_Node] = []
    starts: list[float] = []
    open_nodes: dict[int, list[_Node]] = {}
    forward: dict[int, _Place] = {}
    for span in sorted(spans, key=lambda s: (s.start_us, -s.end_us)):
        stack = open_nodes.setdefault(span.thread, [])
        while stack and (span.start_us >= stack[-1].span.end_us or _outlasts(span, stack[-1])):
            stack.pop()
        parent = stack[-1] if stack else None
        if span.name == BATCH:
            starts.append(span.start_us)
        duration = span.end_us - span.start_us
        node = _Node(span, _place(span, parent, forward, len(starts) - 1), parent, duration)
        if parent is not None:
            parent.self_us -= duration
        place = node.place
        if place is not None and not place.backward and span.sequence >= 0:
            forward[span.sequence] = place  # the last to begin with a number is the one it is of
        stack.append(node)
        nodes.append(node)
    return nodes, starts


def _outlasts(span: Span, node: _Node) -> bool:
    return span.end_us > node.span.end_us


def _place(
    span: Span, parent: _Node | None, forward: dict[int, _Place], batch: int
) -> _Place | None:
    """Where a span belongs; None before the first batch."""
    if batch < 0:
        return None
    above = parent.place if parent is not None and parent.place is not None else _Place(batch)
    if span.name.startswith(RANGE):
        return _range(span.name, above, batch)
    if span.name.startswith(_ENGINE):
        found = forward.get(span.sequence, _Place(batch))
        return _Place(batch, found.part, "", found.operator, backward=True, engine=True)
    if above.engine and span.name in _SUMS:  # gradients of a value that was used twice
        operator: str | None = "add" if above.part != OUTSIDE else OTHER
    else:
        operator = above.operator or _named(span.name, above)
    copy = above.copy or span.name in _COPIES
    if operator == OTHER and copy:
        operator = COPY
    return replace(above, operator=operator, copy=copy, engine=False)


def _range(name: str, above: _Place, batch: int) -> _Place:
    if name == BATCH:
        return _Place(batch)
    if name.startswith(PART):
        return _Place(batch, name.removeprefix(PART))
    return replace(above, core=name.removeprefix(CORE))


def _named(name: str, above: _Place) -> str:
    """The operator that an outermost span is."""
    if above.part == OUTSIDE:
        return OTHER
    return above.core or _OPERATORS.get(name, OTHER)
