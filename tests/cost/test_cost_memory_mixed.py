"""The closed form of a training step under autocast against tensors that are really alive.

There is no GPU here: the forward pass goes under the CPU's autocast, with layer norms cast to
float32 as CUDA's autocast casts them, and MSDA as the operator, whose kernels only write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from alive import World, cases, fused_msda
from hypothesis import assume, given, settings
from torch.nn.functional import layer_norm

from dilnas.arch import Architecture
from dilnas.cost.memory import saved_elements, training_peak_bytes
from dilnas.cost.memory_mixed import mixed_peak_bytes, mixed_saved_bytes
from dilnas.errors import InputError
from dilnas.space import SearchSpace
from dilnas.variants import variant


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Autocast's casts are those of CUDA where they concern this network."""

    def forward(self: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)

    with fused_msda(), mock.patch.object(torch.nn.LayerNorm, "forward", forward):
        yield


def held(architecture: Architecture, size: tuple[int, int], batch: int, **form: object) -> tuple:
    """(bytes kept, bytes at the peak) of a step."""
    with as_on_cuda():
        world = World(architecture, size, batch, half=True, **form)
        return world.saved(), world.training()


@settings(max_examples=30)
@given(cases())
def test_what_is_kept_is_exact_and_the_peak_nearly(case: tuple) -> None:
    """On random networks: to the byte; and within 1 %, or a kilobyte where all is small."""
    architecture, size, batch = case
    assume(architecture.in_chans > 1 and all(stage.dim > 1 for stage in architecture.stages))
    saved, peak = held(*case)
    assert saved == mixed_saved_bytes(architecture, *size, batch)
    assert mixed_peak_bytes(architecture, *size, batch) == pytest.approx(peak, rel=0.01, abs=1024)


def some_of_the_default_space() -> list[Architecture]:
    space = SearchSpace.load("dilateformer")
    return [space.decode(code) for code in space.sample(4, 11)]


@pytest.mark.parametrize("architecture", [variant("tiny"), *some_of_the_default_space()])
@pytest.mark.parametrize(("size", "batch"), [((64, 96), 2), ((96, 64), 5)])
def test_networks_that_somebody_trains_hold_it_to_the_byte(
    architecture: Architecture, size: tuple[int, int], batch: int
) -> None:
    """Tiny and random networks of the default space: what is kept, and the peak."""
    found = (
        mixed_saved_bytes(architecture, *size, batch),
        mixed_peak_bytes(architecture, *size, batch),
    )
    assert held(architecture, size, batch) == found


@pytest.mark.parametrize("stem", ["overlapping", "pointconv"])
def test_a_channels_last_workload_needs_no_copies(stem: str) -> None:
    """With images and weights channels-last, to the byte, and not more than without."""
    architecture = variant("tiny").replace(stem=stem, pos_embed="both")
    _, peak = held(architecture, (64, 96), 2, memory_format=torch.channels_last)
    assert peak == mixed_peak_bytes(architecture, 64, 96, 2, channels_last=True)
    assert peak <= mixed_peak_bytes(architecture, 64, 96, 2)


def test_half_types_save_less_than_half() -> None:
    """Layer norms keep four bytes, and the casts of the weights come on top."""
    kept = mixed_saved_bytes(variant("base"), batch_size=64)
    full = 4 * saved_elements(variant("base"), batch_size=64, fused=True)
    assert 0.55 * full < kept < 0.75 * full
    assert mixed_peak_bytes(variant("base"), batch_size=64) < training_peak_bytes(
        variant("base"), batch_size=64, fused=True
    )


@pytest.mark.parametrize("form", [mixed_peak_bytes, mixed_saved_bytes])
def test_sizes_and_batches_out_of_range_are_refused(form: object) -> None:
    """As by the other forms."""
    for size, batch in (((33, 32), 1), ((32, 48), 0)):
        with pytest.raises(InputError):
            form(variant("tiny"), *size, batch)
