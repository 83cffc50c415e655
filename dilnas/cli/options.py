"""Options that several commands share: one meaning, one help text."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ChannelsLast", "Compile", "CudaGraph", "DeviceName", "Threads", "seconds_of"]

DeviceName = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or cuda:N (default: cuda where there is one).", show_default=False
    ),
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: as torch finds them.")]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Images and 4-d weights channels last.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Run it by torch.compile.")]
CudaGraph = Annotated[bool, typer.Option("--cuda-graph", help="Replay it as a CUDA graph.")]


def seconds_of(text: str | None, where: str) -> float | None:
    """Seconds of "90", "90s", "30m" or "2h". Raises InputError for anything else."""
    from dilnas.errors import InputError

    if text is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:].lower())
    try:
        return float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        raise InputError("not a time", where=where, expected="90s | 30m | 2h", got=text) from None
