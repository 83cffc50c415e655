"""Any module counted, and left exactly as it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.count import blind_spots, count_module
from dilnas.errors import InputError
from dilnas.model import build_model

COUNTERS = ["fvcore", "ptflops", "torch"]


class Awkward(nn.Module):
    """All that counters are known to disturb: batch statistics, dropout, hooks, shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.head.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hidden", torch.ones(8), persistent=False)
        self.loose = torch.ones(8)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        x = self.drop(self.norm(self.conv(x))).mean((2, 3))
        x = self.tied(self.head(x * self.hidden * self.loose))
        x = x + torch.rand_like(x) + random.random() + float(np.random.rand())
        self.seen.append(x)
        return x


MACS = 3 * 8 * 9 * 6 * 10 + 2 * 8 * 8
"""Of ``Awkward`` for an image of 6 x 10."""


def awkward() -> tuple[Awkward, list[str]]:
    """A model in the middle of its training, with every kind of hook; and the hooks' calls."""
    torch.manual_seed(1)
    model, calls = Awkward(), []
    model.head.bias.requires_grad_(False)
    model(torch.rand(2, 3, 6, 10)).sum().backward()
    model.train()
    model.norm.eval()
    model.drop.register_forward_hook(lambda *_: calls.append("forward"))
    model.register_forward_pre_hook(lambda *_: calls.append("pre"))
    model.conv.register_forward_hook(lambda *_, **__: calls.append("kwargs"), with_kwargs=True)
    model.head.register_forward_hook(lambda *_: calls.append("always"), always_call=True)
    model.head.register_full_backward_hook(lambda *_: calls.append("backward"))
    model.head.register_full_backward_pre_hook(lambda *_: calls.append("backward pre"))
    model.register_state_dict_post_hook(lambda *_: None)
    return model, calls


def picture_of(model: nn.Module) -> dict[str, Any]:
    """All that a caller could notice of a model."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "state keys": list(model.state_dict()),
        "state": {name: t.detach().clone() for name, t in model.state_dict().items()},
        "tensors": {n: (id(t), t.data_ptr(), t._version, t.device) for n, t in named.items()},
        "values": {name: t.detach().clone() for name, t in named.items()},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in named.items()},
        "requires_grad": {name: t.requires_grad for name, t in named.items()},
        "modes": {name: part.training for name, part in model.named_modules()},
        "types": {name: type(part) for name, part in model.named_modules()},
        "attributes": {name: sorted(vars(part)) for name, part in model.named_modules()},
        "hooks": {
            name: {k: dict(v) for k, v in vars(part).items() if "hook" in k and isinstance(v, dict)}
            for name, part in model.named_modules()
        },
        "loose": [getattr(model, "loose", torch.zeros(()))],
        "seen": [id(t) for t in getattr(model, "seen", [])],
        "torch": torch.get_rng_state(),
        "numpy": np.append(*np.random.get_state()[1:3]),
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "device": torch.get_default_device(),
    }


def same(a: Any, b: Any) -> bool:
    """Equality of pictures, tensors and arrays by value."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in before if not same(before[name], after[name])]


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("count", [count_module, blind_spots])
def test_a_counted_model_is_exactly_as_it_was(counter: str, count: Any) -> None:
    """State, gradients, modes, attributes, hooks and random states; no hook was called."""
    model, calls = awkward()
    before = picture_of(model)
    count(model, (3, 6, 10), counter if count is blind_spots else (counter,))
    assert changes(before, picture_of(model)) == []
    assert calls == []
    model(torch.zeros(2, 3, 6, 10)).sum().backward()
    assert sorted(calls) == ["always", "backward", "backward pre", "forward", "kwargs", "pre"]


def test_the_picture_of_a_model_shows_what_a_forward_pass_does() -> None:
    """The test above can fail: running the model itself changes this much."""
    model, _ = awkward()
    before = picture_of(model)
    model(torch.rand(2, 3, 6, 10))
    found = changes(before, picture_of(model))
    assert {"state", "tensors", "values", "seen", "torch", "numpy", "python"} <= set(found)


def test_ptflops_itself_would_disturb_the_model() -> None:
    """Why a copy is counted: its own function leaves hooks and switches to evaluation."""
    from ptflops import get_model_complexity_info

    model, _ = awkward()
    before = picture_of(model)
    get_model_complexity_info(
        model, (3, 6, 10), as_strings=False, backend="aten", print_per_layer_stat=False
    )
    assert {"hooks", "modes"} <= set(changes(before, picture_of(model)))


