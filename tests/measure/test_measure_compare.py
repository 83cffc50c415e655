"""Comparisons of real models on the CPU, and everything that can be wrong with what is named."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from traces import TraceDevice

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.errors import ArchitectureError, DependencyError, DeviceError, DilnasError, InputError
from dilnas.measure.comparing import compare
from dilnas.measure.contenders import MOST_CONTENDERS, distinct_names
from dilnas.measure.device import Run
from dilnas.measure.subject import Subject, subject
from dilnas.records import Comparison, comparison_dict
from dilnas.records.reading import comparison_from_dict

FACTORIES = """
import sys
import torch
from torch import nn

class Grey(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
    def forward(self, x):
        return self.conv(x).mean((2, 3))

class Two(Grey):
    def forward(self, x):
        return x, x

class Hungry(Grey):
    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

class Namespace:
    inner = Grey

def grey(): return Grey()
def two(): return Two()
def hungry(): return Hungry()
def rgb(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
def square(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
def slow(): return nn.Sequential(*[nn.Conv2d(3 if not i else 16, 16, 3, padding=1)
                                   for i in range(12)])
def raises(): raise ValueError("no such config:\\n  depth")
def leaves(): sys.exit(3)
def text(): return "a model"
number = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's with modules of factories, being the current one."""
    (tmp_path / "h3_models.py").write_text(FACTORIES)
    (tmp_path / "h3_broken.py").write_text("import h3_does_not_exist")
    (tmp_path / "h3_raises.py").write_text("1 / 0")
    (tmp_path / "small.yaml").write_text(small().to_yaml())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("h3_")]:
        del sys.modules[name]


def small() -> Architecture:
    """Two stages, quick to run at 32 x 64."""
    return Architecture(
        stages=(
            Stage(dim=24, num_heads=3, msda_depth=1, global_depth=0),
            Stage(dim=48, num_heads=3, msda_depth=0, global_depth=1),
        ),
        num_classes=5,
    )


def quick(*specs: str, **options: object) -> Comparison:
    """Eight rounds at 32 x 64 on one thread."""
    given = {"device": "cpu", "img_size": (32, 64), "rounds": 8, "threads": 1, **options}
    return compare(specs, **given)


def test_a_comparison_of_two_copies_and_another(here: Path) -> None:
    """Names apart, exact cost where there is one, parameters counted, a sample a round each."""
    found = quick("small.yaml", "small.yaml", "h3_models:slow")
    assert [c.name for c in found.contenders] == ["small", "small (2)", "h3_models:slow"]
    exact = cost(small(), 32, 64)
    assert [c.parameters for c in found.contenders[:2]] == [exact.params] * 2
    assert found.contenders[0].gflops == exact.flops / 1e9
    assert found.contenders[0].key == small().key
    foreign = found.contenders[2]
    assert (foreign.gflops, foreign.key, foreign.spec) == (None, None, "h3_models:slow")
    assert foreign.parameters == 3 * 16 * 9 + 16 + 11 * (16 * 16 * 9 + 16)
    assert {len(c.samples_s) for c in found.contenders} == {8} == {len(found.control_s)}
    assert all(s > 0 for c in found.contenders for s in c.samples_s)
    assert [(v.name, v.baseline) for v in found.verdicts] == [
        ("small (2)", "small"), ("h3_models:slow", "small"),
    ]  # fmt: skip
    assert all(v.low <= v.ratio <= v.high for v in found.verdicts)
    assert found.workload.height == 32 and found.workload.width == 64
    assert found.extra["stopped_by"] == "count" and found.extra["rounds"] == 8
    assert comparison_from_dict(json.loads(json.dumps(comparison_dict(found)))) == found


def test_the_callers_settings_and_random_state_stay(here: Path) -> None:
    """Threads, gradient mode and the random numbers of torch, numpy and Python."""
    states = lambda: (  # noqa: E731
        torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(),
        torch.get_num_threads(), torch.is_grad_enabled(),
    )  # fmt: skip
    before = states()
    quick("small.yaml", "h3_models:grey", rounds=2)
    assert states() == before


def test_the_baseline_is_the_one_asked_for(here: Path) -> None:
    """It comes first, the others keep their order."""
    found = quick(
        "h3_models:grey", "h3_models:slow", "small.yaml", baseline="h3_models:slow", rounds=2
    )
    names = [c.name for c in found.contenders]
    assert names == ["h3_models:slow", "h3_models:grey", "small"]
    assert {v.baseline for v in found.verdicts} == {"h3_models:slow"}
    with pytest.raises(InputError, match=r"--baseline: must be one of .*tiny \| base.* got small"):
        compare(["tiny", "base"], baseline="small")


def test_training_and_channels_last_are_compared_too(here: Path) -> None:
    """A step forward and backward, in the other memory format."""
    found = quick("small.yaml", "h3_models:grey", mode="train", channels_last=True, rounds=2)
    assert found.workload.mode == "train" and found.workload.channels_last


class Costly(nn.Module):
    """A model that says what it costs when it is run."""

    last = 0.0

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Costly.last = self.cost
        return x


class Known(TraceDevice):
    """A machine on which a batch takes as long as the model says."""

    def run(self, call: Callable[[], object]) -> Run:
        call()
        return super().run(lambda: Costly.last)


def costly(cost: float) -> Subject:
    return Subject("model", f"model of {cost}", None, lambda: Costly(cost), 3)


def test_verdicts_on_a_machine_that_is_known() -> None:
    """Three times slower, the same and half, each compared with the first."""
    found = compare(
        [costly(cost) for cost in (1.0, 3.0, 1.0, 0.5)], device="cpu", img_size=8,
        open_device=lambda _: Known(itertools.cycle([1.0, 1.02, 0.99])),
    )  # fmt: skip
    assert [v.verdict for v in found.verdicts] == ["SLOWER", "SAME", "FASTER"]
    assert [v.ratio for v in found.verdicts] == pytest.approx([3.0, 1.0, 0.5], rel=0.04)
    assert [v.name for v in found.verdicts] == ["model (2)", "model (3)", "model (4)"]
    assert found.extra["stopped_by"] == "verdict"
    assert found.environment.device_name == "a trace"
    assert found.doubts == ()


def test_a_machine_that_cannot_tell_says_so() -> None:
    """Noise beyond the margin is a doubt with its interval, and no verdict."""
    rng = random.Random(0)
    found = compare(
        [costly(1.0), costly(1.05)], device="cpu", img_size=8, time_limit=20.0,
        open_device=lambda _: Known(rng.lognormvariate(0, 0.5) for _ in itertools.count()),
    )  # fmt: skip
    assert found.verdicts[0].verdict == "AMBIGUOUS"
    assert any(doubt.startswith("noise: the baseline against itself") for doubt in found.doubts)


def test_few_rounds_are_a_doubt_and_no_verdict(here: Path) -> None:
    """Two rounds decide nothing, and the doubt says what would."""
    found = quick("h3_models:grey", "h3_models:slow", rounds=2)
    assert found.verdicts[0].verdict == "AMBIGUOUS"
    assert any(doubt.startswith("few rounds: 2 in") for doubt in found.doubts)


def test_names_that_occur_again_get_a_number() -> None:
    """Each is still its own."""
    assert distinct_names(["a", "b", "a", "a"]) == ("a", "b", "a (2)", "a (3)")


def test_a_subject_is_built_the_same_each_time(here: Path) -> None:
    """Random weights, always the same ones; an Architecture is a subject as well."""
    for spec in ("small.yaml", "h3_models:grey"):
        found = subject(spec)
        first, second = found.build(), found.build()
        assert first is not second
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b)
    assert subject(small()).architecture == small()
    assert subject("h3_models:Namespace.inner").in_chans == 1
    assert (subject("h3_models:slow").in_chans, subject("h3_models:rgb").in_chans) == (3, 3)


def test_a_module_of_ones_own_is_compared_without_a_spec() -> None:
    """What a library user has at hand."""
    own = Subject("mine", "mine", None, lambda: nn.Conv2d(2, 3, 1), 2)
    found = compare([own, own], device="cpu", img_size=8, rounds=2, threads=1)
    assert [c.parameters for c in found.contenders] == [9, 9]


WRONG = [
    ("nosuch", ArchitectureError, r"'nosuch': unknown model .*timm:NAME \| package\.module"),
    ("nosuch.yaml", ArchitectureError, "nosuch.yaml"),
    ("h3_nothing:make", InputError, "there is no module h3_nothing: ModuleNotFoundError: No"),
    ("h3_models.sub:make", InputError, r"there is no module h3_models\.sub: ModuleNotFoundError"),
    ("h3_broken:make", InputError, "importing h3_broken raised ModuleNotFoundError: No module"),
    ("h3_raises:make", InputError, "importing h3_raises raised ZeroDivisionError: division"),
    ("h3_models:nothing", InputError, "there is no such factory: AttributeError: module"),
    ("h3_models:number", InputError, "must name a factory.*got an object of type int"),
    ("h3_models:raises", InputError, "building it raised ValueError: no such config: depth"),
    ("h3_models:leaves", InputError, "building it raised SystemExit: 3"),
    ("h3_models:text", InputError, r"must give a torch\.nn\.Module \(got an object of type str"),
    ("h3_models:two", InputError, r"must return one tensor \(got a tuple\)"),
    ("h3_models:square", InputError, "its first batch of 1 x 3 x 32 x 64 raised RuntimeError"),
    ("h3_models:hungry", DeviceError, "out of memory on cpu: 1 x 32 x 64"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "kind", "line"), WRONG, ids=[spec for spec, *_ in WRONG])
def test_what_cannot_be_compared_is_one_line_that_names_it(
    here: Path, spec: str, kind: type[DilnasError], line: str
) -> None:
    """Which one, and the original error's type and message."""
    with pytest.raises(kind, match=line) as caught:
        quick("small.yaml", spec)
    assert spec in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("specs", "options", "line"),
    [
        ((), {}, r"MODEL: a comparison needs at least two models .*got 0"),
        (("tiny",), {}, "at least two models"),
        (("tiny",) * (MOST_CONTENDERS + 1), {}, r"too many \(expected 2\.\.12 models, got 13\)"),
        (("tiny", "base"), {"img_size": (224, 225)}, "225"),
        (("tiny", "base"), {"batch_size": 0}, "--batch-size"),
        (("tiny", "base"), {"dtype": "fp8"}, "--dtype"),
        (("tiny", "base"), {"mode": "guess"}, "--mode"),
        (("tiny", "base"), {"rounds": 0}, "--rounds"),
        (("tiny", "base"), {"time_limit": -1.0}, "--time-limit"),
        (("tiny", "base"), {"margin": 3.0}, "--margin"),
        (("tiny", "base"), {"device": "tpu"}, "--device"),
        (("tiny", "base"), {"compile": True, "cuda_graph": True}, "not both"),
        (("tiny", "base"), {"cuda_graph": True}, "CUDA graphs exist on CUDA"),
    ],
)
def test_options_are_checked_before_anything_is_built(
    specs: tuple[str, ...], options: dict[str, object], line: str
) -> None:
    """One line each; a device that builds would have been opened."""
    with pytest.raises(DilnasError, match=line):
        compare(specs, **{"device": "cpu", **options})


