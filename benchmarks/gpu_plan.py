"""What a session measures, in the order of its worth: a cut at any point keeps a useful subset."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["SHORT_S", "Group", "Plan", "full", "quick", "short"]

VARIANTS = ("base", "tiny", "small")
PEERS = ("timm:vit_small_patch16_224", "timm:swin_tiny_patch4_window7_224", "timm:convnext_tiny")


SHORT_S = 240.0
"""A session below this many seconds has a plan of its own: a compiled network takes half a minute.
"""

CHECKS = Path(__file__).resolve().parents[1] / "tests" / "gpu"
QUIET = (
    "check_more_work_takes_longer",
    "check_base_is_slower_than_tiny_and_tiny_is_not_another_than_itself",
)
"""Checks that compare times: not beside others."""

SLOW = ("check_a_compiled_model_gives_the_eager_output",)
"""Checks that go with torch.compile."""


def check_names() -> tuple[str, ...]:
    """All checks of tests/gpu, by reading: importing them would import torch."""
    texts = [
        (CHECKS / f"{name}.py").read_text("utf-8")
        for name in ("checks_msda", "checks", "checks_measuring")
    ]
    return tuple(name for text in texts for name in re.findall(r"^def (check_\w+)", text, re.M))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Workloads of one architecture that differ in the batch size alone.

    ``msda``: the backend, "" for what dilnas chooses by itself.
    """

    name: str
    batches: tuple[int, ...]
    dtype: str
    compile: str = "eager"
    mode: str = "inference"
    msda: str = ""

    def __str__(self) -> str:
        batches = ",".join(map(str, self.batches))
        words = [self.name, self.mode, self.dtype, self.compile, f"batch {batches}"]
        return " ".join([*words, *([f"MSDA by {self.msda}"] if self.msda else [])])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One session.

    Attributes:
        side: pixels of the images' sides.
        sweep: what is swept, most telling first.
        compiled: the same for torch.compile, which takes tens of seconds each.
        checks, quiet_checks, slow_checks: those that run beside others, those that compare times,
            those that compile; by name.
        energy: (name, dtype, batch size) of which the energy is counted.
        memory: (name, mode, dtype, batch size), each in a fresh process.
        breakdown: (name, dtype, batch size).
        comparisons: (dtype, batch size, contenders), the first being the baseline.
        recording: (name, dtype, batch size) that is recorded for replaying; None: nothing is.
        calibration: (space, dtype, batch size) that latency is calibrated for.
        calibration_s: seconds that it may take at most.
        operator: (batch size, share of the map's side) of the MSDA operator's table.
        operator_dtypes: and its dtypes.
        windows, window_s: of the energy.
        compare_s: seconds of a comparison's rounds.
        protocol: how a latency is taken, changes to ``Protocol``'s defaults.
        left_out: what a longer session has beside, in words.
    """

    side: int
    sweep: tuple[Group, ...]
    compiled: tuple[Group, ...]
    energy: tuple[tuple[str, str, int], ...]
    memory: tuple[tuple[str, str, str, int], ...]
    breakdown: tuple[tuple[str, str, int], ...]
    comparisons: tuple[tuple[str, int, tuple[str, ...]], ...]
    recording: tuple[str, str, int] | None
    calibration: tuple[str, str, int]
    operator: tuple[int, float]
    operator_dtypes: tuple[str, ...]
    checks: tuple[str, ...] = ()
    quiet_checks: tuple[str, ...] = QUIET
    slow_checks: tuple[str, ...] = ()
    windows: int = 3
    window_s: float = 1.5
    calibration_s: float = 300.0
    compare_s: float = 8.0
    protocol: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def full_sweep(backends: tuple[str, ...]) -> tuple[Group, ...]:
    """Every variant, batch size, dtype, way to run and MSDA backend, most telling first."""
    all_sizes, pair = (1, 8, 64, 128), ("base", "tiny")
    groups = [Group(name=name, batches=all_sizes, dtype="bf16") for name in VARIANTS]
    groups += [
        Group(name=name, batches=(128,), dtype="bf16", msda=backend)
        for backend in backends for name in pair
    ]  # fmt: skip
    groups += [Group(name=name, batches=(64, 128), dtype="bf16", mode="train") for name in pair]
    groups += [Group(name=name, batches=(1, 8), dtype="bf16", compile="graph") for name in VARIANTS]
    groups += [Group(name=name, batches=all_sizes, dtype="fp32") for name in VARIANTS]
    groups += [  # from here on as time is left
        Group(name="small", batches=(64, 128), dtype="bf16", mode="train"),
        *(Group(name=n, batches=(128,), dtype="bf16", mode="train", msda=b)
          for b in backends for n in pair),
        *(Group(name=name, batches=(64, 128), dtype="tf32") for name in VARIANTS),
        *(Group(name=name, batches=(64,), dtype="bf16", compile="graph") for name in pair),
        *(Group(name=name, batches=(64, 128), dtype="fp16") for name in VARIANTS),
        Group(name="tiny", batches=(256, 1024), dtype="bf16"),
        Group(name="base", batches=(256, 512), dtype="bf16"),
        *(Group(name=name, batches=(1,), dtype="fp32", compile="graph") for name in VARIANTS),
        *(Group(name=name, batches=(64,), dtype="fp32", mode="train") for name in pair),
        *(Group(name="tiny", batches=(1, 64), dtype="fp32", msda=b) for b in (*backends, "oracle")),
    ]  # fmt: skip
    return tuple(groups)


def full(backends: tuple[str, ...]) -> Plan:
    """On a GPU. ``backends``: of MSDA, beside what dilnas chooses by itself and the oracle."""
    return Plan(
        side=224,
        sweep=full_sweep(backends),
        compiled=(
            Group(name="tiny", batches=(64,), dtype="bf16", compile="compile"),
            Group(name="base", batches=(64,), dtype="bf16", compile="compile"),
            Group(name="tiny", batches=(64,), dtype="bf16", mode="train", compile="compile"),
        ),
        energy=(("base", "bf16", 64), ("tiny", "bf16", 64), ("small", "bf16", 64),
                ("base", "fp32", 64)),
        memory=(("base", "inference", "bf16", 64), ("base", "train", "bf16", 64),
                ("tiny", "inference", "bf16", 64), ("tiny", "train", "bf16", 64),
                ("tiny", "train", "fp32", 64)),
        breakdown=(("base", "bf16", 128), ("tiny", "bf16", 64), ("base", "fp32", 1)),
        comparisons=(
            ("bf16", 64, ("tiny", "small", "base")),
            ("bf16", 64, ("tiny", *PEERS)),
            ("fp32", 1, ("tiny", "small", "base", *PEERS)),
        ),
        recording=("tiny", "bf16", 64),
        calibration=("dilateformer", "bf16", 64),
        operator=(64, 1.0),
        operator_dtypes=("bf16",),
        checks=tuple(name for name in check_names() if name not in (*QUIET, *SLOW)),
        slow_checks=SLOW,
        window_s=2.0,  # of less, the ends are known to 2 % only
        compare_s=6.0,
        protocol={"min_warmup_s": 0.15, "max_warmup_s": 0.5, "min_samples": 10,
                  "max_samples": 300, "min_s": 0.25, "max_s": 0.8},
    )  # fmt: skip


def short(backends: tuple[str, ...]) -> Plan:
    """On a GPU in two or three minutes: without what takes long, and saying so."""
    plan = full(backends)
    return replace(
        plan,
        compiled=(), slow_checks=(), quiet_checks=QUIET[:1], recording=None,
        energy=plan.energy[:2], memory=plan.memory[:3], comparisons=plan.comparisons[:2],
        compare_s=4.0,
        left_out=(
            "torch.compile: each network takes half a minute or more",
            "the check of base against tiny: the comparisons tell it",
            "recordings: the tests have some of a real GPU",
            *(f"energy of {name} {dtype} batch {batch}" for name, dtype, batch in plan.energy[2:]),
            *("memory of {} {} {} batch {}".format(*each) for each in plan.memory[3:]),
            *(f"{', '.join(names)} compared in {dtype} at batch {batch}"
              for dtype, batch, names in plan.comparisons[2:]),
        ),
    )  # fmt: skip


def quick(backends: tuple[str, ...]) -> Plan:
    """The whole flow in a minute on a CPU: small images, few rows, figures that mean nothing."""
    return Plan(
        side=32,
        sweep=(
            Group(name="tiny", batches=(1, 2), dtype="fp32"),
            Group(name="tiny", batches=(1, 2), dtype="tf32"),
            Group(name="tiny", batches=(1, 2), dtype="fp32", compile="graph"),
            *(Group(name="tiny", batches=(1,), dtype="fp32", msda=b) for b in backends),
            Group(name="tiny", batches=(2,), dtype="fp32", mode="train"),
        ),
        compiled=(),
        energy=(("tiny", "fp32", 1),),
        memory=(("tiny", "inference", "fp32", 1),),
        breakdown=(("tiny", "fp32", 1),),
        comparisons=(("fp32", 1, ("tiny", "small")), ("fp32", 1, ("tiny", PEERS[-1]))),
        recording=("tiny", "fp32", 1),
        calibration=("smoke", "fp32", 2),
        operator=(1, 0.25),
        operator_dtypes=("fp32",),
        checks=tuple(name for name in check_names() if name not in (*QUIET, *SLOW)),
        windows=2,
        window_s=0.5,
        calibration_s=15.0,
        compare_s=2.0,
        protocol={"min_warmup": 1, "min_warmup_s": 0.0, "max_warmup_s": 0.2, "min_samples": 3,
                  "max_samples": 5, "min_s": 0.0, "max_s": 0.5},
    )  # fmt: skip
