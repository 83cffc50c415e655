"""Is a proxy any good? Train architectures spread over the budget and look at their scores.

    python benchmarks/proxy.py --proxy quick --count 8 --seeds 2

Prints one line a candidate and rung (accuracy, CPU seconds, images a CPU second), then Spearman's
rank correlation of accuracy with GFLOPs at each rung, of the rungs with one another, and the
standard deviation between seeds against that between architectures. CPU seconds (one thread) do
not depend much on what else the machine does; wall seconds do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.data import DataSplits, load_data
from dilnas.space import SearchSpace
from dilnas.train import PROXIES, Proxy, proxy_architecture, train_to_rung


def spread(space: SearchSpace, count: int, low: float, high: float) -> list[Architecture]:
    """``count`` random architectures, evenly spaced in log GFLOPs from ``low`` to ``high``."""
    drawn = [space.decode(code) for code in space.sample(2000, seed=0)]
    gflops = np.array([cost(a, space.image_size).flops / 1e9 for a in drawn])
    wanted = np.geomspace(max(low, gflops.min()), high, count)
    return [drawn[int(np.abs(np.log(gflops / target)).argmin())] for target in wanted]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation; ties get the order of appearance."""
    return float(np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1])


def run(
    architecture: Architecture, proxy: Proxy, splits: DataSplits, seed: int, label: str
) -> list[float]:
    """Accuracy at each rung; a line is printed for each."""
    scores, seen, spent = [], 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for rung in range(proxy.rungs):
            before = time.process_time()
            result = train_to_rung(
                architecture, proxy, rung, splits, seed=seed, directory=folder, device="cpu"
            )
            seconds = time.process_time() - before
            spent += seconds
            print(
                f"{label} seed {seed} rung {rung}: accuracy {result.val_accuracy:.4f}, "
                f"loss {result.val_loss:.3f}, {spent:.1f} CPU s in all, "
                f"{(result.images_seen - seen) / seconds:.0f} images/CPU s with scoring, "
                f"{result.images_per_s:.0f} images/s training",
                flush=True,
            )
            seen = result.images_seen
            scores.append(result.val_accuracy)
    return scores


def adjusted(proxy: Proxy, options: argparse.Namespace) -> Proxy:
    """The proxy with what the command line changes."""
    recipe = {k: v for k in ("batch_size", "lr", "warmup_images", "ema_gamma", "weight_decay")
              if (v := getattr(options, k)) is not None}  # fmt: skip
    fields = {k: v for k in ("images", "width") if (v := getattr(options, k)) is not None}
    return replace(proxy, recipe=replace(proxy.recipe, **recipe), **fields)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxy", default="quick")
    parser.add_argument("--space", default="dilateformer")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--low", type=float, default=0.5, help="GFLOPs")
    parser.add_argument("--high", type=float, default=4.0, help="GFLOPs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, nargs="+")
    parser.add_argument("--batch-size", type=int)
    for name in ("--width", "--lr", "--ema-gamma", "--weight-decay", "--warmup-images"):
        parser.add_argument(name, type=float)
    return parser.parse_args()


def main() -> None:
    """Run what the module's docstring says."""
    options = parsed()
    torch.set_num_threads(1)
    proxy = adjusted(PROXIES[options.proxy], options)
    print(proxy.to_dict())
    splits = load_data(options.data, image_size=proxy.image_size)
    space = SearchSpace.load(options.space)
    chosen = spread(space, options.count, options.low, options.high)
    gflops = np.array([cost(a, space.image_size).flops / 1e9 for a in chosen])
    table = np.zeros((len(chosen), options.seeds, proxy.rungs))
    for i, architecture in enumerate(chosen):
        narrow = proxy_architecture(architecture, proxy, splits)
        label = (
            f"{gflops[i]:.2f} GFLOPs ({cost(narrow, proxy.image_size).flops / 1e6:.1f} M in the "
            f"proxy) {architecture.layout} {[s.dim for s in architecture.stages]}"
        )
        for seed in range(options.seeds):
            table[i, seed] = run(architecture, proxy, splits, seed, label)
    means = table.mean(1)
    for rung in range(proxy.rungs):
        print(
            f"rung {rung} ({proxy.images[rung]} images): Spearman with GFLOPs "
            f"{spearman(gflops, means[:, rung]):.2f}, with the last rung "
            f"{spearman(means[:, -1], means[:, rung]):.2f}, accuracy {means[:, rung].min():.3f}.."
            f"{means[:, rung].max():.3f}, sd between architectures {means[:, rung].std():.4f}, "
            f"between seeds {table[:, :, rung].std(1, ddof=min(1, options.seeds - 1)).mean():.4f}"
        )


if __name__ == "__main__":
    main()
