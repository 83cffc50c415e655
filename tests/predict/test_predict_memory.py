"""Memory in closed form against the allocator of this CPU."""

from dataclasses import replace

import pytest
import torch

from dilnas.cost import cost
from dilnas.cost.memory_mixed import mixed_peak_bytes, mixed_saved_bytes
from dilnas.measure import measure_memory
from dilnas.predict.memory import memory_forecast
from dilnas.records import Workload
from dilnas.space import SearchSpace

SPACE = SearchSpace.load("dilateformer")


def check(count, seed, mode, batch):
    workload = Workload(batch_size=batch, mode=mode)
    off = []
    for code in SPACE.sample(count, seed):
        architecture = SPACE.decode(code)
        found = memory_forecast(architecture, workload, optimizer="none").peak_bytes
        seen = measure_memory(architecture, workload, cost(architecture, workload.height))
        off.append(found / seen.allocated_peak_bytes - 1)
    assert max(map(abs, off)) <= 0.05, off
    return off


@pytest.mark.parametrize("mode", ["inference", "train"])
def test_the_allocators_peak_is_within_five_percent(mode):
    """Random architectures of the default space, 224 px, each in a process of its own."""
    check(2, 11, mode, 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inference", "train"])
def test_the_allocators_peak_is_within_five_percent_of_sixty(mode):
    """The same of sixty."""
    check(60, 12, mode, 2)


def test_an_optimizers_states_are_those_that_torch_keeps():
    """AdamW has two numbers a parameter beside the step, SGD with momentum one."""
    architecture = SPACE.decode(SPACE.sample(1, 0)[0])
    model = torch.nn.Linear(100, 100)
    for name, optimizer in (
        ("adamw", torch.optim.AdamW(model.parameters())),
        ("sgd", torch.optim.SGD(model.parameters(), momentum=0.9)),
    ):
        model(torch.randn(2, 100)).sum().backward()
        optimizer.step()
        kept = sum(
            value.numel()
            for state in optimizer.state.values()
            for key, value in state.items()
            if key != "step"
        )
        found = memory_forecast(architecture, Workload(mode="train"), optimizer=name)
        weights = sum(p.numel() for p in model.parameters())
        assert found.optimizer_bytes / found.weights_bytes == kept / weights


def test_training_in_half_types_on_cuda_has_a_closed_form():
    """With the kernels; gradients and the optimizer's states are fp32 all the same."""
    architecture = SPACE.decode(SPACE.sample(1, 0)[0])
    workload = Workload(mode="train", dtype="bf16", batch_size=4, device="cuda")
    found = memory_forecast(architecture, workload, fused=True, optimizer="adamw")
    full = memory_forecast(architecture, replace(workload, dtype="fp32"), fused=True)
    assert found.peak_bytes == (
        mixed_peak_bytes(architecture, batch_size=4) + found.optimizer_bytes
    )
    assert found.kept_bytes == mixed_saved_bytes(architecture, batch_size=4) < full.kept_bytes
    assert found.gradients_bytes == full.gradients_bytes
    assert "portable" in memory_forecast(architecture, workload).why


def test_where_there_is_no_closed_form_it_says_why():
    """Compiled, or a training step under autocast: no number, a reason."""
    architecture = SPACE.decode(SPACE.sample(1, 0)[0])
    for workload in (Workload(compile="compile"), Workload(mode="train", dtype="bf16")):
        found = memory_forecast(architecture, workload)
        assert found.peak_bytes is None and "no closed form" in found.why
        assert found.weights_bytes > 0
