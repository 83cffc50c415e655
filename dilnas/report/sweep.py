"""Profiles of one architecture over workloads: a row each, failures on the row, doubts below."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from dilnas.records import Profile, Workload
from dilnas.report.measured import Pairs, counted, device_line, pairs, rate, sentences
from dilnas.report.rows import RUN_NAMES, peak_memory_bytes

__all__ = ["SweepTable", "grouped", "progress_line", "sweep_view"]

GAP = "  "
ROOM_FOR_WHY = 32
"""Fewest characters that a failure's reason is folded to."""


@dataclass(frozen=True, slots=True)
class _Column:
    """Its cell of a profile; ``expendable``: left out first where the terminal is narrow."""

    title: str
    cell: Callable[[Profile], str]
    left: bool = False
    expendable: int = 0


def _varies(profiles: Sequence[Profile], of: Callable[[Workload], object]) -> bool:
    return len({of(p.workload) for p in profiles}) > 1


def _key_columns(profiles: Sequence[Profile]) -> list[_Column]:
    """What tells the rows apart; what is the same in all of them stands above the table."""
    axes: tuple[tuple[Callable[[Workload], object], _Column], ...] = (
        (_size, _Column("image", lambda p: _size(p.workload), left=True)),
        (lambda w: w.mode, _Column("mode", lambda p: p.workload.mode, left=True)),
        (_run, _Column("run", lambda p: _run(p.workload), left=True)),
        (lambda w: w.dtype, _Column("dtype", lambda p: p.workload.dtype, left=True)),
    )
    numbers = {id(profile): str(i) for i, profile in enumerate(profiles, 1)}
    return [
        _Column("#", lambda p: numbers[id(p)]),
        *(column for of, column in axes if _varies(profiles, of)),
        _Column("batch", lambda p: str(p.workload.batch_size)),
    ]


def _size(w: Workload) -> str:
    return f"{w.height}x{w.width}"


def _run(w: Workload) -> str:
    return RUN_NAMES.get(w.compile, w.compile)


def _value_columns(profiles: Sequence[Profile]) -> list[_Column]:
    if all(p.measurement is None and not p.failure for p in profiles):
        return [
            _Column("GFLOPs", lambda p: f"{p.cost.flops / 1e9:.3f}"),
            _Column("MACs G", lambda p: f"{p.cost.macs / 1e9:.3f}"),
            _Column("MB (fp32)", _closed_form_mb),
        ]
    columns = [
        _Column("median ms", lambda p: _ms(p, 50)),
        _Column("95 % ±", _interval, expendable=2),
        _Column("p95 ms", lambda p: _ms(p, 95), expendable=3),
        _Column("images/s", _images_per_s),
    ]
    if any(peak_memory_bytes(p) is not None for p in profiles):
        columns.append(_Column("peak MB", _peak_mb, expendable=1))
    if any(p.energy is not None for p in profiles):
        columns.append(_Column("J/image", _joules, expendable=1))
    return [*columns, _Column("doubts", lambda p: str(len(p.doubts)))]


def _closed_form_mb(p: Profile) -> str:
    """Weights and live activations of the batch in inference."""
    return f"{p.cost.memory_bytes(p.workload.batch_size) / 1e6:,.1f}"


def _ms(p: Profile, percent: int) -> str:
    if p.measurement is None:
        return ""
    milli = p.measurement.percentile(percent) * 1e3
    return f"{milli:.3f}" if milli < 1 else f"{milli:.2f}"


def _interval(p: Profile) -> str:
    """How far the median's interval reaches on its longer side, as a share of it, as in a doubt."""
    extra = p.measurement.extra if p.measurement else {}
    low, high = extra.get("median_low_s"), extra.get("median_high_s")
    if low is None or high is None or p.measurement is None:
        return ""
    median = p.measurement.median
    return f"{max(high - median, median - low) / median:.1%}"


def _images_per_s(p: Profile) -> str:
    return "" if p.measurement is None else rate(p.workload.batch_size / p.measurement.median)


def _peak_mb(p: Profile) -> str:
    size = peak_memory_bytes(p)
    return "" if size is None else f"{size / 1e6:,.1f}"


def _joules(p: Profile) -> str:
    return "" if p.energy is None else f"{p.energy.joules_per_image:.4g}"


class SweepTable:
    """The rows, as wide as they need to be; columns that a terminal has no room for are named."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = profiles
        self._keys = _key_columns(profiles)
        self._values = _value_columns(profiles)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Header, rule and a line a row; a failed row has its reason in place of figures."""
        values, hidden = list(self._values), []
        while self._total(values) > options.max_width and any(c.expendable for c in values):
            least = max(values, key=lambda column: column.expendable)
            values.remove(least)
            hidden.append(least.title)
        columns = [*self._keys, *values]
        widths = self._widths(columns)
        yield _plain(_joined(zip((c.title for c in columns), columns, widths, strict=True)))
        yield _plain("─" * min(sum(widths) + len(GAP) * (len(widths) - 1), options.max_width))
        for profile in self._profiles:
            if profile.failure:
                yield from self._failed(profile, widths, options.max_width)
            else:
                cells = (column.cell(profile) for column in columns)
                yield _plain(_joined(zip(cells, columns, widths, strict=True)))
        if hidden:
            yield Text(f"(no room for {', '.join(hidden)}: widen the terminal)", style="dim")

    def _widths(self, columns: Sequence[_Column]) -> list[int]:
        measured = [p for p in self._profiles if not p.failure]
        widths = []
        for column in columns:
            rows = self._profiles if column in self._keys else measured
            widths.append(max(cell_len(t) for t in (column.title, *map(column.cell, rows))))
        return widths

    def _total(self, values: Sequence[_Column]) -> int:
        widths = self._widths([*self._keys, *values])
        return sum(widths) + len(GAP) * (len(widths) - 1)

    def _failed(self, profile: Profile, widths: Sequence[int], room: int) -> Iterator[Text]:
        keys = self._keys
        cells = (column.cell(profile) for column in keys)
        begin = _joined(zip(cells, keys, widths, strict=False)) + GAP
        width = max(room - cell_len(begin), ROOM_FOR_WHY)
        first, *others = textwrap.wrap(profile.failure, width, break_on_hyphens=False) or [""]
        yield _plain(begin).append(first, style="yellow")
        for other in others:
            yield _plain(" " * cell_len(begin)).append(other, style="yellow")