def test_each_counter_counts_a_module_in_its_own_unit() -> None:
    """The multiply-adds, and what each convention adds."""
    model, _ = awkward()
    fvcore, ptflops, torchs = count_module(model, (3, 6, 10))
    assert fvcore.by_operator == {
        "conv": 3 * 8 * 9 * 60,
        "linear": 2 * 8 * 8,
        "batch_norm": fvcore.by_operator["batch_norm"],
    }
    assert fvcore.total - fvcore.by_operator["batch_norm"] == MACS
    assert ptflops.total == MACS + 8 * 60 + 8
    assert torchs.total == 2 * MACS
    assert [each.device for each in (fvcore, ptflops, torchs)] == ["cpu", "meta", "meta"]
    assert all(each.blind_to == () and each.note == "" for each in (fvcore, ptflops, torchs))


def test_a_dilateformer_as_a_module_says_what_is_missed() -> None:
    """On meta only portable MSDA is unseen: the closed form is the total and what is named."""
    stage = Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1)
    architecture = Architecture(stages=(stage, stage))
    exact = cost(architecture, 16, 24)
    missed = sum(r.operators.get("matmul", 0) for r in exact.rows if r.kind == "msda")
    fvcore, _, torchs = count_module(build_model(architecture), (3, 16, 24))
    assert fvcore.by_operator == exact.by_operator
    assert fvcore.blind_to == ()
    assert torchs.total == 2 * (exact.macs - missed)
    assert len(torchs.blind_to) == 1
    assert torchs.blind_to[0].startswith(f"{missed:,} multiply-adds in 2 calls of dilated")


class NeedsNumbers(nn.Module):
    """What it does depends on a value, which meta tensors do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum().item() == 0 else x


def test_a_module_that_needs_numbers_is_counted_on_the_cpu_and_says_so() -> None:
    """No silent fallback."""
    (count,) = count_module(NeedsNumbers(), (4,), ("torch",))
    assert (count.total, count.device) == (32, "cpu")
    assert count.note.startswith("not counted on meta: ")


def test_a_compiled_module_is_counted_as_what_it_wraps() -> None:
    """A compiled one hides its operators; nothing is compiled for it."""
    compiled = torch.compile(nn.Linear(4, 6))
    assert [c.total for c in count_module(compiled, (4,))] == [24, 30, 48]


def test_a_callers_inference_mode_changes_no_count() -> None:
    """Neither around the call nor where the module was made."""
    with torch.inference_mode():
        inside = count_module(nn.Linear(4, 6), (4,))
    assert [c.total for c in inside] == [24, 30, 48]
    assert [c.blind_to for c in inside] == [(), (), ()]


def test_weights_that_hooks_compute_are_copied_as_they_are() -> None:
    """The older weight norm keeps a weight that is no leaf, and a hook."""
    with pytest.warns(FutureWarning):
        layer = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    layer(torch.zeros(1, 3, 6, 8))
    assert [c.total for c in count_module(layer, (3, 6, 8))] == [2592, 2592 + 96, 5184]


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("first line\nsecond line")


class Uncopyable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = (i for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_module_that_cannot_be_counted_is_one_line(
    counter: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A forward pass that raises, a shape that does not fit, and what cannot be copied."""
    with pytest.raises(InputError, match=rf"Raises: .* under {counter} failed: ValueError: first"):
        count_module(Raises(), (4,), (counter,))
    with pytest.raises(InputError, match=r"Linear: a forward pass .* an input of \(1, 5\)"):
        count_module(nn.Linear(4, 4), (5,), (counter,))
    with pytest.raises(InputError, match="Uncopyable: cannot be copied"):
        count_module(Uncopyable(), (4,), (counter,))
    for shape in ((), (0,), (3, -1)):
        with pytest.raises(InputError, match="without the batch"):
            count_module(nn.Linear(4, 4), shape, (counter,))
    with pytest.raises(InputError, match="unknown counter"):
        count_module(nn.Linear(4, 4), (4,), "thop")
    assert capfd.readouterr() == ("", "")


def test_a_module_in_half_precision_gets_an_input_of_its_type() -> None:
    """On meta every type can be counted."""
    (count,) = count_module(nn.Linear(4, 4).to(torch.bfloat16), (4,), ("torch",))
    assert count.total == 32
