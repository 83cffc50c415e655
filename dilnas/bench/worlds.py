"""Closed-form stand-ins for training, over real search spaces.

A world says what accuracy every architecture of a space would reach, at every share of the full
training, in microseconds. None of it is fitted to real networks; it has what real results are known
to have (``docs/search.md``): widths matter most and saturate, windows and dilations have a
best value somewhere inside, axes interact, part of the variation follows no axis, repeated
trainings differ, short trainings rank otherwise than long ones, and large networks learn slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilnas.bench.world import World
from dilnas.errors import InputError
from dilnas.search.domain import SpaceDomain
from dilnas.space import SearchSpace

__all__ = ["WORLDS", "ClosedForm", "Traits", "world"]

Array = NDArray[np.float64]

SMALL_SPACE = """
dilnas_space: 1
name: bench-small
description: Eight axes around DilateFormer-Tiny, few enough to know every architecture.
image_size: 224
stages: 4
fixed:
  num_heads: [3, 6, 12, 24]
  dim: [72, 144, null, null]
  msda_share: [1, 1, null, 0]
  depth: [null, null, null, 2]
axes:
  dim3: {field: dim, stage: 3, values: [192, 240, 288, 384]}
  dim4: {field: dim, stage: 4, values: [384, 480, 576, 768]}
  depth12: {field: depth, stages: [1, 2], values: [1, 2, 4]}
  depth3: {field: depth, stage: 3, values: [2, 4, 6, 8]}
  msda3: {field: msda_share, stage: 3, values: [0, 0.5, 1]}
  window: {field: window_size, stages: [1, 2, 3, 4], values: [3, 5, 7]}
  dilations: {field: dilations, stages: [1, 2, 3, 4], values: [[1], [1, 2, 3], [1, 3, 5]]}
  mlp: {field: mlp_ratio, stages: [1, 2, 3, 4], values: [2, 3, 4]}
"""

WEIGHTS = {"dim": 1.0, "depth": 0.6, "msda_share": 0.45, "window_size": 0.35, "dilations": 0.3,
           "mlp_ratio": 0.35}  # fmt: skip
"""How much an axis of each field matters, before the world's own dice."""

GROWING = ("dim", "depth", "mlp_ratio")
"""Fields of which more is better, with diminishing returns; the others have a best value inside."""