def _joined(cells: Iterable[tuple[str, _Column, int]]) -> str:
    return GAP.join(
        text + " " * (width - cell_len(text)) if column.left else text.rjust(width)
        for text, column, width in cells
    )


def _plain(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="fold")


def sweep_view(profiles: Sequence[Profile]) -> RenderableType:
    """Name, what all rows share, the table, then what is missing, doubtful and worth a note.

    A sentence stands once with the rows that it concerns; where only its numbers differ, their
    range stands in it.
    """
    first = profiles[0]
    title = Text(first.name, style="bold")
    title.append(f"   {first.architecture.layout}   key {first.architecture.key}", style="not bold")
    parts: list[RenderableType] = [title, _shared(profiles)]
    located = next((p for p in profiles if p.environment is not None), None)
    if located is not None and located.environment is not None:
        parts.append(device_line(located, located.environment))
    parts += ["", SweepTable(profiles), "", *_counters(profiles)]
    for number, profile in enumerate(profiles, 1):
        if profile.breakdown is not None:
            parts.append(pairs((f"bottleneck of row {number}", profile.breakdown.bottleneck)))
    missing = [[f"{k}: {why}" for k, why in (p.missing or {}).items()] for p in profiles]
    parts += sentences("missing", "yellow", grouped(missing))
    doubts = [p.doubts for p in profiles]
    parts += sentences("doubt", "yellow", grouped(doubts))
    if any(p.measurement for p in profiles) and not any(doubts):
        parts.append(pairs(("doubts", "none found")))
    parts += sentences("note", "cyan", grouped([p.notes for p in profiles]))
    return Group(*parts)


def _counters(profiles: Sequence[Profile]) -> Iterator[RenderableType]:
    """What the counters say, once an image size."""
    by_size = {_size(p.workload): p.counters for p in profiles if p.counters}
    for size, reports in by_size.items():
        from dilnas.report.counters import counters_view

        if len(by_size) > 1:
            yield Text(size, style="bold")
        yield counters_view(reports)
        yield ""


def _shared(profiles: Sequence[Profile]) -> Pairs:
    w = profiles[0].workload
    fixed = (
        (_size, f"{w.height} x {w.width}"),
        (lambda w: w.dtype, w.dtype),
        (lambda w: w.mode, w.mode),
        (_run, _run(w)),
    )
    words = [word for of, word in fixed if not _varies(profiles, of)]
    words += ["channels last"] * w.channels_last
    failed = sum(bool(p.failure) for p in profiles)
    rows = counted(len(profiles), "workload") + (f", {failed} failed" if failed else "")
    return pairs(("workload", ", ".join(words) or "varies"), ("", rows))


_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")


def grouped(by_row: Sequence[Sequence[str]]) -> list[str]:
    """Each sentence once, with the rows that it concerns, counted from 1.

    >>> grouped([["few samples: 3"], [], ["few samples: 5"]])
    ['few samples: 3 to 5 (rows 1, 3)']
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for row, texts in enumerate(by_row, 1):
        for text in texts:
            found.setdefault(_NUMBER.sub("0", text), []).append((row, text))
    out = []
    for same in found.values():
        rows = sorted({row for row, _ in same})
        text = _ranged([text for _, text in same])
        of_all = len(rows) == len(by_row)
        out.append(f"{text} ({'all rows' if of_all else _rows(rows)})" if by_row[1:] else text)
    return out


def _ranged(texts: Sequence[str]) -> str:
    """The sentence, with ``low to high`` where its numbers differ."""
    numbers = list(zip(*(_NUMBER.findall(text) for text in texts), strict=True))
    shown = iter(
        low if low == high else f"{low} to {high}"
        for low, high in ((min(n, key=float), max(n, key=float)) for n in numbers)
    )
    return _NUMBER.sub(lambda _: next(shown), texts[0])


def _rows(rows: Sequence[int]) -> str:
    """``row 3`` or ``rows 1, 3–5``."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][-1] + 1:
            spans[-1].append(row)
        else:
            spans.append([row])
    shown = ", ".join(f"{s[0]}–{s[-1]}" if len(s) > 2 else ", ".join(map(str, s)) for s in spans)
    return f"row{'s' if len(rows) > 1 else ''} {shown}"


def progress_line(number: int, count: int, profile: Profile) -> str:
    """One finished row, for a log: where it stands, what it is, its median or why there is none."""
    w = profile.workload
    what = f"batch {w.batch_size}, {_size(w)}, {w.dtype}, {w.mode}, {_run(w)}"
    if profile.failure:
        return f"[{number}/{count}] {what}: {profile.failure}"
    return f"[{number}/{count}] {what}: {_ms(profile, 50)} ms, {_images_per_s(profile)} images/s"
