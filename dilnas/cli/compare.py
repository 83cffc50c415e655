"""``dilnas compare``: which of several models is faster here, and whether that can be told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dilnas.cli.options import ChannelsLast, Compile, CudaGraph, DeviceName, Threads

__all__ = ["compare"]


def compare(  # noqa: PLR0917 - typer's parameters are the options
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Two or more of: tiny, small, base, an architecture file, RUN#N, timm:NAME,"
            " package.module:factory (imported, also from this folder, and called).",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="What all are compared with (default: the first).", show_default=False),
    ] = None,
    device: DeviceName = None,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 1,
    dtype: Annotated[str, typer.Option(help="fp32, tf32, fp16 or bf16.")] = "fp32",
    img_size: Annotated[str, typer.Option(help="224, or HEIGHTxWIDTH.")] = "224",
    mode: Annotated[str, typer.Option(help="inference, or train: forward and backward.")] = (
        "inference"
    ),
    threads: Threads = 0,
    channels_last: ChannelsLast = False,
    compile_it: Compile = False,
    cuda_graph: CudaGraph = False,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Relative difference that counts as none (default: 0.03 on a CPU, 0.01 on CUDA).",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Exactly so many rounds, instead of as many as it takes.", show_default=False
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for warm-up and rounds (default: 60; up to 120 for 12 rounds).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random orders.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, the table on stderr.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON document here too.", show_default=False)
    ] = None,
) -> None:
    """Which of several models is faster here, and whether that can be told.

    They take turns in random order, beside a second copy of the first: that shows the noise.

    FASTER, SLOWER: by more than margin and noise. SAME: within the margin. Else AMBIGUOUS.

    Weights are random, nothing is downloaded. A factory is code of yours, and is executed.

    \b
    Examples:
      dilnas compare tiny base
      dilnas compare tiny runs/first#12 mine.yaml --batch-size 8
      dilnas compare timm:resnet50 tiny --device cuda --dtype bf16
      dilnas compare my_models:old my_models:new --margin 0.01 --json
    """
    from dilnas.cli.profile_options import check_writable, image_sides
    from dilnas.cli.progress import Progress, console
    from dilnas.files import write_atomic
    from dilnas.measure.comparing import compare as run
    from dilnas.measure.heap import keep_freed_memory
    from dilnas.report.comparison import comparison_view
    from dilnas.report.document import comparison_json

    if out is not None:
        check_writable(out, "--out")
    keep_freed_memory()
    with Progress() as progress:
        result = run(
            models or (),
            baseline=baseline,
            device=device,
            batch_size=batch_size,
            img_size=image_sides(img_size),
            dtype=dtype,
            mode=mode,
            threads=threads,
            channels_last=channels_last,
            compile=compile_it,
            cuda_graph=cuda_graph,
            seed=seed,
            margin=margin,
            rounds=rounds,
            time_limit=time_limit,
            on_progress=progress,
        )
    console(stderr=json).print(comparison_view(result))
    if json:
        print(comparison_json(result), flush=True)
    if out is not None:  # last: a folder that cannot be written must not cost the measurement
        write_atomic(out, comparison_json(result) + "\n")
        print(f"written: {out}", file=sys.stderr)
