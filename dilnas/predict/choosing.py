"""Which calibration a command predicts by, checked against what it is asked for."""

from __future__ import annotations

from dilnas.errors import InputError
from dilnas.predict.latency import LatencyPredictor
from dilnas.sizes import ImageSize, sides_of, size_text

__all__ = ["predictor_for"]


def predictor_for(
    profile: str | None, *, wanted: str = "", image_size: ImageSize
) -> LatencyPredictor | None:
    """The predictor called ``profile``; None where there is no name and none is needed.

    Args:
        profile: a calibration's name or file.
        wanted: the option that needs one; "" where none does.
        image_size: of the images that it must be of, in pixels.

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
    if size != (sides := sides_of(image_size)):
        raise InputError(
            f"{found.calibration.name} is a calibration of another image", where="--profile",
            expected=size_text(sides, "x"), got=size_text(size, "x"),
        )  # fmt: skip
    return found
