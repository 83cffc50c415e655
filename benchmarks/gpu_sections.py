"""The sections of a session. Each takes what is in the library and keeps what it gives.

A section asks the runner before everything that takes seconds whether there is time, catches what
one item raises (``runner.fail``) and goes on with the next.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_operator import operator
from gpu_parts import breakdown, compare, energy, memory, recordings
from gpu_plan import Group
from gpu_runner import DeviceLost, OutOfTime, Runner, Section, SectionSkipped
from gpu_state import Session, free, label, msda_backend, protocol

__all__ = ["sections"]

ROOT = Path(__file__).resolve().parents[1]
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


def sections(session: Session) -> list[Section]:
    """In the order of their worth; weights are seconds of a session of about 460."""

    def bound(work: Callable[[Session, Runner], None]) -> Callable[[Runner], None]:
        return lambda runner: work(session, runner)

    listed: tuple[tuple[str, float, Callable[[Session, Runner], None]], ...] = (
        ("facts", 10, facts),
        ("checks", 80, checks),
        ("sweep", 130, sweep),
        ("energy", 45, energy),
        ("memory", 45, memory),
        ("breakdown", 25, breakdown),
        ("compare", 45, compare),
        ("recordings", 12, recordings),
        ("operator", 25, operator),
        ("compile", 55, compiled),
        ("rest of the sweep", 10, sweep),
    )
    return [Section(name=name, weight=weight, run=bound(work)) for name, weight, work in listed]


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


def checks(session: Session, runner: Runner) -> None:
    """The checks of tests/gpu, without pytest; what compiles comes with ``compiled``."""
    sys.path.insert(0, str(ROOT / "tests" / "gpu"))
    from checks_measuring import QUICK_CHECKS

    for check in QUICK_CHECKS:
        _check(session, runner, check)


def _check(session: Session, runner: Runner, check: Callable[[str], None]) -> None:
    from checks import CannotTell

    name = check.__name__.removeprefix("check_").replace("_", " ")
    if not runner.enough(name):
        return
    begin = time.perf_counter()
    row: dict[str, Any] = {"name": name, "status": "cut", "seconds": 0.0, "text": ""}
    session.checks.append(row)
    failure: Exception | None = None
    try:
        check(session.device)
        row["status"] = "passed"
    except CannotTell as reason:
        row["status"], row["text"] = "cannot tell", str(reason)
    except Exception as error:  # noqa: BLE001 - the next check is another question
        row["status"], failure = "failed", error
        row["text"] = f"{type(error).__name__}: {error}"[:1000]
    row["seconds"] = round(time.perf_counter() - begin, 2)
    runner.say(f"  {row['status']}: {name} ({row['seconds']:.1f} s)")
    if failure is not None:
        runner.fail(name, failure)
    free(session)


def sweep(session: Session, runner: Runner) -> None:
    """Latency of the plan's groups; a second call goes on where the first one stopped."""
    _groups(session, runner, session.pending)


def compiled(session: Session, runner: Runner) -> None:
    """The same with torch.compile: tens of seconds each."""
    if not session.plan.compiled:
        raise SectionSkipped("torch.compile is left out of this plan")
    sys.path.insert(0, str(ROOT / "tests" / "gpu"))
    from checks import LAST

    for check in LAST:
        _check(session, runner, check)
    _groups(session, runner, session.pending_compiled, needs_s=15.0)


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
