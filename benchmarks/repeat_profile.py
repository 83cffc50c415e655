"""Do repeated profiles of one network on one CPU agree, or say why not?

    python benchmarks/repeat_profile.py [--runs 10] [--within 0.05] [-- OPTIONS OF dilnas profile]

Runs ``dilnas profile --variant tiny --device cpu --json`` that often, each in a process of its own
as a user would, and prints medians, their intervals and doubts. Two runs agree where their medians
differ by ``--within`` of the smaller at most; one that does not is explained where at least one of
the two carries a doubt. The exit code is 0 where every pair agrees or is explained. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass

COMMAND = ("profile", "--variant", "tiny", "--device", "cpu")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one process measured: seconds for one batch."""

    median_s: float
    low_s: float
    high_s: float
    samples: int
    stopped_by: str
    doubts: tuple[str, ...]


def profile_once(options: list[str]) -> Taken:
    """One profile in a fresh process. Raises CalledProcessError with its stderr shown."""
    words = [sys.executable, "-m", "dilnas", *COMMAND, "--json", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        done.check_returncode()
    found = json.loads(done.stdout)["measurement"]
    extra = found["extra"]
    return Taken(
        found["median_s"], extra["median_low_s"], extra["median_high_s"], len(found["samples"]),
        extra["stopped_by"], tuple(found["doubts"]),
    )  # fmt: skip


def pairs_apart(runs: list[Taken], within: float) -> list[tuple[int, int, float, bool]]:
    """(i, j, relative difference, explained) of the pairs that do not agree."""
    out = []
    for (i, one), (j, other) in itertools.combinations(enumerate(runs), 2):
        small, large = sorted((one.median_s, other.median_s))
        if (apart := large / small - 1) > within:
            out.append((i, j, apart, bool(one.doubts or other.doubts)))
    return out


def main() -> int:
    """Run, print, and say by the exit code whether all is explained."""
    parser = argparse.ArgumentParser(description="repeat a profile and compare the medians")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--within", type=float, default=0.05)
    parser.add_argument("options", nargs="*", help="options of dilnas profile, after --")
    args = parser.parse_args()
    runs: list[Taken] = []
    for number in range(args.runs):
        taken = profile_once(args.options)
        runs.append(taken)
        print(
            f"run {number:2} {taken.median_s * 1e3:8.2f} ms"
            f" [{taken.low_s * 1e3:.2f}, {taken.high_s * 1e3:.2f}]"
            f"  {taken.samples} samples, stopped by {taken.stopped_by}; {len(taken.doubts)} doubts",
            flush=True,
        )
        for doubt in taken.doubts:
            print(f"         {doubt}")
    medians = [taken.median_s for taken in runs]
    apart = pairs_apart(runs, args.within)
    unexplained = [pair for pair in apart if not pair[3]]
    spread = (max(medians) - min(medians)) / statistics.median(medians)
    print(f"medians span {spread:.1%} of their median; {sum(not t.doubts for t in runs)} undoubted")
    print(f"pairs: {args.runs * (args.runs - 1) // 2}, apart: {len(apart)}, of these without a"
          f" doubt: {len(unexplained)}")  # fmt: skip
    for i, j, how_far, explained in apart:
        print(f"  {i} and {j}: {how_far:.1%} apart, {'doubted' if explained else 'NOT EXPLAINED'}")
    print(json.dumps({"within": args.within, "runs": [asdict(taken) for taken in runs]}))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
