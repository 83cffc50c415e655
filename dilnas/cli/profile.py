"""``dilnas profile``: what an architecture costs, and how fast it runs here."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dilnas.errors import InputError

__all__ = ["image_sides", "profile"]


def image_sides(text: str) -> tuple[int, int]:
    """(height, width) of "224" or "800x1280". Raises InputError for anything else."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isascii() and s.isdecimal() and len(s) <= 6 for s in sides):
        raise InputError(
            "must be a side or HEIGHTxWIDTH",
            where="--img-size",
            expected="224 | 800x1280",
            got=text,
        )
    return int(sides[0]), int(sides[-1])


def profile(  # noqa: PLR0917 - typer's parameters are the options
    architecture: Annotated[
        str | None,
        typer.Argument(
            help="tiny, small, base, an architecture file, or RUN#N.", show_default=False
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="The same as the argument.", show_default=False)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or cuda:N (default: cuda where there is one).", show_default=False
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 1,
    dtype: Annotated[str, typer.Option(help="fp32, tf32, fp16 or bf16.")] = "fp32",
    img_size: Annotated[str, typer.Option(help="224, or HEIGHTxWIDTH.")] = "224",
    mode: Annotated[str, typer.Option(help="inference, or train: forward and backward.")] = (
        "inference"
    ),
    threads: Annotated[int, typer.Option(help="CPU threads; 0: as torch finds them.")] = 0,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Run it, or only count.")
    ] = True,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for warm-up and samples (default: 20 at most).", show_default=False
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, tables on stderr.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON document here too.", show_default=False)
    ] = None,
) -> None:
    """What an architecture costs, and how fast it runs here.

    The cost is exact and needs no device. Time and memory are measured and carry their doubts.

    \b
    Examples:
      dilnas profile --variant base
      dilnas profile base --no-latency
      dilnas profile runs/first#12 --device cuda --batch-size 64 --dtype bf16
      dilnas profile mine.yaml --img-size 800x1280 --json
    """
    from dilnas.files import write_atomic
    from dilnas.measure import Protocol
    from dilnas.measure import profile as run_profile
    from dilnas.report import profile_json, profile_view

    protocol = Protocol() if time_limit is None else Protocol().within(time_limit)
    with _Progress() as progress:
        result = run_profile(
            _which(architecture, variant),
            device=device,
            batch_size=batch_size,
            dtype=dtype,
            img_size=image_sides(img_size),
            latency=latency,
            mode=mode,
            threads=threads,
            protocol=protocol,
            on_progress=progress,
        )
    _console(stderr=json).print(profile_view(result))
    if json:
        print(profile_json(result), flush=True)
    if out is not None:  # last: a folder that cannot be written must not cost the measurement
        write_atomic(out, profile_json(result) + "\n")
        print(f"written: {out}", file=sys.stderr)


def _which(architecture: str | None, variant: str | None) -> str:
    given = [word for word in (architecture, variant) if word is not None]
    if len(given) != 1:
        raise InputError(
            "name one architecture", where="ARCHITECTURE",
            expected="tiny | small | base | FILE.yaml | RUN#N",
            got=" and ".join(given) or "nothing",
        )  # fmt: skip
    return given[0]


def _console(*, stderr: bool) -> Any:
    """A pipe has no width: tables are not folded for it, so that lines can be searched."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)


class _Progress:
    """Says on stderr what is going on, once it has taken two seconds.

    Called between runs only and without a thread of its own: a refresh in the middle of a sample
    would be measured with it.
    """

    PATIENCE_S = 2.0

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.last = 0.0
        self.shown = False
        self.terminal = sys.stderr.isatty()
        self.every_s = 0.25 if self.terminal else 10.0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown and self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, doing: str, share: float) -> None:
        now = time.monotonic()
        late = now - self.start > self.PATIENCE_S
        if not late or (self.shown and now - self.last < self.every_s):
            return
        self.shown, self.last = True, now
        line = f"measuring: {doing}, {now - self.start:.0f} s, {share:.0%} of the limit"
        sys.stderr.write(f"\r\x1b[K{line}" if self.terminal else f"{line}\n")
        sys.stderr.flush()