@pytest.mark.parametrize("side", [0, -32, 1 << 20])
def test_foreign_models_need_sides_too(here: Path, side: int) -> None:
    """Where no strides say what is allowed, a number of pixels is still one."""
    with pytest.raises(InputError, match=r"--img-size: must be positive|out of range"):
        quick("h3_models:grey", "h3_models:slow", img_size=side)


def in_python(code: str, folder: Path) -> str:
    """What ``code`` prints in an interpreter of its own, started in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


ASK = """
from dilnas.errors import DependencyError
from dilnas.measure.subject import subject
try:
    subject("timm:resnet18")
except DependencyError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("raise ModuleNotFoundError(\"No module named 'timm'\", name='timm')",
         "timm:resnet18: timm is not installed (expected pip install timm)"),
        ("import h3_torchvision",
         "timm:resnet18: timm is installed but needs h3_torchvision, which is not"
         " (expected pip install h3_torchvision)"),
        ("raise RuntimeError('operator torchvision::nms does not exist')",
         "timm:resnet18: timm cannot be imported: RuntimeError: operator torchvision::nms does not"
         " exist (expected a timm and torchvision that fit this torch)"),
    ],
)  # fmt: skip
def test_a_missing_or_broken_timm_is_one_line(tmp_path: Path, package: str, line: str) -> None:
    """Also where the torchvision beside it was built for another torch."""
    (tmp_path / "timm.py").write_text(package)
    assert in_python(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{ASK}", tmp_path) == line


def timm_or_skip() -> None:
    """Skip where timm, with the torchvision that it needs, cannot be imported."""
    try:
        subject("timm:resnet18")
    except DependencyError as error:
        pytest.skip(str(error))


def test_a_timm_model_is_compared() -> None:
    """Random weights, nothing downloaded, channels as its configuration says."""
    timm_or_skip()
    found = quick("timm:resnet18", "timm:resnet18", rounds=2)
    assert [c.name for c in found.contenders] == ["timm:resnet18", "timm:resnet18 (2)"]
    assert found.contenders[0].parameters == 11_689_512
    assert subject("timm:resnet18").in_chans == 3


@pytest.mark.parametrize("name", ["resnet81", "hf-hub:someone/something"])
def test_an_unknown_timm_model_is_one_line(name: str) -> None:
    """With names that are near, and without asking the network for it."""
    timm_or_skip()
    with pytest.raises(InputError, match="timm has no such model") as caught:
        subject(f"timm:{name}")
    assert name in str(caught.value)
    assert name != "resnet81" or "resnet18" in str(caught.value)
