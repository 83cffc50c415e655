"""The sections that look at few workloads closely: energy, memory, breakdown, comparisons."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Any

from gpu_runner import Runner, SectionSkipped, json_text, write_file
from gpu_state import Session, free, protocol

__all__ = ["breakdown", "compare", "energy", "memory", "recordings"]


def _base(session: Session, name: str, mode: str, dtype: str, batch: int) -> Any:
    """The eager Profile of a workload: the sweep's, else measured now."""
    from dilnas.measure import profile
    from dilnas.ops import ENVIRONMENT_VARIABLE

    own = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    for kept in session.profiles.values():
        w = kept.workload
        same = (kept.name, w.mode, w.dtype, w.batch_size) == (name, mode, dtype, batch)
        if same and w.compile == "eager" and kept.msda == own and kept.measurement is not None:
            return kept
    made = profile(
        name, device=session.device, batch_size=batch, dtype=dtype, mode=mode,
        img_size=session.plan.side, memory=False, energy=False, protocol=protocol(session),
    )  # fmt: skip
    return session.profiles[session.keep(made)]


def energy(session: Session, runner: Runner) -> None:
    """Joules an image of a few workloads, beside their latency."""
    plan = session.plan
    for name, dtype, batch in plan.energy:
        what = f"{name} {dtype} batch {batch}"
        # Settling, idle draw and warm-up come before the windows.
        if not runner.enough(what, 2 + (plan.windows + 1) * plan.window_s):
            continue
        try:
            made = _base(session, name, "inference", dtype, batch)
            found = _energy_of(session, made)
            if isinstance(found, str):  # of this device, whatever the workload
                runner.leave_out(f"energy of {what}", found)
                session.keep(replace(made, missing={**(made.missing or {}), "energy": found}))
                return
            session.keep(replace(made, energy=found))
            joules, watts = found.joules_per_image, found.mean_watts
            runner.say(f"  {what}: {joules * 1e3:.2f} mJ an image, {watts:.0f} W")
        except Exception as error:  # noqa: BLE001 - the next workload may do
            runner.fail(what, error)
        free(session)
        runner.changed()


def _energy_of(session: Session, made: Any) -> Any:
    """Energy, or why not; the model is gone when this returns."""
    from dilnas.measure.device import open_device
    from dilnas.measure.energy import measure_energy
    from dilnas.measure.machine import settings
    from dilnas.measure.workload import prepare

    plan = session.plan
    with settings(made.workload):
        call = prepare(made.architecture, made.workload, made.cost).call
        return measure_energy(
            call, made.workload.batch_size, open_device(session.device),
            windows=plan.windows, window_s=plan.window_s,
            median_s=None if made.measurement is None else made.measurement.median,
        )  # fmt: skip


def memory(session: Session, runner: Runner) -> None:
    """Memory of the plan's workloads, read in fresh processes beside the checks: into profiles."""
    for key in session.plan.memory:
        what = "{} {} {} batch {}".format(*key)
        found = session.memories.get(key)
        if found is None:
            runner.leave_out(what, "not read at the start of the session")
            continue
        try:
            made = _base(session, *key)
            if made.memory is None:
                session.keep(made)
            tensors = (found.weights_bytes, found.input_bytes, found.activation_peak_bytes)
            words = [f"{sum(filter(None, tensors)) / 1e6:,.1f} MB of tensors"]
            if found.closed_form_bytes is not None:
                words.append(f"closed form {found.closed_form_bytes / 1e6:,.1f} MB")
            if found.allocated_peak_bytes is not None:
                words.append(f"allocated {found.allocated_peak_bytes / 1e6:,.1f} MB")
            runner.say(f"  {what}: {', '.join(words)}")
        except Exception as error:  # noqa: BLE001 - the next workload may do
            runner.fail(what, error)
        free(session)
        runner.changed()


