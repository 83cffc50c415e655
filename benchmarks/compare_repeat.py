"""Does ``dilnas compare`` say the same thing every time? Verdicts of many runs, counted.

    python benchmarks/compare_repeat.py [--times 20] [--device cpu] [--out FILE.json]

Runs ``dilnas compare tiny tiny`` and ``dilnas compare tiny base`` with the defaults, every time in
a process of its own: another process, other addresses, other seeds of the orders. The project asks
for SAME in at least 19 of 20, SLOWER in 20 of 20. Takes about 15 s a run on two CPU cores; nothing
else should run meanwhile, or it measures how honest AMBIGUOUS is. Exit code 1 when it falls short.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

CASES = {("tiny", "tiny"): ("SAME", 0.95), ("tiny", "base"): ("SLOWER", 1.0)}
"""The verdict that is right, and the share of runs that must give it."""


def once(models: tuple[str, ...], device: str, seed: int) -> dict[str, Any]:
    """One comparison in a process of its own, as its JSON document with the seconds it took."""
    begin = time.perf_counter()
    words = ["compare", *models, "--device", device, "--seed", str(seed), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "dilnas", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return {**document, "process_s": time.perf_counter() - begin}


def shown(found: dict[str, Any]) -> str:
    """One line: verdict, ratio, noise, rounds, seconds, doubts."""
    verdict = found["verdicts"][0]
    return (
        f"{verdict['verdict']:9}  {verdict['ratio']:.3f} [{verdict['low']:.3f},"
        f" {verdict['high']:.3f}]  noise [{verdict['noise_low']:.3f},"
        f" {verdict['noise_high']:.3f}]  {found['extra']['rounds']:3} rounds"
        f"  {found['process_s']:5.1f} s  {'; '.join(found['doubts'])}"
    )


def repeat(models: tuple[str, ...], times: int, device: str) -> dict[str, Any]:
    """``times`` comparisons, told as they come; counts of verdicts and the raw figures."""
    print(f"\ndilnas compare {' '.join(models)}", flush=True)
    runs = []
    for seed in range(times):
        found = once(models, device, seed)
        print(f"{seed:3}  {shown(found)}", flush=True)
        runs.append(
            {
                "verdict": found["verdicts"][0],
                "rounds": found["extra"]["rounds"],
                "process_s": found["process_s"],
                "doubts": found["doubts"],
            }
        )
    counts = Counter(run["verdict"]["verdict"] for run in runs)
    right, share = CASES[models]
    needed = math.ceil(share * times)
    print(f"{dict(counts)}: {right} {counts[right]} of {times}, {needed} needed")
    return {
        "models": models, "counts": dict(counts), "right": right, "needed": needed,
        "enough": counts[right] >= needed, "runs": runs,
    }  # fmt: skip


def main() -> int:
    """Both cases; 0 when both are right often enough."""
    parser = argparse.ArgumentParser(description="Verdicts of many comparisons, counted.")
    parser.add_argument("--times", type=int, default=20, help="runs of each case (default: 20)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--out", type=Path, help="write all figures here as JSON")
    given = parser.parse_args()
    cases = [repeat(models, given.times, given.device) for models in CASES]
    if given.out is not None:
        given.out.write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    return 0 if all(case["enough"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
