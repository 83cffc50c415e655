"""``dilnas calibrate``: measure this device, to predict any architecture's latency."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dilnas.cli.options import ChannelsLast, Compile, CudaGraph, DeviceName, Threads

__all__ = ["calibrate"]


def calibrate(
    *,
    device: DeviceName = None,
    dtype: Annotated[str, typer.Option(help="fp32, tf32, fp16 or bf16.")] = "fp32",
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 1,
    img_size: Annotated[
        str | None,
        typer.Option(help="Side or HEIGHTxWIDTH (default: the space's own).", show_default=False),
    ] = None,
    compile_it: Compile = False,
    cuda_graph: CudaGraph = False,
    channels_last: ChannelsLast = False,
    threads: Threads = 0,
    space: Annotated[
        str, typer.Option(help="Networks are drawn from it: a shipped space, or a YAML file.")
    ] = "dilateformer",
    time_limit: Annotated[float, typer.Option(help="Seconds of measuring, all calls together.")] = (
        300.0
    ),
    seed: Annotated[int, typer.Option(help="Of the networks that are drawn.")] = 0,
    max_drift: Annotated[
        float,
        typer.Option(help="Change of the device on the way that is put up with: 0.25 is 25 %."),
    ] = 0.25,
    json: Annotated[
        bool, typer.Option("--json", help="The figures as one JSON document on stdout.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="A folder like profiles/, or a file that ends in .json.")
    ] = Path("profiles"),
) -> None:
    """Measure random networks on this device and fit a predictor to them.

    It is checked on networks that were not fitted, and says how far off it is. Leave the machine
    alone meanwhile. Ended early, the same command goes on.

    \b
    Examples:
      dilnas calibrate --batch-size 8
      dilnas calibrate --device cuda --dtype bf16 --batch-size 64
      dilnas calibrate --space mine.yaml --img-size 384 --time-limit 600
    """
    from dilnas.cli.profile_options import compile_choice, image_sides
    from dilnas.cli.progress import Progress, console
    from dilnas.measure.machine import choose_device
    from dilnas.predict import calibrate as run
    from dilnas.records import Workload
    from dilnas.report.predicted import calibration_json, calibration_view
    from dilnas.space import SearchSpace

    found = SearchSpace.load(space)
    height, width = image_sides(img_size) if img_size else (found.image_size,) * 2
    workload = Workload(
        batch_size=batch_size, height=height, width=width, dtype=dtype,
        device=choose_device(device), compile=compile_choice(
            compile_it=compile_it, cuda_graph=cuda_graph
        ),
        channels_last=channels_last, threads=threads,
    )  # fmt: skip
    try:
        with Progress() as progress:
            result, path = run(
                found, workload, time_limit=time_limit, seed=seed, most_drift=max_drift, out=out,
                on_progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        print("what was measured is kept: the same command goes on", file=sys.stderr)
        raise
    console(stderr=json).print(calibration_view(result, path))
    if json:
        print(calibration_json(result), flush=True)
