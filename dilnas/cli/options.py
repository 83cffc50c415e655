"""Options that several commands share: one meaning, one help text."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ChannelsLast", "Compile", "CudaGraph", "DeviceName", "Threads"]

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
