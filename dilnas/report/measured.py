"""What was observed of one workload, as lines: latency, memory, energy, device, doubts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from dilnas.records import Energy, Environment, Measurement, Memory, Profile
from dilnas.report.rows import latency_row, run_words

__all__ = [
    "counted",
    "device_line",
    "doubt_lines",
    "measured_lines",
    "missing_lines",
    "pairs",
    "rate",
    "sentences",
    "workload_words",
]


def measured_lines(profile: Profile) -> list[RenderableType]:
    """Everything observed, or why there is nothing; no line for what was not asked for."""
    m, e = profile.measurement, profile.environment
    if profile.failure:
        return [
            *sentences("failed", "red", [profile.failure]),
            pairs(("workload", workload_words(profile))),
            *([device_line(profile, e)] if e is not None else []),
        ]
    if m is None or e is None:
        return list(missing_lines(profile))
    lines: list[RenderableType] = [*_latency(profile, m), *_predicted(profile, m)]
    if profile.memory is not None:
        lines += _memory(profile.memory)
    elif "peak_memory_bytes" in m.extra:
        lines.append(_memory_here(m))
    if profile.energy is not None:
        lines.append(_energy(profile.energy))
    lines += [pairs(("workload", workload_words(profile))), device_line(profile, e)]
    return [*lines, *missing_lines(profile)]


def doubt_lines(profile: Profile) -> list[RenderableType]:
    """A line a doubt; those of the breakdown stand in its own view. That there is none is said."""
    if profile.measurement is None:
        return []
    if not profile.doubts:
        return [pairs(("doubts", "none found"))]
    here = [text for text in profile.doubts if not text.startswith("breakdown: ")]
    return list(sentences("doubt", "yellow", here))


def _latency(profile: Profile, m: Measurement) -> Iterator[Pairs]:
    row = latency_row(profile) or {}
    median = f"{row['median_ms']:.2f} ms"
    if row["median_low_ms"] is not None:
        median += f" [{row['median_low_ms']:.2f}, {row['median_high_ms']:.2f}]"
    yield pairs(("latency", f"median {median}"), ("images/s", rate(row["images_per_s"])))
    yield pairs(
        *((f"p{q}", f"{row[f'p{q}_ms']:.2f} ms") for q in (5, 95, 99)),
        ("", f"{counted(len(m.samples), 'sample')} after {counted(m.warmup, 'warm-up run')}"),
    )
    if m.extra.get("enqueue_median_s") is not None:
        yield pairs(
            ("host", f"enqueue {m.extra['enqueue_median_s'] * 1e3:.2f} ms"),
            ("wall", f"{m.extra['wall_median_s'] * 1e3:.2f} ms"),
            ("L2", str(m.extra.get("l2_cache", "as found"))),
        )
    for name, what in (("compile_s", "compiled in"), ("capture_s", "captured in")):
        if m.extra.get(name) is not None:
            yield pairs((what, f"{m.extra[name]:.1f} s"), ("", "(before the warm-up)"))


def _predicted(profile: Profile, m: Measurement) -> Iterator[Pairs]:
    """What was predicted, and where the measurement lies."""
    for found in profile.predictions:
        if found.quantity != "latency_s":
            continue
        off = m.median / found.value - 1
        inside = found.low <= m.median <= found.high
        yield pairs(
            ("predicted", f"{found.value * 1e3:.2f} ms "
             f"[{found.low * 1e3:.2f}, {found.high * 1e3:.2f}]"),
            ("measured", f"{off:+.1%}, {'inside' if inside else 'outside'} of the "
             f"{found.coverage:.0%} interval"),
            ("", f"({found.source}; held-out error {found.held_out_error:.1%})"),
        )  # fmt: skip


def _memory(memory: Memory) -> Iterator[Pairs]:
    """Tensors and their exact parts; the allocator and the system; the closed form; the method."""
    parts = f"weights {_mb(memory.weights_bytes)} + input {_mb(memory.input_bytes)}"
    tensors = ""
    if memory.activation_peak_bytes is not None:
        total = memory.weights_bytes + memory.input_bytes + memory.activation_peak_bytes
        parts += f" + activations {_mb(memory.activation_peak_bytes)}"
        tensors = f"tensors {_mb(total)} MB = "
    exact = memory.closed_form_bytes
    closed = (("closed form", f"{_mb(exact)} MB"),) if exact is not None else ()
    yield pairs(("memory", f"{tensors}{parts} MB"), *closed)
    whole = (
        ("allocated", memory.allocated_peak_bytes),
        ("reserved", memory.reserved_peak_bytes),
        ("workspace", memory.workspace_bytes),
        ("context", memory.context_bytes),
        ("process by NVML", memory.device_process_bytes),
        ("resident set", memory.resident_set_peak_bytes),
    )
    if told := [(name, f"{_mb(size)} MB") for name, size in whole if size is not None]:
        yield pairs(*told)
    yield pairs(("", f"({memory.method})"))


def _memory_here(m: Measurement) -> Pairs:
    peak = m.extra["peak_memory_bytes"]
    return pairs(
        ("memory", "not measured" if peak is None else f"peak {_mb(peak)} MB"),
        ("", str(m.extra.get("memory_missing") or m.extra.get("memory_method", ""))),
    )


def _energy(energy: Energy) -> Pairs:
    found = [("energy", f"{energy.joules_per_image:.4g} J/image")]
    if energy.joules_per_image_above_idle is not None:
        found.append(("above idle", f"{energy.joules_per_image_above_idle:.4g} J/image"))
    found.append(("mean", f"{energy.mean_watts:.0f} W"))
    if energy.idle_watts is not None:
        found.append(("idle", f"{energy.idle_watts:.0f} W"))
    windows = counted(len(energy.window_s), "window")
    seconds = sum(energy.window_s) / max(len(energy.window_s), 1)
    return pairs(*found, ("", f"({energy.counter}, {windows} of {seconds:.1f} s)"))


def workload_words(profile: Profile) -> str:
    """Batch, image, dtype and the way it was run, in words."""
    w = profile.workload
    return f"batch {w.batch_size}, {w.height} x {w.width}, {w.dtype}, {run_words(profile)}"


def device_line(profile: Profile, e: Environment) -> Pairs:
    """Where it was run."""
    cpu = not profile.workload.device.startswith("cuda")
    threads = f", {counted(e.threads, 'thread')}" if cpu else ""
    return pairs(
        ("device", f"{e.device_name}{threads}"), ("", f"torch {e.torch}, Python {e.python}")
    )


def missing_lines(profile: Profile) -> Iterator[Text]:
    """What was asked for and is not there, and why."""
    found = (profile.missing or {}).items()
    return sentences("missing", "yellow", [f"{name}: {why}" for name, why in found])


def counted(count: int, noun: str) -> str:
    """``1 sample``, ``2 samples``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def rate(per_s: float) -> str:
    """Images a second to the precision that is worth reading."""
    return f"{per_s:.1f}" if per_s < 1000 else f"{per_s:,.0f}"


def _mb(size: Any) -> str:
    return f"{float(size) / 1e6:,.1f}"


class Pairs:
    """``name value   name value``: names dim, values never read as markup, lines end between pairs.

    A pair that is wider than the terminal is folded.
    """

    def __init__(self, *found: tuple[str, str]) -> None:
        self._found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As few lines as the width allows."""
        line = Text(overflow="fold")
        for name, value in self._found:
            pair = Text()
            pair.append(f"{name} " if name else "", style="dim")
            pair.append(value)
            if not pair:
                continue
            if line and line.cell_len + 3 + pair.cell_len > options.max_width:
                yield line
                line = Text(overflow="fold")
            line.append("   " if line else "").append_text(pair)
        yield line


def pairs(*found: tuple[str, str]) -> Pairs:
    """Names and values on a line; an empty name leaves the value alone."""
    return Pairs(*found)


def sentences(kind: str, style: str, texts: Iterable[Any]) -> Iterator[Text]:
    """``kind: sentence`` a line."""
    for text in texts:
        line = Text(overflow="fold")
        line.append(f"{kind}: ", style=style)
        line.append(str(text))
        yield line
