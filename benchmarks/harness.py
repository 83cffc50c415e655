"""What does the measuring harness add to a callable of about 10 ms? Less than 1 %.

    python benchmarks/harness.py [--pairs 200] [--ms 10]

Two callables, each made to last about ``--ms``: a loop of matrix products in torch and a loop of
integer arithmetic in Python. Each is run in pairs, in an order drawn anew: once by the harness
(``Device.run``: a sample), once between two bare readings of ``time.perf_counter``. Neighbours
in time share the machine's noise, so the ratio is taken within a pair; shown are the median ratio
and its 95 % interval. Beside it what the harness spends between samples (statistics, looks at the
device), found with a callable that does nothing: in no sample, but the device idles meanwhile.

The exit code is 0 where both are below 1 %, 1 where one is above, 2 where the machine is too noisy
to tell. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable

import torch

from dilnas.measure.latency import measure_latency
from dilnas.measure.on_cpu import CpuDevice
from dilnas.measure.sampling import Protocol, median_interval
from dilnas.records import Workload

LIMIT = 0.01
"""Of the callable's time."""

Call = Callable[[], object]


def matmuls(count: int) -> Call:
    """``count`` products of two 192 x 192 matrices."""
    a = torch.randn(192, 192)

    def call() -> None:
        for _ in range(count):
            torch.mm(a, a)

    return call


def spin(count: int) -> Call:
    """``count`` steps of integer arithmetic."""

    def call() -> int:
        value = 1
        for _ in range(count):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        return value

    return call


def bare(call: Call) -> float:
    """Seconds between two readings of the clock."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def of_about(make: Callable[[int], Call], seconds: float) -> Call:
    """``make(count)`` with the count that lasts about ``seconds``, the machine being quiet."""
    count = 16
    while (took := min(bare(make(count)) for _ in range(5))) < seconds / 4:
        count *= 2
    return make(max(round(count * seconds / took), 1))


def added(call: Call, pairs: int, rng: random.Random) -> list[float]:
    """Ratio of the harness's seconds to the bare ones, by pair."""
    device = CpuDevice()
    out = []
    for _ in range(pairs):
        ways: list[tuple[str, Callable[[], float]]] = [
            ("bare", lambda: bare(call)),
            ("harness", lambda: device.run(call).device_s),
        ]
        took = {name: way() for name, way in rng.sample(ways, 2)}
        out.append(took["harness"] / took["bare"])
    return out


def between_samples(call_s: float, rounds: int = 5) -> float:
    """Seconds a sample that the harness spends outside it, the least of ``rounds``.

    As many samples as of a callable of ``call_s`` in three seconds. The interval of the median,
    computed once when sampling is over, is left out: the device is then no longer measured.
    """
    count = max(round(3.0 / call_s), 20)
    protocol = Protocol(
        min_warmup=0, min_warmup_s=0.0, max_warmup_s=1e-9, min_samples=20, max_samples=count,
        min_s=0.0, max_s=1e9, target_rse=1e-12,
    )  # fmt: skip
    spent = []
    for _ in range(rounds):
        at: list[float] = []
        measure_latency(
            lambda at=at: at.append(time.perf_counter()), Workload(), protocol, device=CpuDevice()
        )
        spent.append((at[-1] - at[0]) / (len(at) - 1))
    return min(spent)


def main() -> int:
    """Measure, print, and say by the exit code whether the limit holds."""
    parser = argparse.ArgumentParser(description="what the measuring harness adds")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--ms", type=float, default=10.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, found, verdicts = random.Random(0), {}, []
    for name, make in {"matmul": matmuls, "spin": spin}.items():
        call = of_about(make, args.ms / 1e3)
        ratios = added(call, args.pairs, rng)
        middle, (low, high) = statistics.median(ratios) - 1, median_interval(ratios)
        low, high = low - 1, high - 1
        verdicts.append("no" if low > LIMIT else "yes" if high <= LIMIT else "cannot tell")
        print(
            f"{name:7} added to a sample: {middle:+.3%} [{low:+.3%}, {high:+.3%}]  {verdicts[-1]}"
        )
        found[name] = {"added": middle, "low": low, "high": high, "below_limit": verdicts[-1]}
    outside_s = between_samples(args.ms / 1e3)
    share = outside_s / (args.ms / 1e3)
    verdicts.append("yes" if share <= LIMIT else "no")
    print(
        f"between samples: {outside_s * 1e6:.1f} µs, {share:.3%} of {args.ms:g} ms  {verdicts[-1]}"
    )
    print(json.dumps({"limit": LIMIT, "callables": found, "between_samples_s": outside_s}))
    return 1 if "no" in verdicts else 2 if "cannot tell" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
