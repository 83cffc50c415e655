"""Memory in closed form against the allocator of this CPU."""

import pytest
import torch

from dilnas.cost import cost
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


def test_where_there_is_no_closed_form_it_says_why():
    """Compiled, or a training step under autocast: no number, a reason."""
    architecture = SPACE.decode(SPACE.sample(1, 0)[0])
    for workload in (Workload(compile="compile"), Workload(mode="train", dtype="bf16")):
        found = memory_forecast(architecture, workload)
        assert found.peak_bytes is None and "no closed form" in found.why
        assert found.weights_bytes > 0
