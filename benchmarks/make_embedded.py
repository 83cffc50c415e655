"""Make the embedded data set: the first images of each class of Fashion-MNIST, in their order.

    python benchmarks/make_embedded.py /usr/share/datasets/fashion-mnist dilnas/data/fashion_mnist

1,000 training and 200 test images of each of the 10 classes: 12,000 images, about 5.3 MB. The
output is the same on every machine (no time stamp in the gzip header).
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

from dilnas.data.arrays import find_idx, read_idx

PER_CLASS = {"train": 1000, "test": 200}
PREFIX = {"train": "train", "test": "t10k"}


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Ascending indices of the first ``count`` items of every class."""
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as a gzipped IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), compresslevel=9, mtime=0))


def main(source: str, target: str) -> None:
    """Read the four files in ``source`` and write the four small ones to ``target``."""
    files = find_idx(Path(source))
    out = Path(target)
    out.mkdir(parents=True, exist_ok=True)
    for split, count in PER_CLASS.items():
        images, _ = read_idx(files[split, "images"], 3)
        labels, _ = read_idx(files[split, "labels"], 1)
        keep = first_of_each_class(labels, count)
        write_idx(out / f"{PREFIX[split]}-images-idx3-ubyte.gz", images[keep])
        write_idx(out / f"{PREFIX[split]}-labels-idx1-ubyte.gz", labels[keep])
    total = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:3])
