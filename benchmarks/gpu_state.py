"""What a session has found so far, and the files that hold it: rewritten after every section."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_plan import Group, Plan
from gpu_runner import Runner, json_text, write_file

__all__ = ["Session", "free", "label", "msda_backend", "protocol"]

SESSION_FORMAT = 1
"""Version of session.json. 1: first."""


@dataclass(kw_only=True)
class Session:
    """Folder, device and plan; then what the sections put in.

    Attributes:
        out: folder of the results.
        device: "cpu", "cuda", "cuda:N".
        plan: what is measured.
        facts: of the machine, by name.
        checks: of each check its name, status ("passed", "failed", "cannot tell"), seconds, text.
        profiles: by file name below ``profiles/``, in the order measured.
        comparisons: Comparison records.
        operator: rows of the MSDA operator's table.
        pending, pending_compiled: groups of the plan that were not reached yet.
    """

    out: Path
    device: str
    plan: Plan
    facts: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    profiles: dict[str, Any] = field(default_factory=dict)
    comparisons: list[Any] = field(default_factory=list)
    operator: list[dict[str, Any]] = field(default_factory=list)
    pending: list[Group] = field(default_factory=list)
    pending_compiled: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pending, self.pending_compiled = list(self.plan.sweep), list(self.plan.compiled)

    def keep(self, profile: Any, msda: str = "") -> str:
        """Write a Profile to its file, replacing an older one of the same workload.

        ``msda``: the backend asked for; it goes into the facts, the notes and the file's name,
        since a Workload does not know of backends.
        """
        from dilnas.records.paths import profile_path
        from dilnas.report.document import profile_json

        path = profile_path(profile)
        if msda:
            note = f"MSDA by the backend {msda!r}"
            if note not in profile.notes:
                profile = replace(profile, notes=(*profile.notes, note))
            path = path.removesuffix(".json") + f"-msda-{msda}.json"
        where = profile.environment
        if where is not None:
            facts = {**where.facts, "msda_backend": msda or os.environ.get("DILNAS_MSDA", "auto")}
            profile = replace(profile, environment=replace(where, facts=facts))
        write_file(self.out / "profiles" / path, profile_json(profile) + "\n")
        self.profiles[path] = profile
        return path

    def write(self, runner: Runner) -> None:
        """session.json and summary.md as things stand."""
        data = {
            "dilnas_gpu_session": SESSION_FORMAT,
            "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "device": self.device,
            **runner.as_dict(),
            "facts": self.facts,
            "checks": self.checks,
            "not_reached": [str(group) for group in (*self.pending, *self.pending_compiled)],
            "profiles": list(self.profiles),
            "operator": self.operator,
        }
        write_file(self.out / "session.json", json_text(data))
        from gpu_summary import summary

        write_file(self.out / "summary.md", summary(self, data))


def label(profile: Any) -> str:
    """A workload in a few words, for progress lines and tables."""
    w = profile.workload
    words = [profile.name, "train" if w.mode == "train" else "", w.dtype]
    words += ["" if w.compile == "eager" else w.compile, f"batch {w.batch_size}"]
    return " ".join(word for word in words if word)


@contextmanager
def msda_backend(name: str) -> Iterator[None]:
    """MSDA by the backend ``name`` within the block; "" changes nothing."""
    before = os.environ.get("DILNAS_MSDA")
    if name:
        os.environ["DILNAS_MSDA"] = name
    try:
        yield
    finally:
        if name:
            if before is None:
                del os.environ["DILNAS_MSDA"]
            else:
                os.environ["DILNAS_MSDA"] = before


def free(session: Session) -> None:
    """Give memory back between items: cached blocks of one must not make another fail."""
    from dilnas.measure.limits import release

    release(session.device)


def protocol(session: Session) -> Any:
    """The plan's short protocol."""
    from dilnas.measure.sampling import Protocol

    return replace(Protocol(), **session.plan.protocol)
