"""The section that calibrates: one predictor of latency of the default space on this GPU."""

from __future__ import annotations

from typing import Any

from gpu_runner import Runner, SectionSkipped
from gpu_state import Session, free

__all__ = ["calibrate"]

MARGIN_S = 8.0
"""Left of the section's time for the fit and for whatever takes longer than thought."""


def calibrate(session: Session, runner: Runner) -> None:
    """As ``dilnas calibrate`` does, in the time that the section has; into profiles/."""
    from dilnas.predict import calibrate as run
    from dilnas.predict.calibrating import LEAST_SECONDS
    from dilnas.records import Workload
    from dilnas.space import SearchSpace

    name, dtype, batch = session.plan.calibration
    seconds = min(runner.time_left() - MARGIN_S, session.plan.calibration_s)
    if seconds < LEAST_SECONDS:
        raise SectionSkipped(f"{max(seconds, 0):.0f} s are left, it takes {LEAST_SECONDS:.0f}")
    space = SearchSpace.load(name)
    workload = Workload(
        batch_size=batch, height=space.image_size, width=space.image_size, dtype=dtype,
        device=session.device,
    )  # fmt: skip
    what = f"{name} {dtype} batch {batch}"
    try:
        # What the anchor shows of a busy machine is a doubt here, and no reason to have nothing.
        found, path = run(
            space, workload, time_limit=seconds, most_drift=0.5, out=session.out / "profiles"
        )
    except Exception as error:  # noqa: BLE001 - the other sections go on
        runner.fail(what, error)
    else:
        runner.say(f"  {what}: {_told(found)}; {path.name}")
    free(session)
    runner.changed()


def _told(found: Any) -> str:
    fit = found.fit
    return (
        f"{len(found.networks)} networks, held-out error {fit.error_median:.1%}, "
        f"{fit.within_5:.0%} within 5 %, {fit.within_10:.0%} within 10 %, rank correlation "
        f"{fit.spearman:.3f}, noise {fit.noise_floor:.1%}"
    )
