"""``compare``: networks measured against one another, so that a difference is one.

All contenders, and a second copy of the first, live in memory at once and take turns in random
order (``interleave``); what their paired times say is ``verdict``'s to tell.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.measure.contenders import (
    distinct_names,
    exact_cost,
    made_ready,
    named_call,
    subjects_of,
)
from dilnas.measure.device import Device, Run
from dilnas.measure.device import open_device as open_real_device
from dilnas.measure.doubts import launch_doubts
from dilnas.measure.interleave import Rounds, Schedule, interleave
from dilnas.measure.limits import check_workload
from dilnas.measure.sampling import Progress
from dilnas.measure.subject import Subject
from dilnas.measure.verdict import MARGINS, Rule, estimate, fewest, judge_all
from dilnas.measure.workload import Runnable
from dilnas.records import Comparison, Contender, Cost, Workload
from dilnas.sizes import sides_of

__all__ = ["compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What will be run, checked as far as it can be without a device; the baseline comes first."""

    subjects: tuple[Subject, ...]
    names: tuple[str, ...]
    costs: tuple[Cost | None, ...]
    workload: Workload
    schedule: Schedule
    rule: Rule
    seed: int


def compare(
    specs: Sequence[str | Architecture | Subject],
    *,
    baseline: str | None = None,
    device: str | None = None,
    batch_size: int = 1,
    img_size: int | tuple[int, int] = 224,
    dtype: str = "fp32",
    mode: str = "inference",
    threads: int = 0,
    channels_last: bool = False,
    compile: bool = False,
    cuda_graph: bool = False,
    seed: int = 0,
    margin: float | None = None,
    rounds: int | None = None,
    time_limit: float | None = None,
    on_progress: Progress | None = None,
    open_device: Callable[[str], Device] = open_real_device,
) -> Comparison:
    """Which of ``specs`` is faster than the first, here and now, and whether that can be told.

    Args:
        specs: two to twelve; see ``subject`` for what may be named. One named twice gets two
            copies with names of their own.
        baseline: one of ``specs``, to be taken first.
        device: "cpu", "cuda", "cuda:N"; None: cuda when there is one, else cpu.
        batch_size: images in a batch.
        img_size: pixels, one side of a square or (height, width).
        dtype: fp32 (TF32 off), tf32, fp16 or bf16.
        mode: inference, or train (forward and backward).
        threads: CPU threads of torch; 0 leaves them as they are.
        channels_last: memory format of images and convolutions.
        compile: run under torch.compile instead of eagerly.
        cuda_graph: run as a captured CUDA graph instead of eagerly.
        seed: of the random orders.
        margin: relative difference that counts as none; None: 3 % on a CPU, 1 % on CUDA.
        rounds: exactly so many rounds and one look, instead of stopping when all is decided.
        time_limit: seconds for warm-up and rounds; None: 60, and up to 120 for the first twelve
            rounds of slow models. Building, and compiling, come on top.
        on_progress: told what is being done, between rounds.
        open_device: gives the device by its name.

    Raises a DilnasError that names the contender at fault: InputError where it cannot be built or
    run, DeviceError where it does not fit. The caller's torch settings and random state are left
    as they were.
    """
    from dilnas.measure.machine import choose_device

    if compile and cuda_graph:
        raise InputError("compile or a CUDA graph, not both", where="--compile --cuda-graph")
    height, width = sides_of(img_size)
    workload = Workload(
        batch_size=batch_size, height=height, width=width, dtype=dtype, mode=mode,
        compile="compile" if compile else "graph" if cuda_graph else "eager",
        channels_last=channels_last, threads=threads,
    )  # fmt: skip
    check_workload(workload)
    schedule = _schedule(rounds, time_limit)
    rule = Rule(margin=MARGINS["cpu"] if margin is None else margin, level=schedule.level)
    where = choose_device(device)
    if margin is None:
        rule = replace(rule, margin=MARGINS[where.partition(":")[0]])
    subjects = subjects_of(specs, baseline)
    plan = _Plan(
        subjects=subjects,
        names=distinct_names([found.name for found in subjects]),
        costs=tuple(exact_cost(found, height, width) for found in subjects),
        workload=replace(workload, device=where),
        schedule=schedule,
        rule=rule,
        seed=seed,
    )
    return _run(plan, open_device(where), on_progress)


def _schedule(rounds: int | None, time_limit: float | None) -> Schedule:
    schedule = Schedule()
    if time_limit is not None:
        schedule = schedule.within(time_limit)
    elif rounds is not None:
        schedule = schedule.within(math.inf)
    return schedule if rounds is None else schedule.exactly(rounds)


