"""A device that is a formula, and calibrations of it: what a fit must find is known."""

import functools
import itertools
import math
import random
from dataclasses import replace

import numpy as np

from dilnas.predict.calibration import Calibration, Timed
from dilnas.predict.draws import anchor_code, draws
from dilnas.predict.features import AMOUNTS, amounts
from dilnas.predict.judging import judged
from dilnas.predict.parts import parts_of
from dilnas.records import Environment, Workload
from dilnas.space import SearchSpace

PRICES = {
    "gmacs": 9e-3, "map": 2e-3, "hidden": 1.5e-3, "products": 3e-2, "logits": 4e-3,
    "weights": 1e-4, "taps": 2e-5, "call": 4e-5, "written": 2e-3,
}  # fmt: skip
"""Seconds for an amount of each sort."""


def seconds_of(part, bend=0.15):
    """What a part takes: a roofline, and what no roofline has: narrow layers are slower."""
    plain = sum(
        PRICES[name] * amount
        for name, amount in zip(AMOUNTS[part.kind], amounts(part), strict=True)
    )
    return plain * (1 + bend * math.sin(3 * math.log(part.inputs)))


def environment(name="Formula 1"):
    return Environment(
        device_name=name, platform="none", python="3", torch="2", dilnas="0", threads=1
    )


@functools.cache
def _draws(space, networks, seed):
    size = space.image_size
    return list(itertools.islice(draws(space, size, size, seed), networks))


@functools.cache
def _space(name):
    return SearchSpace.load(name)


def measured(
    *,
    space="dilateformer",
    networks=90,
    noise=0.01,
    swing=0.0,
    seed=0,
    slower=0.0,
    bend=0.15,
    workload=None,
    runs=5,
):
    """A calibration of the formula, not fitted; ``slower``: by how much the device is at the end.

    ``noise``: of a run, all its parts together, and as much again of each part. ``swing``: of the
    whole machine from network to network, the anchor in between included.
    """
    found = _space(space)
    size = found.image_size
    workload = workload or Workload(batch_size=8, height=size, width=size)
    dice = random.Random(seed)
    anchor = anchor_code(found)
    beside = parts_of(found.decode(anchor), size, size)
    index = {part: i for i, part in enumerate(dict.fromkeys(beside))}
    timed = []

    def run(parts, state, whole=workload.compile != "eager"):
        state *= math.exp(dice.gauss(0, noise))
        each = [seconds_of(p, bend) * state * math.exp(dice.gauss(0, noise)) for p in parts]
        return tuple([sum(each)] if whole else each)

    for number, draw in enumerate(_draws(found, networks, seed)):
        state = (1 + slower * number / networks) * math.exp(dice.gauss(0, swing))
        anchors, own = [run(beside, state, whole=False)], []
        for _ in range(runs):
            own.append(run(draw.parts, state))
            anchors.append(run(beside, state, whole=False))
        for part in draw.parts:
            index.setdefault(part, len(index))
        timed.append(
            Timed(
                role=draw.role, code=draw.code, at_s=float(number),
                parts=tuple(index[part] for part in draw.parts), runs_s=tuple(own),
                anchors_s=tuple(anchors),
            )
        )  # fmt: skip
    return Calibration(
        space=found.name, fingerprint=found.fingerprint, workload=workload,
        environment=environment(), seed=seed, seconds=float(networks), anchor=anchor,
        anchor_parts=tuple(index[part] for part in beside),
        pieces=tuple(index), networks=tuple(timed),
    )  # fmt: skip


def calibration(**options):
    """The same, fitted."""
    found = measured(**options)
    return replace(found, fit=judged(found))


def truth(space, codes, bend=0.15):
    """(N,) seconds of codes on the device without noise."""
    size = space.image_size
    return np.array(
        [sum(seconds_of(p, bend) for p in parts_of(space.decode(c), size, size)) for c in codes]
    )