WAVES = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What kind of world it is.

    Attributes:
        seed: of its dice.
        pairs: share of the variance that comes from interactions of two axes.
        waves: share that follows no axis: a smooth random function of all of them.
        wave_length: of that function, in axis lengths times the root of the number of axes.
        span: accuracy lost from the best to a middling architecture.
        noise: standard deviation of a full training's accuracy over seeds.
        slowness: how much longer a network of twice the FLOPs needs to learn the same share.
        unlike: standard deviation, relative to the architectures', of what a short training gets
            wrong about an architecture beyond its slowness.
        capacity: factor on the weights of ``GROWING`` axes.
    """

    seed: int
    pairs: float = 0.2
    waves: float = 0.15
    wave_length: float = 0.6
    span: float = 0.03
    noise: float = 0.004
    slowness: float = 0.35
    unlike: float = 0.35
    capacity: float = 1.0


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The accuracies of one space's architectures in one world."""

    space: SearchSpace
    traits: Traits

    def accuracy(self, codes: Any, share: float = 1.0) -> Array:
        """(N,) accuracy (0..1) of codes (N, A) after ``share`` of the full training, no noise."""
        codes = np.asarray(codes, np.int64)
        quality = self._quality(codes)
        if share < 1:
            short = self._waves(codes, 1) * self.traits.unlike
            quality = quality + (1 - share) ** 2 * short
        final = 0.84 - self.traits.span * np.exp(-0.55 * quality)
        # Learning: the error falls from chance along 1 - exp(-pace), slower for large networks.
        pace = 8.0 * share / self._relative_cost(codes) ** self.traits.slowness
        full = 8.0 / self._relative_cost(codes) ** self.traits.slowness
        return np.asarray(final * (1 - 0.25 * (np.exp(-pace) - np.exp(-full))))

    def noise(self, share: float) -> float:
        """Standard deviation of a training's accuracy over seeds after ``share`` of it."""
        return self.traits.noise * (1 + 0.5 * (1 - share))

    # --- what the quality is made of ----------------------------------------------------------

    def _quality(self, codes: Any) -> Array:
        """About standard normal over the space; more is better."""
        t = self.traits
        own = 1 - t.pairs - t.waves
        parts = (self._mains(codes), self._pairs(codes), self._waves(codes, 0))
        total = sum(
            np.sqrt(share) * (part - mean) / deviation
            for share, part, (mean, deviation) in zip((own, t.pairs, t.waves), parts, self._scales,
                                                      strict=True)
            if share
        )  # fmt: skip
        return np.asarray(total, np.float64)

    def _unit(self, codes: Any) -> Array:
        """(N, A) positions of the codes along their axes, 0..1."""
        return np.asarray(codes / np.maximum(np.array([len(a) for a in self.space.axes]) - 1, 1))

    @cached_property
    def _dice(self) -> dict[str, Any]:
        rng = np.random.default_rng([self.traits.seed, 20])
        axes = self.space.axes
        count = len(axes)
        grows = np.array([a.field in GROWING for a in axes])
        weight = np.array([WEIGHTS.get(a.field, 0.3) for a in axes]) * rng.lognormal(0, 0.4, count)
        weight[grows] *= self.traits.capacity
        pairs = rng.integers(0, count, (2 * count, 2))
        # Frequencies of a Matern 5/2 process: a Student t of 5 degrees of freedom.
        scale = self.traits.wave_length * np.sqrt(count)
        waves = [
            rng.standard_normal((WAVES, count))
            / np.sqrt(rng.chisquare(5, (WAVES, 1)) / 5) / scale
            for _ in range(2)
        ]  # fmt: skip
        return {
            "grows": grows, "weight": weight, "bend": rng.uniform(0.5, 2.5, count),
            "best": rng.uniform(0.0, 1.0, count), "pairs": pairs,
            "pair_weight": rng.standard_normal(2 * count) * weight[pairs].prod(axis=1) ** 0.5,
            "pair_centre": rng.uniform(0, 1, (2 * count, 2)), "waves": waves,
            "phase": rng.uniform(0, 2 * np.pi, (2, WAVES)),
            "height": rng.standard_normal((2, WAVES)) * np.sqrt(2 / WAVES),
        }  # fmt: skip

    def _mains(self, codes: Any) -> Array:
        x, d = self._unit(codes), self._dice
        growing = (1 - np.exp(-d["bend"] * x)) / (1 - np.exp(-d["bend"]))
        inside = 1 - (x - d["best"]) ** 2 / np.maximum(d["best"], 1 - d["best"]) ** 2
        return np.asarray(np.where(d["grows"], growing, inside) @ d["weight"])

    def _pairs(self, codes: Any) -> Array:
        x, d = self._unit(codes), self._dice
        both = (x[:, d["pairs"]] - d["pair_centre"]).prod(axis=2)
        return np.asarray(both @ d["pair_weight"])

    def _waves(self, codes: Any, which: int) -> Array:
        x, d = self._unit(codes), self._dice
        phase = x @ d["waves"][which].T * 2.0 + d["phase"][which]
        return np.asarray(np.cos(phase) @ d["height"][which])

    @cached_property
    def _scales(self) -> list[tuple[float, float]]:
        codes = self.space.sample(4000, 0)
        parts = (self._mains(codes), self._pairs(codes), self._waves(codes, 0))
        return [(float(p.mean()), float(p.std()) or 1.0) for p in parts]

    def _relative_cost(self, codes: Any) -> Array:
        from dilnas.space_costs import costs_of

        return costs_of(self.space, codes, self.space.image_size)["gflops"] / self._middle_cost

    @cached_property
    def _middle_cost(self) -> float:
        from dilnas.space_costs import costs_of

        sample = self.space.sample(2000, 0)
        return float(np.median(costs_of(self.space, sample, self.space.image_size)["gflops"]))


KINDS = {
    "mild": {"waves": 0.05, "pairs": 0.15, "capacity": 1.5, "span": 0.06},
    "rugged": {"waves": 0.3, "wave_length": 0.45, "pairs": 0.25, "span": 0.06},
    "flat": {"waves": 0.1, "capacity": 0.5, "span": 0.02, "noise": 0.002},
}
"""mild: widths first, some interaction. rugged: more than half of the variation follows no single
axis. flat: cost says little about accuracy, and the differences are small."""

WORLDS = tuple(f"{space}-{kind}" for space in ("small", "default") for kind in KINDS)

BUDGET = 4.0
"""GFLOPs."""

SHARES = (1 / 9, 1 / 3, 1.0)
"""Of a full training, with rungs."""


OTHER_DICE = 1000
"""Seed of the dice of ``NAME@0``: far from those of ``WORLDS``."""


def world(name: str, *, rungs: bool = False) -> World:
    """The world of that name in ``WORLDS``; ``NAME@N``, N from 0, is another one of its kind.

    A sampler is easily tuned to the three dice that all its figures come from; there are others.
    Raises InputError for another name.
    """
    kin, at, number = name.partition("@")
    if kin not in WORLDS or (at and not (number.isascii() and number.isdecimal())):
        raise InputError(
            "no such world", where=repr(name), expected=" | ".join(WORLDS) + " | one of them@N"
        )
    size, kind = kin.split("-")
    space = SearchSpace.from_yaml(SMALL_SPACE) if size == "small" else SearchSpace.load(
        "dilateformer")  # fmt: skip
    seed = OTHER_DICE + int(number) if at else 1 + WORLDS.index(kin)
    traits = Traits(seed=seed, **KINDS[kind])
    return World(
        name=name, domain=SpaceDomain(space), truth=ClosedForm(space, traits),
        shares=SHARES if rungs else (1.0,), budgets={"gflops": BUDGET},
    )  # fmt: skip