def _run(plan: _Plan, device: Device, on_progress: Progress | None) -> Comparison:
    from dilnas.measure.machine import settings

    def decided(samples: Sequence[Sequence[float]]) -> bool:
        return all(one.verdict != "AMBIGUOUS" for one in judge_all(plan.names, samples, plan.rule))

    with settings(plan.workload):
        ready = _ready(plan, on_progress)
        calls = [
            named_call(one.call, found, plan.workload)
            for found, one in zip((*plan.subjects, plan.subjects[0]), ready, strict=True)
        ]
        taken = interleave(
            calls, device, plan.schedule, decided=decided, seed=plan.seed, on_progress=on_progress
        )
        environment = device.environment()
    return Comparison(
        workload=plan.workload,
        environment=environment,
        contenders=_contenders(plan, ready, taken),
        control_s=taken.samples_s[-1],
        verdicts=judge_all(plan.names, taken.samples_s, plan.rule),
        seed=plan.seed,
        doubts=tuple(_doubts(plan, taken) + device.doubts(taken.looks)),
        extra={**_extra(plan, taken), **device.evidence(taken.looks)},
    )


def _ready(plan: _Plan, on_progress: Progress | None) -> list[Runnable]:
    """All contenders, then the baseline's second copy."""
    ready = []
    everyone = list(zip(plan.subjects, plan.names, plan.costs, strict=True))
    everyone.append((plan.subjects[0], f"{plan.names[0]} (control)", plan.costs[0]))
    for at, (found, name, cost) in enumerate(everyone):
        if on_progress is not None:
            on_progress(f"building {name}", at / len(everyone))
        ready.append(made_ready(found, plan.workload, cost))
    return ready


def _contenders(plan: _Plan, ready: Sequence[Runnable], taken: Rounds) -> tuple[Contender, ...]:
    out = []
    for at, (found, cost) in enumerate(zip(plan.subjects, plan.costs, strict=True)):
        architecture = found.architecture
        out.append(
            Contender(
                name=plan.names[at],
                spec=found.spec,
                parameters=ready[at].parameters,
                samples_s=taken.samples_s[at],
                key=None if architecture is None else architecture.key,
                gflops=None if cost is None else cost.flops / 1e9,
            )
        )
    return tuple(out)


def _doubts(plan: _Plan, taken: Rounds) -> list[str]:
    """What the samples themselves give; the device's own doubts come on top."""
    out, rounds, rule = [], len(taken.control_s), plan.rule
    if rounds < fewest(rule.level):
        out.append(
            f"few rounds: {rounds} in {taken.rounds_s:.1f} s, a 95% interval needs"
            f" {fewest(rule.level)}; a longer --time-limit gives more"
        )
    if not taken.steady:
        out.append(f"not steady after {taken.warm_up} warm-up rounds")
    noise = estimate(taken.control_s, taken.samples_s[0], rule.level)
    if noise.extent > math.log1p(rule.margin):
        out.append(
            f"noise: the baseline against itself gives {noise.low - 1:+.1%} to"
            f" {noise.high - 1:+.1%}, more than the {rule.margin:.1%} margin"
        )
    for name, runs in zip(plan.names, taken.runs, strict=False):
        enqueue_s = [run.enqueue_s for run in runs if run.enqueue_s is not None]
        if enqueue_s:
            device_s = statistics.median(run.device_s for run in runs)
            launch = launch_doubts(device_s, statistics.median(enqueue_s))
            out += [f"{name}: {doubt}" for doubt in launch]
    return out


def _extra(plan: _Plan, taken: Rounds) -> dict[str, Any]:
    return {
        "rounds": len(taken.control_s),
        "rounds_s": taken.rounds_s,
        "warmup_rounds": taken.warm_up,
        "calls_per_sample": taken.calls,
        "stopped_by": taken.stopped_by,
        "margin": plan.rule.margin,
        "interval_coverage": 0.95,
        "interval_method": "signed-rank test over rounds in random order, all looks together",
        "interval_miss_a_look": plan.rule.level,
        "launch_share": _launch_shares(plan.names, taken.runs),
    }


def _launch_shares(names: Sequence[str], runs: Sequence[Sequence[Run]]) -> dict[str, float]:
    """Enqueue over device time by contender, where the host hands work over."""
    shares = {}
    for name, own in zip(names, runs, strict=False):  # the control has no name
        enqueue_s = [run.enqueue_s for run in own if run.enqueue_s is not None]
        device_s = statistics.median(run.device_s for run in own)
        if enqueue_s and device_s > 0:
            shares[name] = statistics.median(enqueue_s) / device_s
    return shares
