"""Which cut is fastest for the Triton kernels on this GPU? Every one tried, a table printed.

    python benchmarks/msda_tune.py [--dtype bf16] [--batch 128] [--case tiny-s1 …] [--out FILE.json]

For each of the paper's MSDA maps and each of the three kernels: runs of 1, 2 and 4 pixels, one to
four threads a pixel, small programs and large ones. Compiling takes most of the time, so other
processes do it first, side by side, into Triton's cache on disk, for --compile-seconds at most;
what is not compiled by then is not measured. "of copying" is what the bytes that the kernel must
move take at the device's own copy rate, over what it took: 4 maps of
B x H x W x C for the forward pass, 6 for each half of the backward pass. The last lines are the
cuts that are best over all maps: what ``FASTEST`` in ``dilnas.ops.triton_launch`` holds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from msda import DILATIONS, OPERATOR  # noqa: E402

from dilnas.files import write_atomic  # noqa: E402
from dilnas.ops import triton_kernels as kernels  # noqa: E402
from dilnas.ops import triton_launch as launch  # noqa: E402

MAPS = {"forward": 4, "queries": 6, "keys": 6}
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Shape = tuple[int, int, int, int]


CUTS = (
    *((1, threads, runs) for threads, runs in ((1, 64), (2, 32), (2, 64))),
    *((2, threads, runs) for threads, runs in ((1, 32), (1, 64), (2, 32), (2, 64), (4, 32))),
    *((4, threads, runs) for threads, runs in ((2, 32), (4, 16), (4, 32))),
    (1, 4, 64),
)
"""(run, threads, runs) of the candidates. Runs of 4 pixels a thread compile for half a minute."""


def cuts() -> tuple[launch.Cut, ...]:
    """Candidates, for any pass."""
    return tuple(launch.Cut(*numbers) for numbers in CUTS)


def calls(shape: Shape, dtype: torch.dtype) -> dict[str, Callable[[launch.Cut], object]]:
    """Each kernel with a cut."""
    batch, side, channels, heads = shape
    qkv = torch.randn(batch, side, side, 3 * channels, device="cuda").to(dtype)
    grad = torch.randn(batch, side, side, channels, device="cuda").to(dtype)
    out, lse = launch.forward(qkv, heads, 3, DILATIONS)
    delta, dqkv = torch.zeros_like(lse), torch.empty_like(qkv)

    def one(kernel: str, cut: launch.Cut) -> None:
        grid, arguments, options = launch._call(qkv, heads, 3, DILATIONS, kernel, cut)
        if kernel == "forward":
            kernels.msda_forward[grid](qkv, out, lse, *arguments, ROWS=3, KEEP=True, **options)
        elif kernel == "queries":
            kernels.msda_backward_queries[grid](
                qkv, out, grad, lse, delta, dqkv, *arguments, **options
            )
        else:
            kernels.msda_backward_keys[grid](qkv, grad, lse, delta, dqkv, *arguments, **options)

    return {kernel: lambda cut, kernel=kernel: one(kernel, cut) for kernel in launch.PASSES}


def work(cases: list[str]) -> Iterator[tuple[str, str, launch.Cut]]:
    """(case, kernel, cut) of everything to try."""
    return itertools.product(cases, launch.PASSES, cuts())


def compile_share(args: argparse.Namespace) -> None:
    """Every so-manieth item, on a small batch: the kernels are the same."""
    index, count = map(int, args.share.split("/"))
    made: dict[str, Any] = {}
    for i, (case, kernel, cut) in enumerate(work(args.case)):
        if i % count == index:
            if case not in made:
                made[case] = calls((2, *OPERATOR[case][1:]), TYPES[args.dtype])
            try:
                made[case][kernel](cut)
            except RuntimeError as error:
                print(case, kernel, cut, str(error).splitlines()[0])
            else:
                (args.done / str(i)).touch()


def compile_all(args: argparse.Namespace) -> set[int]:
    """Numbers of the items that were compiled in time."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--batch", str(args.batch), "--dtype", args.dtype]
        words += ["--case", *args.case, "--done", folder]
        running = [
            subprocess.Popen([*words, "--share", f"{i}/{args.processes}"])
            for i in range(args.processes)
        ]
        end = time.monotonic() + args.compile_seconds
        for process in running:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return {int(path.name) for path in Path(folder).iterdir()}


