"""MSDA alone: every backend on maps of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gpu_runner import Runner
from gpu_state import Session, free

__all__ = ["operator"]

CASES = {"base-s1": (56, 96, 3), "tiny-s2": (28, 144, 6)}
"""(side of the map, channels, heads): a few rows; benchmarks/msda.py has the whole table."""

DILATIONS = (1, 2, 3)


def operator(session: Session, runner: Runner) -> None:
    """Every backend but the oracle on two of the paper's maps, forward and with gradient."""
    for dtype in session.plan.operator_dtypes:
        for case in CASES:
            for backward in (False, True):
                what = f"{case} {dtype}{' with gradient' if backward else ''}"
                if not runner.enough(what):
                    continue
                row = _row(session, runner, case, dtype, backward)
                session.operator.append(row)
                times = ", ".join(f"{k} {v * 1e3:.3f} ms" for k, v in row["median_s"].items())
                runner.say(f"  {what}: {times}")
                free(session)


def _row(session: Session, runner: Runner, case: str, dtype: str, backward: bool) -> dict[str, Any]:
    """Medians in seconds by backend, and the share of it that handing over takes."""
    import torch

    from dilnas.errors import DeviceError
    from dilnas.measure.latency import measure_latency
    from dilnas.measure.limits import fits
    from dilnas.measure.machine import settings
    from dilnas.measure.sampling import Protocol
    from dilnas.records import Workload

    batch, share = session.plan.operator
    side, channels, heads = CASES[case]
    side = max(1, round(side * share))
    kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    shape = (batch, side, side, channels)
    source = torch.Generator(session.device).manual_seed(0)
    made = partial(torch.randn, generator=source, device=session.device)
    qkv, slope = made((*shape[:3], 3 * channels)).to(kind), made(shape).to(kind)
    row: dict[str, Any] = {
        "case": case, "batch": batch, "side": side, "channels": channels, "heads": heads,
        "dtype": dtype, "backward": backward, "median_s": {}, "launch_share": {},
    }  # fmt: skip
    short = replace(
        Protocol(), min_warmup_s=0.02, max_warmup_s=0.1, min_samples=5, max_samples=100,
        min_s=0.05, max_s=0.25,
    )  # fmt: skip
    where = Workload(batch_size=batch, device=session.device, dtype=dtype)
    for name in session.facts.get("msda_backends", ()):
        if name == "oracle":  # the tests' truth, slow by intention
            continue
        try:
            with settings(where), fits(where):
                found = measure_latency(
                    _call(name, qkv, slope if backward else None, heads), where, short
                )
            row["median_s"][name] = found.median
            row["launch_share"][name] = found.extra.get("launch_share")
        except DeviceError as error:
            runner.leave_out(f"{name} on {case} {dtype}", str(error))
        except Exception as error:  # noqa: BLE001 - the next backend may do
            runner.fail(f"{name} on {case} {dtype}", error)
    return row


def _call(name: str, qkv: Any, slope: Any, heads: int) -> Callable[[], object]:
    """One forward pass of a backend; with a ``slope`` also the gradient of qkv."""
    import torch

    from dilnas.ops import msda

    forward = partial(msda, num_heads=heads, window_size=3, dilations=DILATIONS, backend=name)

    def inference() -> object:
        with torch.inference_mode():
            return forward(qkv)

    def training() -> object:
        leaf = qkv.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf), leaf, slope)

    return inference if slope is None else training
