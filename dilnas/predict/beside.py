"""A prediction beside a measurement: the calibration that is for the same device and workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dilnas.errors import InputError
from dilnas.predict.latency import LatencyPredictor
from dilnas.predict.stored import calibrations_of
from dilnas.records import Profile, Workload

__all__ = ["check_beside", "predicted_beside"]


def predicted_beside(profile: Profile, predictor: LatencyPredictor | None = None) -> Profile:
    """``profile`` with the latency that a calibration predicts for it, where there is one.

    ``predictor``: that one, if it is for this workload; None: the first under ``profiles/`` that is
    for this device and workload, if any is. A network unlike those that were calibrated gets a note
    instead.
    """
    if profile.measurement is None or profile.environment is None:
        return profile
    here, threads = profile.environment.device_name, profile.environment.threads
    if predictor is None:
        for path, found in calibrations_of(here):
            same = found.environment.threads == threads or profile.workload.device != "cpu"
            if same and _comparable(found.workload) == _comparable(profile.workload):
                predictor = LatencyPredictor.load(str(path))
                break
        else:
            return profile
    elif _comparable(predictor.workload) != _comparable(profile.workload):
        return profile
    try:
        prediction = predictor.predict(profile.architecture)
    except InputError as error:
        note = f"not predicted by {predictor.calibration.name}: {error.rule}"
        return replace(profile, notes=(*profile.notes, note))
    return replace(profile, predictions=(*profile.predictions, prediction))


def check_beside(
    predictor: LatencyPredictor, workloads: Sequence[Workload], device_name: str
) -> None:
    """Raise InputError unless ``predictor`` is for this device and one of these workloads.

    Threads are not compared: what torch finds depends on the machine's load.
    """
    there = predictor.calibration.environment.device_name
    if there != device_name:
        raise InputError(
            "a calibration of another device", where="--profile", expected=device_name, got=there
        )
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
