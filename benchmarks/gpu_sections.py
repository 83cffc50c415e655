"""The sections of a session. Each takes what is in the library and keeps what it gives.

A section asks the runner before everything that takes seconds whether there is time, catches what
one item raises (``runner.fail``) and goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from gpu_calibrate import calibrate
from gpu_crowd import Crowd, Row
from gpu_job import answered, check_named
from gpu_operator import operator
from gpu_parts import breakdown, compare, energy, memory, recordings
from gpu_plan import Group
from gpu_runner import DeviceLost, OutOfTime, Runner, Section, SectionSkipped
from gpu_state import Session, free, label, msda_backend, protocol

__all__ = ["WEIGHTS", "sections"]

PACKAGES = (
    "torch", "triton", "timm", "torchvision", "numpy", "pandas", "typer", "rich", "PyYAML",
    "nvidia-ml-py",
)  # fmt: skip

VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING", "DILNAS_MSDA",
    "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Of the environment, what changes a measurement."""


class _Stop(Exception):  # noqa: N818
    """Ends a sweep between two rows."""


WEIGHTS: tuple[tuple[str, float], ...] = (
    ("facts", 8), ("side by side", 60), ("checks", 15), ("sweep", 100), ("energy", 27),
    ("calibrate", 70), ("breakdown", 20), ("memory", 6), ("compare", 26), ("recordings", 9),
    ("compile", 60),
    ("operator", 8), ("rest of the sweep", 25),
)  # fmt: skip
"""Sections in the order of their worth, and seconds of a session of about 445."""


def sections(session: Session, crowd: Crowd) -> list[Section]:
    """All of them; "side by side" waits for ``crowd``."""
    works: dict[str, Callable[[Session, Runner], None]] = {
        "facts": facts, "side by side": partial(beside, crowd=crowd), "checks": checks,
        "sweep": sweep, "energy": energy, "calibrate": calibrate, "breakdown": breakdown,
        "memory": memory, "compare": compare, "recordings": recordings, "compile": compiled,
        "operator": operator,
        "rest of the sweep": sweep,
    }  # fmt: skip

    def bound(name: str) -> Callable[[Runner], None]:
        return lambda runner: works[name](session, runner)

    idle = {"compile": not session.plan.compiled, "recordings": session.plan.recording is None}
    return [  # one that has nothing to do takes next to no time from the others
        Section(name=name, weight=0.01 if idle.get(name) else weight, run=bound(name))
        for name, weight in WEIGHTS
    ]


