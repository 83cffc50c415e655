"""Which calibration a command predicts by, checked against what it is asked for."""

from __future__ import annotations

from dilnas.errors import InputError
from dilnas.predict.latency import LatencyPredictor

__all__ = ["predictor_for"]


def predictor_for(
    profile: str | None, *, wanted: str = "", image_size: int
) -> LatencyPredictor | None:
    """The predictor called ``profile``; None where there is no name and none is needed.

    Args:
        profile: a calibration's name or file.
        wanted: the option that needs one; "" where none does.
        image_size: pixels a side of the images that it must be of.

    Raises InputError where it is missing, damaged, or of another image.
    """
    if profile is None:
        if wanted:
            raise InputError(
                f"{wanted} needs a calibration of the device: dilnas calibrate makes one",
                where="--profile",
            )
        return None
    found = LatencyPredictor.load(profile)
    size = (found.workload.height, found.workload.width)
    if size != (image_size, image_size):
        raise InputError(
            f"{found.calibration.name} is a calibration of another image", where="--profile",
            expected=f"{image_size}x{image_size}", got=f"{size[0]}x{size[1]}",
        )  # fmt: skip
    return found
