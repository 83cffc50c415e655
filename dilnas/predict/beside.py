"""A prediction beside a measurement: the calibration that is for the same device and workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dilnas.errors import InputError
from dilnas.predict.latency import LatencyPredictor
from dilnas.predict.stored import calibrations_of, checked
from dilnas.records import Environment, Profile, Workload

__all__ = ["check_beside", "predicted_beside"]


def predicted_beside(profile: Profile, predictor: LatencyPredictor | None = None) -> Profile:
    """``profile`` with the latency that a calibration predicts for it, where there is one.

    ``predictor``: that one, if it is for this workload; None: the first under ``profiles/`` that is
    for this device and workload, if any is. A network unlike those that were calibrated gets a note
    instead.
    """
    if profile.measurement is None or profile.environment is None:
        return profile
    try:  # a measurement that was made is not lost because of what stands beside it
        predictor = _fitting(profile) if predictor is None else predictor
        if predictor is None or _comparable(predictor.workload) != _comparable(profile.workload):
            return profile
        prediction = predictor.predict(profile.architecture)
    except InputError as error:
        return replace(profile, notes=(*profile.notes, f"not predicted: {error}"))
    return replace(profile, predictions=(*profile.predictions, prediction))


def _fitting(profile: Profile) -> LatencyPredictor | None:
    """By the first calibration under ``profiles/`` that is for a profile's device and workload."""
    assert profile.environment is not None
    for path, found in calibrations_of(profile.environment):
        threads = found.environment.threads == profile.environment.threads
        if (threads or profile.workload.device != "cpu") and (
            _comparable(found.workload) == _comparable(profile.workload)
        ):
            return LatencyPredictor(checked(found, path))
    return None


def check_beside(
    predictor: LatencyPredictor, workloads: Sequence[Workload], here: Environment
) -> None:
    """Raise InputError unless ``predictor`` is for this device and one of these workloads.

    Threads are not compared: what torch finds depends on the machine's load.
    """
    there = predictor.calibration.environment
    if other := there.other_device(here):
        raise InputError(
            "a calibration of another device", where="--profile",
            expected=here.other_device(there), got=other,
        )  # fmt: skip
    found = _comparable(predictor.workload)
    differing = [
        [name for name, value in _comparable(workload).items() if found[name] != value]
        for workload in workloads
    ]
    nearest = min(range(len(workloads)), key=lambda i: len(differing[i]))
    for name in differing[nearest]:
        raise InputError(
            f"a calibration of another {name.replace('_', ' ')}", where="--profile",
            expected=_comparable(workloads[nearest])[name], got=found[name],
        )  # fmt: skip


def _comparable(workload: Workload) -> dict[str, object]:
    """What must be equal: not the device's index, nor how its threads were asked for."""
    return {
        "batch_size": workload.batch_size,
        "image": f"{workload.height}x{workload.width}",
        "dtype": workload.dtype,
        "mode": workload.mode,
        "compile": workload.compile,
        "channels_last": workload.channels_last,
        "kind_of_device": workload.device.partition(":")[0],
    }