def breakdown(session: Session, runner: Runner) -> None:
    """Where the time goes, with the device's own rates; rates are taken once a dtype."""
    from dilnas.measure.breakdown import measure_breakdown
    from dilnas.measure.machine import settings

    rates: dict[str, Any] = {}
    for name, dtype, batch in session.plan.breakdown:
        what = f"{name} {dtype} batch {batch}"
        if not runner.enough(what, 2.0):
            continue
        try:
            made = _base(session, name, "inference", dtype, batch)
            with settings(made.workload):
                found = measure_breakdown(
                    made.architecture, made.workload, made.cost,
                    plain_s=made.measurement.median, rates=rates.get(dtype),
                )  # fmt: skip
            rates[dtype] = found.rates
            session.keep(replace(made, breakdown=found))
            runner.say(f"  {what}: {found.bottleneck}")
        except Exception as error:  # noqa: BLE001
            runner.fail(what, error)
        free(session)
        runner.changed()


def compare(session: Session, runner: Runner) -> None:
    """Contenders interleaved; timm's only where timm is."""
    from dilnas.measure.comparing import compare as run_compare
    from dilnas.records import comparison_dict

    plan = session.plan
    for number, (dtype, batch, wanted) in enumerate(plan.comparisons, 1):
        what = f"{', '.join(wanted)} in {dtype} at batch {batch}"
        if not runner.enough(what, plan.compare_s):
            continue
        specs = _present(wanted, what, runner)
        if len(specs) < 2:
            continue
        try:
            found = run_compare(
                specs, device=session.device, dtype=dtype, batch_size=batch,
                img_size=plan.side, time_limit=plan.compare_s,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the next comparison may do
            runner.fail(what, error)
            free(session)
            continue
        session.comparisons.append(found)
        write_file(
            session.out / "comparisons" / f"{number}.json", json_text(comparison_dict(found))
        )
        for verdict in found.verdicts:
            runner.say(f"  {verdict.name}: {verdict.verdict} {verdict.ratio:.3f}")
        free(session)
        runner.changed()


def _present(specs: tuple[str, ...], what: str, runner: Runner) -> tuple[Any, ...]:
    """Subjects of the contenders that can be built here: timm may be missing, or broken."""
    from dilnas.errors import DilnasError
    from dilnas.measure.subject import subject

    kept = []
    for spec in specs:
        try:
            kept.append(subject(spec))
        except DilnasError as error:
            runner.leave_out(f"{spec} among {what}", str(error))
    return tuple(kept)


def recordings(session: Session, runner: Runner) -> None:
    """What the device did in one latency and one energy session, so that tests can replay it."""
    from dilnas.measure.device import open_device
    from dilnas.measure.energy import measure_energy
    from dilnas.measure.latency import measure_latency
    from dilnas.measure.machine import settings
    from dilnas.measure.replay import Recorder
    from dilnas.measure.workload import prepare

    plan = session.plan
    if plan.recording is None:
        raise SectionSkipped("recordings are left out of this plan")
    name, dtype, batch = plan.recording
    made = _base(session, name, "inference", dtype, batch)
    folder = session.out / "recordings"
    with settings(made.workload):
        call = prepare(made.architecture, made.workload, made.cost).call
        recorder = Recorder(open_device(session.device))
        measured = measure_latency(call, made.workload, protocol(session), device=recorder)
        recorder.recording.save(folder / "latency.json")
        expected: dict[str, Any] = {"latency": asdict(measured)}
        recorder = Recorder(open_device(session.device))
        found = measure_energy(call, batch, recorder, windows=2, window_s=min(plan.window_s, 1.5))
        recorder.recording.save(folder / "energy.json")
        expected["energy"] = found if isinstance(found, str) else asdict(found)
    expected["workload"] = asdict(made.workload)
    expected["protocol"] = asdict(protocol(session))
    write_file(folder / "expected.json", json_text(expected))
    if isinstance(found, str):
        runner.leave_out("energy in the recording", found)
