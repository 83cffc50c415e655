"""A network can be built once for many workloads: only the time that it takes is different."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.measure import Protocol, sweep
from dilnas.measure.workload import models_kept, prepare
from dilnas.records import Workload

SMALL = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=3, global_depth=1)),
    num_classes=5,
)
ONCE = Protocol(min_warmup=1, min_warmup_s=0.0, max_warmup_s=0.1, min_samples=3, max_samples=3,
                min_s=0.0, max_s=0.5)  # fmt: skip


@pytest.fixture
def built(monkeypatch) -> list[Architecture]:
    """What was really built, in order."""
    import dilnas.model

    real, seen = dilnas.model.build_model, []

    def counted(architecture: Architecture) -> torch.nn.Module:
        seen.append(architecture)
        return real(architecture)

    monkeypatch.setattr(dilnas.model, "build_model", counted)
    return seen


def tensors(batch: int, dtype: str = "fp32", mode: str = "inference") -> list[torch.Tensor]:
    """Weights, buffers and images of a prepared workload."""
    workload = Workload(batch_size=batch, height=32, width=32, dtype=dtype, mode=mode)
    made = prepare(SMALL, workload, cost(SMALL, 32, 32))
    return [tensor.detach().clone() for tensor in made.resident]


def test_weights_and_images_are_the_same_to_the_last_bit(built) -> None:
    """Whatever was prepared from the same network before, training included."""
    wanted = [(1, "fp32", "inference"), (3, "bf16", "inference"), (2, "fp32", "train")]
    apart = [tensors(*each) for each in wanted]
    assert len(built) == 3
    with models_kept():
        kept = [tensors(*each) for each in (*wanted, *wanted)]
    assert len(built) == 4
    for alone, again in zip((*apart, *apart), kept, strict=True):
        assert len(alone) == len(again)
        assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


def test_the_callers_random_state_is_left_alone() -> None:
    """By the building and by the copying."""
    torch.manual_seed(11)
    wanted = torch.default_generator.get_state()
    with models_kept():
        for _ in range(2):
            tensors(1)
            assert torch.equal(torch.default_generator.get_state(), wanted)


def test_models_are_gone_after_the_outermost_block(built) -> None:
    """An inner block keeps what the outer one has; another network is another model."""
    with models_kept():
        tensors(1)
        with models_kept():
            tensors(1)
        tensors(1)
        other = replace(SMALL, num_classes=7)
        prepare(other, Workload(height=32, width=32), cost(other, 32, 32))
    assert built == [SMALL, other]
    tensors(1)
    assert built == [SMALL, other, SMALL]


def test_a_sweep_can_build_its_network_once(built) -> None:
    """Where that is asked for, or on CUDA; on a CPU it would stand in every resident set."""
    what = {"device": "cpu", "batch_sizes": (1, 2), "dtypes": ("fp32", "tf32"), "img_sizes": (32,)}
    with models_kept():
        rows = sweep(SMALL, protocol=ONCE, **what)
    assert [row.measurement is None for row in rows] == [False, False, True, True]
    assert len(built) == 1
    sweep(SMALL, protocol=ONCE, **what)
    assert len(built) == 3
