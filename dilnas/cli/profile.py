"""``dilnas profile``: what an architecture costs, and how fast it runs here."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dilnas.cli.options import ChannelsLast, Compile, CudaGraph, DeviceName, Threads
from dilnas.cli.profile_options import (
    check_roofline,
    check_writable,
    compile_choice,
    image_sides,
    numbers,
    words,
)
from dilnas.cli.progress import Progress, console
from dilnas.errors import InputError

if TYPE_CHECKING:
    from dilnas.records import Profile

__all__ = ["image_sides", "profile"]


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
    task: Annotated[
        str | None,
        typer.Option(
            help="detection (Mask R-CNN) or segmentation (UPerNet): cost of backbone, neck and "
            "heads, time of the backbone.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = None,
    batch_size: Annotated[str, typer.Option(help="Images in a batch: 1, or 1,8,64.")] = "1",
    img_size: Annotated[
        str | None,
        typer.Option(
            help="Side or HEIGHTxWIDTH: 224, or 224,384,800x1280 (default: 224; with --task the "
            "papers' own).",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="fp32, tf32, fp16, bf16, or several.")] = "fp32",
    mode: Annotated[
        str, typer.Option(help="inference, train (forward and backward), or both.")
    ] = "inference",
    compile_it: Compile = False,
    cuda_graph: CudaGraph = False,
    channels_last: ChannelsLast = False,
    threads: Threads = 0,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Run it, or only count.")
    ] = True,
    memory: Annotated[
        bool | None,
        typer.Option(
            "--memory/--no-memory",
            help="Memory in a fresh process (default: for one workload).",
            show_default=False,
        ),
    ] = None,
    energy: Annotated[
        bool | None,
        typer.Option(
            "--energy/--no-energy",
            help="Energy of an image (default: for one workload on CUDA).",
            show_default=False,
        ),
    ] = None,
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="Time by part and by operator.")
    ] = False,
    roofline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Draw the breakdown under the roofs.", show_default=False
        ),
    ] = None,
    counters: Annotated[
        bool, typer.Option("--counters", help="fvcore, ptflops and torch beside the count.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            show_default=False,
            help="Calibration whose prediction to show (default: one of this device and workload).",
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for warm-up and samples of a workload (default: 20 at most).",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, tables on stderr.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write JSON here too: a file, or a folder such as profiles/ (a file a workload).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """What an architecture costs, and how fast it runs here.

    The cost is exact and needs no device. Time, memory and energy are measured and carry their
    doubts. Lists make a sweep: a row a workload, and what does not fit is a row that says so.

    \b
    Examples:
      dilnas profile --variant base
      dilnas profile base --no-latency --counters
      dilnas profile tiny --batch-size 1,8,64 --dtype fp32,bf16
      dilnas profile runs/first#12 --device cuda --batch-size 64 --breakdown
      dilnas profile mine.yaml --img-size 800x1280 --out profiles/
      dilnas profile small --task detection --img-size 800x1280
    """
    from dilnas.measure import Protocol
    from dilnas.measure.heap import keep_freed_memory
    from dilnas.measure.sweeping import sweep

    keep_freed_memory()
    spec = _which(architecture, variant)
    axes: dict[str, Any] = {
        "batch_sizes": numbers("--batch-size", batch_size),
        "img_sizes": tuple(
            image_sides(item)
            for item in words("--img-size", "224" if img_size is None else img_size)
        ),
        "dtypes": words("--dtype", dtype),
        "modes": words("--mode", mode),
        "compiles": (compile_choice(compile_it=compile_it, cuda_graph=cuda_graph),),
    }
    count = 1
    for values in axes.values():
        count *= len(values)
    protocol = Protocol() if time_limit is None else Protocol().within(time_limit)
    if task is not None:
        from dilnas.cli.profile_task import profile_dense

        foreign = {
            "--memory": memory, "--energy": energy, "--breakdown": breakdown,
            "--roofline": roofline, "--counters": counters, "--profile": calibration,
        }  # fmt: skip
        profile_dense(
            spec, task, axes, own_size=img_size is None,
            foreign=[option for option, given in foreign.items() if given], json=json, out=out,
            protocol=protocol, device=device, latency=latency, channels_last=channels_last,
            threads=threads,
        )  # fmt: skip
        return
    if roofline is not None:
        check_roofline(roofline, workloads=count, latency=latency)
    if out is not None:
        check_writable(out, "--out", folder_too=True)
    done: list[Profile] = []
    predicted = _prediction(calibration, device, axes, channels_last) if latency else None
    try:
        with Progress() as progress:

            def keep(result: Profile) -> None:
                result = predicted(result) if predicted else result
                done.append(result)
                if count > 1 and latency:
                    progress.line(_row(len(done), count, result))

            sweep(
                spec, **axes, device=device, channels_last=channels_last, threads=threads,
                latency=latency, memory=memory, energy=energy,
                breakdown=breakdown or roofline is not None, counters=counters,
                protocol=protocol, on_profile=keep, on_progress=progress,
            )  # fmt: skip
    finally:  # an interrupted sweep keeps the rows that it has
        if done:
            if len(done) < count:
                print(f"ended after {len(done)} of {count} workloads", file=sys.stderr)
            _deliver(done, count, json=json, out=out)
    if roofline is not None:
        _draw(done[0], roofline)


def _prediction(
    name: str | None, device: str | None, axes: Mapping[str, Any], channels_last: bool
) -> Callable[[Profile], Profile]:
    """Adds to a measured profile what was predicted for it.

    A ``--profile`` that is for another device, or for none of the workloads, ends here.
    """
    from dilnas.predict.beside import check_beside, predicted_beside

    if name is None:
        return predicted_beside
    from dilnas.measure.machine import choose_device, environment
    from dilnas.predict import LatencyPredictor
    from dilnas.records import Workload

    predictor, where = LatencyPredictor.load(name), choose_device(device)
    fields = ("batch_size", "size", "dtype", "mode", "compile")
    workloads = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(fields, values, strict=True))
        height, width = chosen.pop("size")
        workloads.append(
            Workload(
                **chosen, height=height, width=width, device=where, channels_last=channels_last
            )
        )
    check_beside(predictor, workloads, environment(where))
    return lambda result: predicted_beside(result, predictor)


def _row(number: int, count: int, result: Profile) -> str:
    from dilnas.report.sweep import progress_line

    return progress_line(number, count, result)


def _deliver(done: Sequence[Profile], count: int, *, json: bool, out: Path | None) -> None:
    """Tables, then the document: what is printed is not lost if the file cannot be written."""
    from dilnas.report.document import profile_json, profiles_json, write_profiles
    from dilnas.report.sweep import sweep_view
    from dilnas.report.tables import profile_view

    console(stderr=json).print(profile_view(done[0]) if count == 1 else sweep_view(done))
    if json:
        print(profile_json(done[0]) if count == 1 else profiles_json(done), flush=True)
    if out is not None:
        for path in write_profiles(done, out, several=count > 1):
            print(f"written: {path}", file=sys.stderr)


def _draw(result: Profile, path: Path) -> None:
    """The roofline, unless the breakdown is missing: the table above has said why."""
    if result.breakdown is None:
        print(f"not drawn: {path}: there is no breakdown", file=sys.stderr)
        return
    from dilnas.report.roofline import write_roofline

    write_roofline(result, path)
    print(f"written: {path}", file=sys.stderr)


def _which(architecture: str | None, variant: str | None) -> str:
    given = [word for word in (architecture, variant) if word is not None]
    if len(given) != 1:
        raise InputError(
            "name one architecture", where="ARCHITECTURE",
            expected="tiny | small | base | FILE.yaml | RUN#N",
            got=" and ".join(given) or "nothing",
        )  # fmt: skip
    return given[0]