def facts(session: Session, runner: Runner) -> None:
    """Versions, the device's environment and one NVML reading."""
    import os
    import platform
    from importlib import metadata

    found = session.facts
    found["python"], found["platform"] = platform.python_version(), platform.platform()
    found["cpus"] = os.cpu_count()
    found["packages"] = {}
    for package in PACKAGES:
        try:
            found["packages"][package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found["packages"][package] = "not installed"
    found["msda_backends"] = backends(session.device)
    found["variables"] = {key: os.environ[key] for key in VARIABLES if key in os.environ}
    runner.changed()
    import torch

    import dilnas
    from dilnas.measure.device import open_device

    found["torch"], found["dilnas"] = str(torch.__version__), dilnas.__version__
    found["torch_built_for_cuda"] = torch.version.cuda
    found["torch_configuration"] = torch.__config__.show()
    device = open_device(session.device)
    found["environment"] = asdict(device.environment())
    found["reading"] = asdict(device.look())
    runner.say(f"  {found['environment']['device_name']}, torch {found['torch']}")


def backends(device: str) -> list[str]:
    """Names of the MSDA backends that run on the device."""
    from dilnas.ops import backends_on

    return sorted(backends_on(device))


def beside(session: Session, runner: Runner, crowd: Crowd) -> None:
    """Wait for the jobs that run side by side: checks, memory, and what warms the caches."""
    keys = {str([*key, session.plan.side]): key for key in session.plan.memory}
    taken: dict[str, list[float]] = {}

    def note(kind: str, row: Row) -> None:
        if kind == "checks":
            _note_check(session, runner, row)
        elif row["status"] == "failed":
            runner.note_failure(f"{kind}: {row['name']}", row["text"], row.get("traceback", ""))
        elif kind == "memory":
            from dilnas.records import Memory

            found = row["result"]
            memory = Memory(**{**found, "doubts": tuple(found["doubts"])})
            session.memories[keys[row["name"]]] = memory
            runner.say(f"  memory of {row['name']} ({row['seconds']:.1f} s)")
        else:
            taken.setdefault(kind, []).append(row["seconds"])
        runner.changed()

    crowd.join(runner, note)
    for kind, seconds in taken.items():
        words = f"{len(seconds)} compiled in {sum(seconds):.0f} s of their processes"
        runner.say(f"  {kind}: {words}, the longest in {max(seconds):.0f} s")


def checks(session: Session, runner: Runner) -> None:
    """The checks of tests/gpu that compare times; the others ran side by side."""
    for name in session.plan.quiet_checks:
        if runner.enough(_title(name)):
            check = partial(_quiet_check, name, session.device)
            _note_check(session, runner, answered(name, check))
            if why := runner.device_trouble():
                raise DeviceLost(why)
            free(session)


def _quiet_check(name: str, device: str) -> None:
    check_named(name)(device)


def _title(name: str) -> str:
    return name.removeprefix("check_").replace("_", " ")


def _note_check(session: Session, runner: Runner, row: Row) -> None:
    name = _title(row["name"])
    kept = {"name": name, **{key: row[key] for key in ("status", "seconds", "text")}}
    session.checks.append(kept)
    runner.say(f"  {row['status']}: {name} ({row['seconds']:.1f} s)")
    if row["status"] == "failed":
        runner.note_failure(name, row["text"], row.get("traceback", ""))


def sweep(session: Session, runner: Runner) -> None:
    """Latency of the plan's groups; a second call goes on where the first one stopped."""
    _groups(session, runner, session.pending)


def compiled(session: Session, runner: Runner) -> None:
    """The same with torch.compile: tens of seconds each."""
    if not session.plan.compiled:
        raise SectionSkipped("torch.compile is left out of this plan")
    _groups(session, runner, session.pending_compiled, needs_s=8.0)


def _groups(session: Session, runner: Runner, pending: list[Group], needs_s: float = 0.0) -> None:
    """Measure groups from the front of ``pending`` as long as there is time; the rest stays."""
    while pending and runner.time_left() > needs_s:
        group = pending.pop(0)
        try:
            _group(session, runner, group)
        except _Stop:
            runner.leave_out(f"the rest of {group}", "no time")
        except (OutOfTime, DeviceLost):
            runner.leave_out(str(group), "its section was stopped")
            raise
        except Exception as error:  # noqa: BLE001 - the next group is another workload
            runner.fail(str(group), error)
        runner.changed()
    if pending:
        runner.say(f"  {len(pending)} groups are left")


def _group(session: Session, runner: Runner, group: Group) -> None:
    from dilnas.errors import DeviceError, InputError
    from dilnas.measure.sweeping import sweep as run_sweep

    def kept(profile: Any) -> None:
        session.keep(profile, group.msda)
        if profile.measurement is None:
            runner.leave_out(f"{label(profile)} {group.msda}".rstrip(), profile.failure)
        else:
            per_s = profile.workload.batch_size / profile.measurement.median
            words = f"{profile.measurement.median * 1e3:.3f} ms, {per_s:.0f} images/s"
            runner.say(f"  {label(profile)} {group.msda}: {words}")
        if runner.time_left() <= 0 and profile.workload.batch_size != group.batches[-1]:
            raise _Stop

    try:
        with msda_backend(group.msda):
            run_sweep(
                group.name, device=session.device, batch_sizes=group.batches,
                img_sizes=(session.plan.side,), dtypes=(group.dtype,), modes=(group.mode,),
                compiles=(group.compile,), memory=None if len(group.batches) > 1 else False,
                energy=False, protocol=protocol(session), on_profile=kept,
            )  # fmt: skip
    except (DeviceError, InputError) as error:
        runner.leave_out(str(group), str(error))
    free(session)
