"""Samplers and schedulers compared in worlds whose fronts are known: ``dilnas bench search``.

    python benchmarks/search.py --with-rungs
    python benchmarks/search.py --table results.csv --cost flops --accuracy top1

All options are those of the command; ``docs/search.md`` holds the figures.
"""

import sys

from dilnas.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench", "search"]
    main()
