"""A session as Markdown: the tables that are worth keeping, what failed and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_state import Session

__all__ = ["summary", "table"]

MIB = 1 << 20


def summary(session: Session, data: dict[str, Any]) -> str:
    """The whole document. A part that cannot be shown says so and the others stand."""
    parts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("", lambda: _head(session, data)),
        ("Sections", lambda: _sections(data)),
        ("Checks", lambda: _checks(session)),
        ("Images a second", lambda: _pivot(session, _images_per_s)),
        ("Milliseconds a batch", lambda: _pivot(session, _milliseconds)),
        ("Memory, each in a fresh process", lambda: _memory(session)),
        ("Energy", lambda: _energy(session)),
        ("Where the time goes", lambda: _breakdowns(session)),
        ("Compared", lambda: _comparisons(session)),
        ("MSDA alone", lambda: _operator(session)),
        ("Doubts", lambda: _doubts(session)),
        ("Failed", lambda: _failures(data)),
        ("Left out", lambda: _left_out(data)),
    )
    texts = []
    for title, make in parts:
        try:
            body = make()
        except Exception as error:  # noqa: BLE001 - what was measured is in the other files anyway
            body = f"cannot be shown: {type(error).__name__}: {error}"
        if body:
            texts.append(f"## {title}\n\n{body}" if title else body)
    return "\n\n".join(texts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, numbers to the right; empty without rows."""
    shown = [[_cell(value) for value in row] for row in rows]
    if not shown:
        return ""
    columns = list(zip(*shown, strict=True))
    # A column of numbers stands to the right.
    marks = ["---:" if all(_number(text) for text in column) else "---" for column in columns]
    lines = [header, marks, *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _number(text: str) -> bool:
    try:
        float(text.rstrip("%") or 0)
    except ValueError:
        return text == "-"
    return True


def _head(session: Session, data: dict[str, Any]) -> str:
    facts = data["facts"]
    where = facts.get("environment", {})
    name = where.get("device_name", session.device)
    own = where.get("facts", {})
    words = [
        f"# Session on {name}",
        f"{data['written']}, {data['elapsed_s']:.0f} s of at most {data['limit_s']:.0f} s.",
    ]
    packages = facts.get("packages", {})
    versions = [f"{key} {value}" for key, value in packages.items() if value != "not installed"]
    rows = [("dilnas", facts.get("dilnas")), ("Python", facts.get("python"))]
    rows += [("packages", ", ".join(versions)), ("platform", facts.get("platform"))]
    rows += [
        (key.replace("_", " "), value)
        for key, value in own.items()
        if value is not None and value != []
    ]
    rows += [("MSDA backends", ", ".join(facts.get("msda_backends", [])))]
    words.append(table(("fact", "value"), [(key, str(value)) for key, value in rows]))
    return "\n\n".join(words)


def _sections(data: dict[str, Any]) -> str:
    rows = [
        (s["name"], s["status"], s.get("seconds"), s.get("allowed_s"),
         len(s.get("left_out", ())), s.get("error", "")[:200])
        for s in data["sections"]
    ]  # fmt: skip
    return table(("section", "status", "s", "allowed s", "left out", "why"), rows)


def _checks(session: Session) -> str:
    if not session.checks:
        return ""
    count = Counter(check["status"] for check in session.checks)
    words = ", ".join(f"{number} {status}" for status, number in count.most_common())
    rows = [(c["name"], c["status"], c["seconds"], c["text"][:300]) for c in session.checks]
    return f"{words}.\n\n" + table(("check", "status", "s", "text"), rows)


def _images_per_s(profile: Any) -> float | None:
    found = profile.measurement
    return None if found is None else profile.workload.batch_size / found.median


def _milliseconds(profile: Any) -> float | None:
    return None if profile.measurement is None else profile.measurement.median * 1e3


def _msda(profile: Any) -> str:
    where = profile.environment
    return str(where.facts.get("msda_backend", "")) if where is not None else ""


def _pivot(session: Session, value: Callable[[Any], float | None]) -> str:
    """One row a way to run, one column a batch size; "-" where a batch did not run."""
    rows: dict[tuple[str, ...], dict[int, float | None]] = {}
    for p in session.profiles.values():
        w = p.workload
        key = (p.name, w.mode, w.dtype, w.compile, _msda(p))
        rows.setdefault(key, {})[w.batch_size] = value(p)
    batches = sorted({batch for row in rows.values() for batch in row})
    shown = [
        [*key, *(_or_dash(row, batch) for batch in batches)] for key, row in sorted(rows.items())
    ]
    return table(("network", "mode", "dtype", "run", "MSDA", *map(str, batches)), shown)


def _or_dash(row: dict[int, float | None], batch: int) -> object:
    return "" if batch not in row else "-" if row[batch] is None else row[batch]


def _memory(session: Session) -> str:
    fields = ("activation_peak", "workspace", "allocated_peak", "reserved_peak", "context",
              "device_process", "resident_set_peak")  # fmt: skip
    rows = []
    for p in session.profiles.values():
        if (m := p.memory) is not None:
            told = [getattr(m, f"{name}_bytes") for name in fields]
            parts = [m.weights_bytes, m.input_bytes, told[0]]
            tensors = None if None in parts else sum(parts)
            sizes = [*parts, tensors, m.closed_form_bytes, *told[1:]]
            shown = ["" if size is None else f"{size / MIB:.1f}" for size in sizes]
            rows.append([p.name, p.workload.mode, p.workload.dtype, p.workload.batch_size, *shown])
    names = ("weights", "input", "activation peak", "tensors", "closed form", "workspace",
             "allocated peak", "reserved peak", "context", "device process",
             "resident set peak")  # fmt: skip
    body = table(("network", "mode", "dtype", "batch", *names), rows)
    words = (
        "In MiB. Tensors are weights, input and activations, which the closed form predicts (none:"
        " the record's method says why); allocated is tensors and workspace."
    )
    return f"{words}\n\n{body}" if body else ""


def _energy(session: Session) -> str:
    rows = []
    for p in session.profiles.values():
        if p.energy is not None:
            e = p.energy
            above = e.joules_per_image_above_idle
            rows.append(
                (p.name, p.workload.dtype, p.workload.batch_size, e.joules_per_image * 1e3,
                 None if above is None else above * 1e3, e.mean_watts, e.idle_watts,
                 len(e.window_s), "; ".join(e.doubts))
            )  # fmt: skip
    header = ("network", "dtype", "batch", "mJ an image", "above idle", "W", "idle W", "windows",
              "doubts")  # fmt: skip
    return table(header, rows)


def _breakdowns(session: Session) -> str:
    texts = []
    for p in session.profiles.values():
        if (b := p.breakdown) is None:
            continue
        w = p.workload
        rates = f"{b.rates.macs_per_s / 1e12:.3g} TMAC/s, {b.rates.bytes_per_s / 1e9:.4g} GB/s"
        idle = [row.time_s for row in b.operators if row.name == "idle"]  # on a GPU only
        took, words = b.total_s - sum(idle), "in kernels" if idle else "instrumented"
        texts.append(
            f"**{p.name} {w.mode} {w.dtype} batch {w.batch_size}**: {b.bottleneck}\n\n"
            f"{took * 1e3:.3f} ms {words}, {b.plain_s * 1e3:.3f} ms plain; {rates}; "
            f"{b.method}. Parts and operators each sum to the total."
            + "".join(f"\n- doubt about the roofs: {text}" for text in b.rates.doubts)
        )
        for kind, rows in (("part", b.parts), ("operator", b.operators)):
            header = (kind, "ms", "share", "GMACs", "GB", "of the roof", "nearer roof")
            cells = [
                (row.name, row.time_s * 1e3, f"{row.time_s / b.total_s:.1%}",
                 *(_work(row, b.rates) if row.moved_bytes else ("", "", "", "")))
                for row in rows
            ]  # fmt: skip
            texts.append(table(header, cells))
    return "\n\n".join(texts)


def _work(row: Any, rates: Any) -> tuple[object, ...]:
    return (
        row.macs / 1e9, row.moved_bytes / 1e9, f"{row.attained(rates):.1%}", row.bound(rates),
    )  # fmt: skip


def _comparisons(session: Session) -> str:
    texts = []
    for found in session.comparisons:
        w = found.workload
        base = found.contenders[0]
        rows: list[tuple[object, ...]] = [
            (base.name, base.median_s * 1e3, None, None, None, "baseline")
        ]
        times = {c.name: c.median_s * 1e3 for c in found.contenders}
        for v in found.verdicts:
            noise = f"{v.noise_low:.3f} to {v.noise_high:.3f}"
            interval = f"{v.low:.3f} to {v.high:.3f}"
            ratio = f"{v.ratio:.3f}"
            rows.append((v.name, times.get(v.name), ratio, interval, noise, v.verdict))
        header = ("network", "ms a batch", "ratio", "95 %", "A/A", "verdict")
        doubts = "".join(f"\n- {text}" for text in found.doubts)
        title = f"{w.dtype}, batch {w.batch_size}, {w.height} x {w.width}, {w.compile}"
        texts.append(f"{title}\n\n{table(header, rows)}" + (f"\n{doubts}" if doubts else ""))
    return "\n\n".join(texts)


def _operator(session: Session) -> str:
    names = sorted({name for row in session.operator for name in row["median_s"]})
    rows = []
    for row in session.operator:
        times = row["median_s"]
        base = times.get("matmul")
        cells: list[object] = []
        for name in names:
            own = times.get(name)
            ratio = f" ({base / own:.2f}x)" if own and base and name != "matmul" else ""
            cells.append("" if own is None else f"{own * 1e3:.3f}{ratio}")
        shape = f"{row['batch']} x {row['side']}² x {row['channels']}"
        way = "forward + backward" if row["backward"] else "forward"
        rows.append([row["case"], shape, row["dtype"], way, *cells])
    body = table(("map", "B x HW x C", "dtype", "pass", *names), rows)
    return f"Milliseconds, and times as fast as matmul (unfold).\n\n{body}" if body else ""


def _doubts(session: Session) -> str:
    lines = []
    for path, p in session.profiles.items():
        if p.doubts:
            name = path.rpartition("/")[2].removesuffix(".json")
            lines.append(f"- {name}: " + "; ".join(p.doubts))
    return "\n".join(lines)


def _failures(data: dict[str, Any]) -> str:
    lines = []
    for section in data["sections"]:
        if section["status"] in ("failed", "cut") and section.get("traceback"):
            text = section["traceback"]
            lines.append(f"**{section['name']}**: {section['error']}\n\n```\n{text}```")
        for failure in section.get("failures", ()):
            text = failure["traceback"][-3000:]
            lines.append(f"**{section['name']}, {failure['what']}**\n\n```\n{text}```")
    return "\n\n".join(lines)


def _left_out(data: dict[str, Any]) -> str:
    lines = []
    for section in data["sections"]:
        if section["status"] in ("no time", "skipped", "pending"):
            lines.append(f"- {section['name']}: {section.get('error') or section['status']}")
        lines += [f"- {section['name']}: {text}" for text in section.get("left_out", ())]
    lines += [f"- sweep: {text}: not reached" for text in data.get("not_reached", ())]
    lines += [f"- short session: {text}" for text in data.get("left_out_of_the_plan", ())]
    return "\n".join(lines)
