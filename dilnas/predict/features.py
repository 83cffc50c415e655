"""What a part's time is made of: work of each sort, in closed form, as a roofline model takes it.

The time of a part is a sum of non-negative prices times these amounts. A linear layer is paid by
the multiply-add, a norm by the element, a launch by the call; which of them is dear is the device's
affair and comes out of the fit (``dilnas.predict.fitting``).
"""

from __future__ import annotations

import math
from functools import lru_cache

from dilnas.cost.formulas import KERNELS, STEM_CONVS
from dilnas.predict.parts import Part

__all__ = ["AMOUNTS", "amounts", "coordinates"]

AMOUNTS: dict[str, tuple[str, ...]] = {
    "stem": ("gmacs", "written", "call"),
    "msda": ("gmacs", "map", "hidden", "products", "logits", "weights", "taps", "call"),
    "global": ("gmacs", "map", "hidden", "products", "logits", "weights", "call"),
    "downsample": ("gmacs", "map", "written", "weights", "call"),
    "head": ("map", "weights", "call"),
}
"""Names of the amounts of each kind, for one image. Multiply-adds of convolutions and linear layers
in 10^9; elements in 10^6: of maps read, of hidden layers, written, of weights; multiply-adds of
attention (10^9) and its logits (10^6); taps of all head groups and calls are counts."""


@lru_cache(maxsize=1 << 14)  # each cross-validated fit asks for those of the same parts
def amounts(part: Part) -> tuple[float, ...]:
    """The amounts of ``AMOUNTS[part.kind]``."""
    found = {"stem": _stem, "downsample": _downsample, "head": _head}.get(part.kind, _block)(part)
    return tuple(found[name] for name in AMOUNTS[part.kind])


def coordinates(part: Part) -> list[float]:
    """Where a part lies among those of its kind: logarithms of its sizes, and its dilations.

    Parts that are near one another here err alike: distances of 1 are a factor of e in a size.
    """
    size = math.log(part.height * part.width) / 2
    found = [size, math.log(part.inputs), math.log(part.outputs + 1)]
    if part.heads:
        found += [math.log(part.hidden / part.inputs), math.log(part.heads)]
    if part.window:
        reach = sum(part.dilations) / len(part.dilations)
        found += [math.log(part.window), math.log(len(part.dilations)), math.log(reach)]
    return found


def _block(part: Part) -> dict[str, float]:
    tokens, dim, hidden = part.height * part.width, part.inputs, part.hidden
    weights = 4 * dim * dim + 2 * dim * hidden + part.position * 9 * dim
    found = {
        "gmacs": tokens * weights / 1e9,
        "map": tokens * dim / 1e6,
        "hidden": tokens * hidden / 1e6,
        "weights": weights / 1e6,
        "call": 1.0,
    }
    if not part.window:
        products = 2.0 * tokens * tokens * dim
        logits = float(tokens * tokens * part.heads)
        return {**found, "products": products / 1e9, "logits": logits / 1e6}
    area, taps = _taps(part)
    share = area / len(part.dilations)
    return {
        **found,
        "products": 2 * share * dim / 1e9,
        "logits": share * part.heads / 1e6,
        "taps": taps,
    }


def _taps(part: Part) -> tuple[float, float]:
    """(pixels whose tap is on the map, taps that touch the map), summed over the head groups."""
    half, area, taps = part.window // 2, 0, 0
    for dilation in part.dilations:
        sides = []
        for side in (part.height, part.width):
            reach = min(half, (side - 1) // dilation)
            offsets = [abs(k) * dilation for k in range(-reach, reach + 1)]
            sides.append((sum(side - offset for offset in offsets), len(offsets)))
        area += sides[0][0] * sides[1][0]
        taps += sides[0][1] * sides[1][1]
    return float(area), float(taps)


def _downsample(part: Part) -> dict[str, float]:
    kernel, positions = KERNELS[part.form], part.height * part.width // 4
    weights = kernel * kernel * part.inputs * part.outputs
    return {
        "gmacs": (weights + 9 * part.outputs * part.position) * positions / 1e9,
        "map": part.height * part.width * part.inputs / 1e6,
        "written": positions * part.outputs * (2 + 2 * part.position) / 1e6,
        "weights": weights / 1e6,
        "call": 1.0,
    }


def _stem(part: Part) -> dict[str, float]:
    macs = written = 0
    channels, height, width = part.inputs, part.height, part.width
    for listed, kernel, stride in STEM_CONVS[part.form]:
        outputs = listed or part.outputs
        height, width = height // stride, width // stride
        macs += kernel * kernel * channels * outputs * height * width
        written += outputs * height * width
        channels = outputs
    return {"gmacs": macs / 1e9, "written": written / 1e6, "call": 1.0}


def _head(part: Part) -> dict[str, float]:
    return {
        "map": part.height * part.width * part.inputs / 1e6,
        "weights": part.inputs * part.outputs / 1e6,
        "call": 1.0,
    }