def copy_rate() -> float:
    """Bytes a second, read and written, of a copy of 2 GiB."""
    a = torch.empty(1 << 30, dtype=torch.bfloat16, device="cuda").random_(0, 100)
    b = torch.empty_like(a)
    return 2 * a.nbytes / timed(lambda: b.copy_(a), 20)


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call, by events."""
    for _ in range(3):
        call()
    times = []
    torch.cuda._sleep(20_000_000)  # the queue fills meanwhile: no call waits to be handed over
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        times.append((begin, end))
    torch.cuda.synchronize()
    return sorted(b.elapsed_time(e) for b, e in times)[repeats // 2] / 1e3


def _cut(row: dict[str, Any]) -> launch.Cut:
    return launch.Cut(row["run"], row["threads"], row["runs"])


def _microseconds(row: dict[str, Any]) -> float:
    return float(row["us"])


def main() -> None:
    """Compile side by side, measure one after another, print the best."""
    parser = argparse.ArgumentParser(description="tune the Triton kernels of MSDA")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dtype", default="bf16", choices=TYPES)
    parser.add_argument("--case", nargs="+", default=list(OPERATOR), choices=list(OPERATOR))
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--compile-seconds", type=float, default=60.0)
    parser.add_argument("--best", type=int, default=4, help="rows shown of each kind")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    parser.add_argument("--done", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.share:
        compile_share(args)
        return
    compiled = compile_all(args)
    rate, rows, dtype = copy_rate(), [], TYPES[args.dtype]
    print(f"copy {rate / 1e12:.3f} TB/s on {torch.cuda.get_device_name()}")
    made: dict[str, Any] = {}
    for i, (case, kernel, cut) in enumerate(work(args.case)):
        if i not in compiled:
            print(f"{case} {kernel} {cut}: not compiled in time")
            continue
        if case not in made:
            made = {case: calls((args.batch, *OPERATOR[case][1:]), dtype)}
        try:
            took = timed(lambda call=made[case][kernel], cut=cut: call(cut), 15)
        except RuntimeError as error:
            print(case, kernel, cut, str(error).splitlines()[0])
            continue
        rows.append({"case": case, "kernel": kernel, **asdict(cut), "us": took * 1e6})
    for case, kernel in itertools.product(args.case, launch.PASSES):
        _, side, channels, _ = OPERATOR[case]
        size = args.batch * side * side * channels * dtype.itemsize
        least = MAPS[kernel] * size / rate * 1e6
        own = [r for r in rows if (r["case"], r["kernel"]) == (case, kernel)]
        for row in sorted(own, key=_microseconds)[: args.best]:
            share = least / row["us"]
            print(f"{case} {kernel:8} {row['us']:7.1f} us {share:4.0%} of copying  {_cut(row)}")
    for kernel in launch.PASSES:
        means: dict[launch.Cut, float] = {}
        for cut in cuts():
            own = [r["us"] for r in rows if r["kernel"] == kernel and _cut(r) == cut]
            if len(own) == len(args.case):
                means[cut] = statistics.geometric_mean(own)
        for cut in sorted(means, key=means.__getitem__)[:3]:
            print(f"over all {kernel:8} {means[cut]:7.1f} us  {cut}")
    if args.out:
        text = json.dumps({"copy_bytes_per_s": rate, "rows": rows}, indent=1)
        write_atomic(args.out, text)


if __name__ == "__main__":
    main()
