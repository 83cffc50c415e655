"""All that is known of an architecture before it is run, for one calibration's workload."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dilnas.arch import Architecture
from dilnas.predict.latency import LatencyPredictor
from dilnas.predict.memory import MemoryForecast, memory_forecast
from dilnas.records import Prediction

__all__ = ["Forecast", "forecast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One architecture.

    Attributes:
        name: for tables.
        architecture: the network.
        latency: seconds of a batch, predicted.
        inference, training: memory, in closed form.
    """

    name: str
    architecture: Architecture
    latency: Prediction
    inference: MemoryForecast
    training: MemoryForecast


def forecast(
    name: str,
    architecture: Architecture,
    predictor: LatencyPredictor,
    *,
    optimizer: str = "adamw",
    fused: bool | None = None,
) -> Forecast:
    """Latency and memory of ``architecture`` in the workload of ``predictor``.

    ``fused``: whether MSDA is the fused operator; None: as dilnas chooses it on that device.
    Raises InputError where the network lies outside of what was calibrated.
    """
    workload = predictor.workload
    if fused is None:
        fused = workload.device.startswith("cuda")
    return Forecast(
        name=name,
        architecture=architecture,
        latency=predictor.predict(architecture),
        inference=memory_forecast(architecture, workload, fused=fused),
        training=memory_forecast(
            architecture, replace(workload, mode="train"), fused=fused, optimizer=optimizer
        ),
    )
