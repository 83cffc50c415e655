"""How fast is the closed form? Architectures a second, beside fvcore on a handful of networks.

    python benchmarks/cost.py [--count 100000] [--rounds 5]

Three ways take turns, round by round, so that a noisy machine hurts all alike: ``cost_arrays`` on
columns, ``cost`` one by one, fvcore tracing the built model (its build not timed). The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

from dilnas.arch import DOWNSAMPLES, POS_EMBEDS, STEMS, Architecture, Stage
from dilnas.cost import columns_of, cost, cost_arrays
from dilnas.count.by_fvcore import fvcore_count_module
from dilnas.model import build_model

SIZE = 224
SMALL = 200


def drawn(rng: random.Random) -> Architecture:
    """A random four-stage network of the paper's size."""
    width = 24 * rng.randint(1, 4)
    stages = []
    for i in range(4):
        msda, deep = rng.randint(0, 3), rng.randint(1, 5)
        heads = 3 << i
        ratio = rng.choice([2.0, 3.0, 4.0])
        stages.append(
            Stage(
                dim=width << i, num_heads=heads, msda_depth=msda, global_depth=deep,
                window_size=rng.choice([3, 5, 7]), mlp_ratio=ratio,
            )
        )  # fmt: skip
    return Architecture(
        stages=tuple(stages),
        stem=rng.choice(STEMS),
        downsample=rng.choice(DOWNSAMPLES),
        pos_embed=rng.choice(POS_EMBEDS),
    )


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measure, check that all three agree, print."""
    parser = argparse.ArgumentParser(description="benchmark the closed-form cost")
    parser.add_argument("--count", type=int, default=100_000, help="architectures in one call")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = random.Random(0)
    listed = [drawn(rng) for _ in range(SMALL)]
    small = columns_of(listed)
    columns = {k: v[[i % SMALL for i in range(args.count)]] for k, v in small.items()}
    rates: dict[str, list[float]] = {"cost_arrays": [], "cost": [], "fvcore": []}
    flops = cost_arrays(columns, SIZE).flops
    for architecture in listed[: args.rounds]:
        rates["cost_arrays"].append(args.count / seconds(lambda: cost_arrays(columns, SIZE)))
        rates["cost"].append(SMALL / seconds(lambda: [cost(a, SIZE) for a in listed]))
        model = build_model(architecture).eval()
        counted: dict[str, int] = {}
        rates["fvcore"].append(
            1 / seconds(lambda: counted.update(fvcore_count_module(model, (3, SIZE, SIZE))))  # noqa: B023
        )
        assert sum(counted.values()) == cost(architecture, SIZE).flops
    for i, architecture in enumerate(listed):
        assert int(flops[i]) == cost(architecture, SIZE).flops
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, median in medians.items():
        print(f"{name:12} {median:14,.1f} architectures/s (median of {args.rounds})")
    print(json.dumps({"architectures_per_s": medians, "count": args.count, "size": SIZE}))


if __name__ == "__main__":
    main()
