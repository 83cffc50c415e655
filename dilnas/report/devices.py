"""Profiles side by side: a block a device, a section a network with what the paper prints of it,
a line a workload; then what makes the figures doubtful, each sentence once.

Everything that all lines of a block share (image, dtype, how it was run) stands in its first line
and has no column.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dilnas.measure.published import PAPER_SIDE, variant_of
from dilnas.records import Profile, images_per_s
from dilnas.report.chosen import device_title, sorted_profiles
from dilnas.report.footnotes import Footnotes, printable
from dilnas.report.measured import rate
from dilnas.report.rows import peak_memory_bytes
from dilnas.variants import PUBLISHED

__all__ = ["devices_view"]

NARROWEST = 40
"""Columns that a sentence gets at least, however narrow the terminal."""

PAPER_LINE = (
    f"paper: ImageNet-1K at {PAPER_SIDE} x {PAPER_SIDE}, figures as printed. It has images a second"
    " and memory on one A100 at batch 256 too; those values were not at hand and are not shown."
)


def devices_view(profiles: Iterable[Profile], width: int = 100) -> RenderableType:
    """A table over devices, networks and workloads that fits ``width`` columns where it can."""
    blocks: dict[str, list[Profile]] = {}
    for profile in sorted_profiles(profiles):
        blocks.setdefault(device_title(profile), []).append(profile)
    lines: list[Text] = []
    for device, members in blocks.items():
        lines += [*_block(device, members, width), Text()]
    if any(variant_of(p.architecture) for members in blocks.values() for p in members):
        lines += _wrapped(PAPER_LINE, width, style="dim")
    return Group(*lines)


# --- one device -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    value: Callable[[Profile], str]


def _block(device: str, profiles: Sequence[Profile], width: int) -> Iterator[Text]:
    notes = Footnotes(profiles)
    measured = any(p.measurement or p.failure for p in profiles)
    setting = _SETTING if measured else _SETTING[:1]  # what was not run has no dtype
    shared = [c for c in setting if len({c.value(p) for p in profiles}) == 1]
    varying = [c for c in setting if c not in shared]
    several_sizes = any(c.title == "image" for c in varying)
    columns = [_Column("batch", lambda p: str(p.workload.batch_size)), *varying]
    if several_sizes:
        columns.append(_Column("GFLOPs", lambda p: f"{p.cost.flops / 1e9:.3f}"))
    figures = [c for c in _figures(notes) if any(c.value(p) for p in profiles)]
    yield from _head(device, profiles, shared, width)
    if measured or several_sizes:
        grid = _Grid(columns, figures, profiles, width)
        yield grid.titles()
    for network in dict.fromkeys(p.architecture for p in profiles):
        members = [p for p in profiles if p.architecture == network]
        yield from _network(members[0], width, with_flops=not several_sizes)
        if measured or several_sizes:
            yield from (line for member in members for line in grid.lines(member))
    yield from notes.lines(lambda text, indent: _wrapped(text, width, indent=indent))


def _head(
    device: str, profiles: Sequence[Profile], shared: Sequence[_Column], width: int
) -> Iterator[Text]:
    words = []
    for column in shared:
        if word := column.value(profiles[0]):
            words.append(word if column.title in ("dtype", "run") else f"{column.title} {word}")
    if versions := sorted({p.environment.torch for p in profiles if p.environment}):
        words.append("torch " + ", ".join(versions))
    yield Text(printable(device), style="bold")
    yield from _wrapped(printable(", ".join(words)), width, indent=2, style="dim")


def _network(profile: Profile, width: int, *, with_flops: bool) -> Iterator[Text]:
    cost = profile.cost
    words = [printable(profile.name), profile.architecture.layout, f"{cost.params / 1e6:.3f} M"]
    words += [f"{cost.flops / 1e9:.3f} GFLOPs"] if with_flops else []
    yield from _wrapped("   ".join(words), width, indent=2, style="bold")
    if printed := _paper(profile):
        yield from _wrapped(f"paper: {printed}", width, indent=4, style="cyan")


def _paper(profile: Profile) -> str:
    """What the paper prints of this network, in its own layout: FLOPs and top-1 accuracy."""
    found = []
    for row in PUBLISHED:
        if row.variant != variant_of(profile.architecture) or row.layout != "DDGG":
            continue
        words = [
            "" if row.gflops is None else f"{row.gflops} GFLOPs",
            "" if row.top1_percent is None else f"{row.top1_percent} % top-1",
        ]
        how = "with token labeling " if row.token_labeling else ""
        found.append(how + ", ".join(word for word in words if word))
    return "; ".join(found)


def _figures(notes: Footnotes) -> list[_Column]:
    """What was observed; a column that says nothing of any profile is left out."""
    return [
        _Column("median ms", _median),
        _Column("95 % interval", _interval),
        _Column("images/s", _rate),
        _Column("peak MB", lambda p: _number(peak_memory_bytes(p), 1e-6)),
        _Column("J/image", lambda p: _number(p.energy.joules_per_image if p.energy else None, 1)),
        _Column("doubts", notes.of),
    ]


class _Grid:
    """Lines of cells: right-aligned, one width a column over the whole block."""

    INDENT = 4

    def __init__(
        self,
        columns: Sequence[_Column],
        figures: Sequence[_Column],
        profiles: Sequence[Profile],
        width: int,
    ) -> None:
        self.columns, self.figures, self.width = list(columns), list(figures), width
        used = [*self.columns, *self.figures]
        self.sizes = {
            c.title: max(len(c.title), *(len(c.value(p)) for p in profiles)) for c in used
        }
        self.gap = 2
        if self._length() > width:  # the interval can be read in the profile itself
            self.figures = [c for c in self.figures if c.title != "95 % interval"]
        if self._length() > width:
            self.gap = 1

    def _length(self) -> int:
        sizes = [self.sizes[c.title] for c in (*self.columns, *self.figures)]
        return self.INDENT + sum(sizes) + self.gap * (len(sizes) - 1)

    def _joined(self, columns: Sequence[_Column], cells: Iterable[str]) -> str:
        placed = (x.rjust(self.sizes[c.title]) for c, x in zip(columns, cells, strict=True))
        return (" " * self.gap).join(placed)

    def titles(self) -> Text:
        columns = [*self.columns, *self.figures]
        line = self._joined(columns, (c.title for c in columns))
        return Text(" " * self.INDENT + line, style="dim")

    def lines(self, profile: Profile) -> Iterator[Text]:
        setting = " " * self.INDENT + self._joined(
            self.columns, (c.value(profile) for c in self.columns)
        )
        if profile.failure:
            start = setting + " " * self.gap
            room = max(self.width - len(start), NARROWEST)
            for i, part in enumerate(textwrap.wrap(f"failed: {printable(profile.failure)}", room)):
                yield Text((start if i == 0 else " " * len(start)) + part, style="red")
            return
        cells = [c.value(profile) or "–" for c in self.figures if c.title != "doubts"]
        cells += [c.value(profile) for c in self.figures if c.title == "doubts"]
        rest = self._joined(self.figures, cells)
        yield Text(f"{setting}{' ' * self.gap}{rest}".rstrip())


# --- cells ----------------------------------------------------------------------------------------


def _image(profile: Profile) -> str:
    w = profile.workload
    return str(w.height) if w.height == w.width else f"{w.height}x{w.width}"


def _run(profile: Profile) -> str:
    """``eager``, ``compile``, ``train graph channels-last``: inference is not said."""
    w = profile.workload
    words = ["" if w.mode == "inference" else w.mode, w.compile]
    words.append("channels-last" if w.channels_last else "")
    return " ".join(word for word in words if word)


def _threads(profile: Profile) -> str:
    """CPU threads; nothing on another device, where they say little."""
    e = profile.environment
    return str(e.threads) if e and profile.workload.device.startswith("cpu") else ""


def _msda(profile: Profile) -> str:
    """Which implementation of MSDA was asked for, where the environment says it."""
    return printable(profile.msda)


def _median(profile: Profile) -> str:
    return _number(profile.measurement.median if profile.measurement else None, 1e3)


def _interval(profile: Profile) -> str:
    extra = profile.measurement.extra if profile.measurement else {}
    ends = [extra.get("median_low_s"), extra.get("median_high_s")]
    if not all(isinstance(end, int | float) for end in ends):
        return ""
    return "–".join(_number(end, 1e3) for end in ends)


def _rate(profile: Profile) -> str:
    m = profile.measurement
    found = images_per_s(profile.workload.batch_size, m.median) if m else None
    return "" if found is None else rate(found)


_SETTING = (
    _Column("image", _image),
    _Column("dtype", lambda p: p.workload.dtype),
    _Column("run", _run),
    _Column("threads", _threads),
    _Column("msda", _msda),
)


def _number(value: Any, scale: float) -> str:
    """Three decimals below 10, else fewer; empty for None."""
    if not isinstance(value, int | float):
        return ""
    shown = value * scale
    return (
        f"{shown:.3f}" if abs(shown) < 10 else f"{shown:.2f}" if shown < 1000 else f"{shown:,.0f}"
    )


def _wrapped(text: str, width: int, *, indent: int = 0, style: str = "") -> list[Text]:
    """Lines that fit, later ones indented by two more."""
    lines = textwrap.wrap(
        text, max(width, NARROWEST), initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2), break_on_hyphens=False, drop_whitespace=True,
    )  # fmt: skip
    return [Text(line, style=style) for line in lines]
