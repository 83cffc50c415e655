"""One session on a GPU machine: checks, measurements, profiles and a summary, in eight minutes.

    python benchmarks/gpu_session.py --out DIR [--pack FILE.tgz] [--device cuda]
                                     [--time-limit 460] [--only checks …]
    python benchmarks/gpu_session.py --out DIR --device cpu --quick       the same flow, anywhere

Needs Python ≥ 3.11, torch ≥ 2.9, numpy, pandas, typer, rich, PyYAML and nvidia-ml-py; dilnas need
not be installed. First everything that needs no quiet machine runs side by side, a process a core:
checks, memory, and compiling into caches on the disk. Then sections run in the order of their
worth, each against its share of the time. Below four minutes the plan is shorter, and says what it
leaves out. DIR is written after every section and after most items, whole files only, so that a
kill at any moment leaves what was measured (--pack at most ten seconds behind, and up to date when
the process is asked to end):

    summary.md               tables, what failed, what was left out and why
    session.json             sections with status, seconds and tracebacks; facts; checks
    profiles/DEVICE/*.json   one Profile a workload, as ``dilnas report`` reads them
    comparisons/*.json       Comparison records
    recordings/*.json        what the device did, for ``ReplayDevice``
    after/                   the same again, of the sections after a CUDA error, which stays with
                             its process: another one goes on

Exit code: 0 nothing failed (what was left out for lack of time is listed), 1 something failed, 2
the command was wrong, 3 the watchdog ended a session that hung.
"""

from __future__ import annotations

import time

BEGIN = time.monotonic()  # importing torch is part of the time limit

import argparse  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "benchmarks", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
# For the fresh processes that memory is measured in.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)

from gpu_crowd import Crowd, wanted  # noqa: E402
from gpu_plan import SHORT_S, Plan, full, quick, short  # noqa: E402
from gpu_runner import Runner  # noqa: E402
from gpu_sections import WEIGHTS, sections  # noqa: E402
from gpu_state import Session  # noqa: E402

DEFAULT_LIMIT_S = 460.0
"""The watchdog adds its grace: eight minutes in all."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="measure dilnas on a GPU machine")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--time-limit", type=float, default=DEFAULT_LIMIT_S, help="seconds")
    parser.add_argument("--pack", type=Path, metavar="FILE.tgz", help="the folder as one file too")
    parser.add_argument("--quick", action="store_true", help="few small workloads: a rehearsal")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="these sections alone")
    parsed = parser.parse_args(words)
    if not parsed.time_limit > 0:
        parser.error("--time-limit must be above 0")
    if parsed.device.partition(":")[0] not in ("cpu", "cuda"):
        parser.error("--device must be cpu, cuda or cuda:N")
    return parsed


def other_backends(device: str) -> tuple[str, ...]:
    """MSDA backends beside the one that dilnas chooses by itself and the tests' oracle."""
    try:
        from dilnas.ops import backends_on
    except ImportError:  # no torch: the sections will say so one by one
        return ()
    # Triton's, where there is one, else the portable one is what "auto" takes on a GPU.
    present = backends_on(device)
    automatic = "triton" if "triton" in present else "portable"
    return tuple(name for name in present if name not in ("oracle", automatic))


def health(device: str) -> str:
    """Why ``device`` answers no more, "" while it does: a CUDA error stays with its process."""
    if not device.startswith("cuda"):
        return ""
    import torch

    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return str(error).strip().split("\n")[0]
    return ""


def hand_on(runner: Runner, given: argparse.Namespace) -> int:
    """Run the sections that are left in a new process, into a folder of its own; its exit code."""
    names = [outcome.name for outcome in runner.outcomes if outcome.status == "handed on"]
    left = given.time_limit - runner.elapsed_s
    if not names or left < 5:
        return 0
    words = [sys.executable, __file__, "--out", str(given.out / "after"), "--only", *names]
    words += ["--device", given.device, "--time-limit", f"{left:.0f}"]
    runner.say(f"the device was lost; a new process goes on with {', '.join(names)}")
    return subprocess.run([*words, *(["--quick"] if given.quick else [])], check=False).returncode


def planned(given: argparse.Namespace) -> Callable[[tuple[str, ...]], Plan]:
    """Which plan: by what was asked for and the time that there is."""
    if given.quick:
        return quick
    return short if given.time_limit < SHORT_S else full


def beside(given: argparse.Namespace, session: Session, names: list[str]) -> Crowd:
    """What runs side by side; a core is left to the session, more on a CPU, which does the work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    most = cores - 1 if given.device.startswith("cuda") else cores // 2
    listed = wanted(session.plan, given.device, names)
    return Crowd(listed, given.device, limit_s=given.time_limit, most=most)


def on_termination(end: Callable[[], None]) -> None:
    """Leave everything written when the process is asked to end, as by ``timeout`` or Ctrl-C."""

    def leave(number: int, frame: object) -> None:
        try:
            end()
        finally:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def main(words: list[str] | None = None) -> int:
    """Run a session; its exit code."""
    given = arguments(words)
    say = partial(print, flush=True)
    names = [name for name, _ in WEIGHTS]
    if unknown := [name for name in given.only or () if name not in names]:
        say(f"no such section: {', '.join(unknown)} (there are: {', '.join(names)})")
        return 2
    if given.only:
        names = ["facts", "side by side", *given.only]
    plan = planned(given)(())
    session = Session(out=given.out, device=given.device, plan=plan, pack=given.pack)
    crowd = beside(given, session, names)
    crowd.start()  # importing torch here and there goes on at once
    try:
        return run(given, session, crowd, names, say)
    finally:
        crowd.end()


def run(
    given: argparse.Namespace, session: Session, crowd: Crowd, names: list[str],
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """The sections, one after another."""
    if given.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            say("there is no CUDA device here; --device cpu --quick rehearses the session")
            return 2
    elif given.quick:
        import torch

        torch.set_num_threads(1)  # a rehearsal beside other work: threads that spin cost seconds
    session.planned(planned(given)(other_backends(given.device)))
    listed = [
        section for section in sections(session, crowd)
        if section.name in names and (section.name != "side by side" or crowd.tasks)
    ]  # fmt: skip
    runner = Runner(
        listed, limit_s=given.time_limit, start=BEGIN, health=partial(health, given.device),
        say=say, on_change=session.write,
    )  # fmt: skip

    def leave() -> None:
        crowd.end()
        session.write(runner, last=True)

    from dilnas.measure.workload import models_kept

    runner.watch(leave)
    on_termination(leave)
    with models_kept():  # drawing the weights anew for every batch size would take half of the time
        runner.run()
    session.write(runner, last=True)
    if runner.lost:
        hand_on(runner, given)
        session.write(runner, last=True)
    runner.say(f"written: {given.out / 'summary.md'}")
    return runner.exit_code()


if __name__ == "__main__":
    # Not sys.exit alone: a thread or a compiler's pool that hangs must not hold the session up.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
