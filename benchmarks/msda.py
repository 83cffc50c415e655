"""How fast is MSDA? Each backend beside the official formulation, unfold and matrix products.

    python benchmarks/msda.py [--threads 2] [--rounds 9] [--only operator|small|model]

Backends take turns, round by round, so that a noisy machine hurts all alike; a ratio is taken
within a round. Shown are the median ratio and, in brackets, its quartiles. The time of "matmul"
depends on the allocator: with glibc's, a raised MALLOC_MMAP_THRESHOLD_ saves page faults, so it is
printed with the machine. Where other processes use the cores too, set OMP_WAIT_POLICY=passive:
spinning threads then cost all backends ten times their time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from dilnas.model import build_model
from dilnas.ops import ENVIRONMENT_VARIABLE, msda
from dilnas.variants import variant

BASELINE = "matmul"
BACKENDS = ("portable",)
DILATIONS = (1, 2, 3)

OPERATOR = {
    "tiny-s1": (8, 56, 72, 3),
    "tiny-s2": (8, 28, 144, 6),
    "base-s1": (8, 56, 96, 3),
    "base-s2": (8, 28, 192, 6),
}
"""(batch, side of the map, channels, heads) of the paper's MSDA stages at 224 pixels."""

SMALL = {"8x8": (64, 8, 48, 3), "4x4": (64, 4, 96, 6), "2x2": (64, 2, 96, 6)}
"""The maps that the search's proxies train on."""

Call = Callable[[], object]


def seconds(call: Call) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratios(calls: dict[str, Call], rounds: int) -> dict[str, object]:
    """Baseline's milliseconds, and of each other call the (low, median, high) ratio to it."""
    for call in calls.values():
        call()
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    base = statistics.median(t[BASELINE] for t in times)
    out: dict[str, object] = {"ms": round(base * 1e3, 2)}
    for name in calls:
        if name != BASELINE:
            of_rounds = [t[BASELINE] / t[name] for t in times]
            out[name] = [round(q, 2) for q in statistics.quantiles(of_rounds, n=4)]
    return out


def operator_calls(shape: tuple[int, int, int, int], backward: bool) -> dict[str, Call]:
    """The operator alone, from channels-last qkv to channels-last result, by backend."""
    batch, side, channels, heads = shape
    qkv = torch.randn(batch, side, side, 3 * channels, requires_grad=backward)
    slope = torch.randn(batch, side, side, channels)

    def call(backend: str) -> object:
        out = msda(qkv, heads, 3, DILATIONS, backend=backend)
        return torch.autograd.grad(out, qkv, slope) if backward else out

    return {name: lambda name=name: call(name) for name in (BASELINE, *BACKENDS)}


def model_calls(backward: bool) -> dict[str, Call]:
    """The whole Tiny at 224 pixels, batch 8: a forward pass, or a training step without update."""
    model = build_model(variant("tiny")).train(backward)
    images, labels = torch.randn(8, 3, 224, 224), torch.arange(8)

    def call(backend: str) -> Tensor:
        os.environ[ENVIRONMENT_VARIABLE] = backend
        with torch.set_grad_enabled(backward):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        if backward:
            model.zero_grad()
            loss.backward()
        return loss

    return {name: lambda name=name: call(name) for name in (BASELINE, *BACKENDS)}


def cases(only: str | None) -> Iterator[tuple[str, dict[str, Call]]]:
    """Every case to measure, built when its turn comes."""
    for group, shapes in (("operator", OPERATOR), ("small", SMALL)):
        if only in (None, group):
            for name, shape in shapes.items():
                for backward in (False, True):
                    way = "forward+backward" if backward else "forward"
                    yield f"{name} {way}", operator_calls(shape, backward)
    if only in (None, "model"):
        yield "tiny forward", model_calls(False)
        yield "tiny training step", model_calls(True)


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="benchmark multi-scale dilated attention")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=["operator", "small", "model"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine = {
        "processor": processor(),
        "torch": torch.__version__,
        "threads": args.threads,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        "allocator": {
            name: os.environ[name]
            for name in ("LD_PRELOAD", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
            if name in os.environ
        }
        or " ".join(platform.libc_ver()) + " malloc, default thresholds",
        "load": os.getloadavg(),
    }
    print(machine)
    found = {}
    for name, calls in cases(args.only):
        found[name] = ratios(calls, args.rounds)
        shown = "  ".join(
            f"{b} x{m} [{low}-{high}]" for b in BACKENDS for low, m, high in [found[name][b]]
        )
        print(f"{name:26} {BASELINE} {found[name]['ms']:8.2f} ms  {shown}", flush=True)
    machine["load after"] = os.getloadavg()
    print(json.dumps({"machine": machine, "cases": found}))


if __name__ == "__main__":
    main()
