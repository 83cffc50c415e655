"""Latency and memory of any architecture, known without measuring it.

    calibration, path = calibrate(SearchSpace.load("dilateformer"), Workload(batch_size=8))
    LatencyPredictor.load(calibration.name).predict(variant("base"))

``calibrate`` measures random networks of a space on a device; a LatencyPredictor knows from then on
how long a batch of any network takes that is made of such parts, and says how sure it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.predict.calibrating import calibrate
    from dilnas.predict.calibration import Calibration
    from dilnas.predict.latency import LatencyPredictor
    from dilnas.predict.stored import known_calibrations, load_calibration

__all__ = [
    "Calibration",
    "LatencyPredictor",
    "calibrate",
    "known_calibrations",
    "load_calibration",
]

_HOMES = {
    "Calibration": "calibration",
    "LatencyPredictor": "latency",
    "calibrate": "calibrating",
    "known_calibrations": "stored",
    "load_calibration": "stored",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
