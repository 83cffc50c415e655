"""Times as if the machine had been the same all along, by what the anchor shows of it.

What else a machine does makes it slower and faster for seconds or minutes, and not all work alike:
a neighbour that takes memory bandwidth does not slow a matrix product. The anchor is run before and
after each run, part by part; a part of a network is corrected by the anchor's parts that are bound
by the same, and where those are short and noisy, by the whole of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dilnas.predict.calibration import Calibration, Timed
from dilnas.predict.parts import KINDS

__all__ = ["Steady"]

Array = npt.NDArray[np.float64]

ALIKE = {
    "stem": ("stem", "downsample"),
    "downsample": ("stem", "downsample"),
    "msda": ("msda",),
    "global": KINDS,
    "head": KINDS,
}
"""Kinds of the anchor's parts by which those of a kind are corrected."""


class Steady:
    """The times of one calibration, corrected; what was computed for a network is kept."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._pieces = calibration.pieces
        self._parts: dict[int, dict[int, float]] = {}
        kinds = [calibration.pieces[place].kind for place in calibration.anchor_parts]
        self._columns = {}
        for kind in KINDS:
            mine = [i for i, other in enumerate(kinds) if other in ALIKE[kind]]
            self._columns[kind] = mine or list(range(len(kinds)))
        every = np.array([run for network in calibration.networks for run in network.anchors_s])
        self._usual = {
            kind: float(np.median(every[:, mine].sum(axis=1)))
            for kind, mine in self._columns.items()
        }
        self._usual_whole = calibration.anchor_seconds

    def runs(self, network: Timed) -> Array:
        """(runs, parts) seconds; (runs, 1) where runs were seen as a whole."""
        runs, anchors = np.array(network.runs_s), np.array(network.anchors_s)
        if runs.shape[1] != len(network.parts):
            return np.asarray(runs * (self._usual_whole / _between(anchors.sum(axis=1)))[:, None])
        factors = {
            kind: self._usual[kind] / _between(anchors[:, mine].sum(axis=1))
            for kind, mine in self._columns.items()
        }
        kinds = [self._pieces[place].kind for place in network.parts]
        return np.asarray(runs * np.stack([factors[kind] for kind in kinds], axis=1))

    def parts(self, network: Timed) -> dict[int, float]:
        """Seconds of each distinct part, by its place: the median of all that are alike.

        ``network``: one of the calibration's own.
        """
        if id(network) not in self._parts:
            runs, places = self.runs(network), np.array(network.parts)
            self._parts[id(network)] = {
                place: float(np.median(runs[:, places == place]))
                for place in sorted(set(network.parts))
            }
        return self._parts[id(network)]

    def seconds(self, network: Timed) -> float:
        """Median over the runs of the whole network."""
        return float(np.median(self.runs(network).sum(axis=1)))


def _between(anchors: Array) -> Array:
    """(N,) from (N + 1,): the geometric mean of the anchors before and after each run."""
    return np.asarray(np.sqrt(anchors[:-1] * anchors[1:]))
