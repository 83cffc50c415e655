"""What a session has found so far, and the files that hold it: rewritten after every section."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_plan import Group, Plan
from gpu_runner import Runner, json_text, write_file

__all__ = ["Session", "free", "label", "msda_backend", "pack_folder", "protocol"]

SESSION_FORMAT = 2
"""Version of session.json. 2: checks may be "cut" or have run in a process of their own; 1: first.
"""

PACK_EVERY_S = 10.0


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
        memories: Memory records by (name, mode, dtype, batch size), for the profiles of these.
        pack: a file that holds the whole folder, brought up to date now and then; or None.
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
    memories: dict[tuple[str, str, str, int], Any] = field(default_factory=dict)
    pack: Path | None = None
    packed_at: float = 0.0
    pending: list[Group] = field(default_factory=list)
    pending_compiled: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.planned(self.plan)

    def planned(self, plan: Plan) -> None:
        """Take this plan instead: which backends there are is known once torch is imported."""
        self.plan = plan
        self.pending, self.pending_compiled = list(plan.sweep), list(plan.compiled)

    def keep(self, profile: Any, msda: str = "") -> str:
        """Write a Profile to its file, replacing an older one of the same workload.

        ``msda``: the backend asked for; it goes into the facts, the notes and the file's name,
        since a Workload does not know of backends.
        """
        from dilnas.records.paths import profile_path
        from dilnas.report.document import profile_json

        if msda:
            note = f"MSDA by the backend {msda!r}"
            if note not in profile.notes:
                profile = replace(profile, notes=(*profile.notes, note))
        w = profile.workload
        key = (profile.name, w.mode, w.dtype, w.batch_size)
        if profile.memory is None and not msda and w.compile == "eager":
            profile = replace(profile, memory=self.memories.get(key))
        where = profile.environment
        if where is not None and msda:  # else as it was when this was measured
            facts = {**where.facts, "msda_backend": msda}
            profile = replace(profile, environment=replace(where, facts=facts))
        path = profile_path(profile)
        write_file(self.out / "profiles" / path, profile_json(profile) + "\n")
        self.profiles[path] = profile
        return path

    def write(self, runner: Runner, *, last: bool = False) -> None:
        """session.json and summary.md as things stand; ``last``: and the pack, whatever its age."""
        data = {
            "dilnas_gpu_session": SESSION_FORMAT,
            "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "device": self.device,
            **runner.as_dict(),
            "facts": self.facts,
            "checks": self.checks,
            "not_reached": [str(group) for group in (*self.pending, *self.pending_compiled)],
            "left_out_of_the_plan": list(self.plan.left_out),
            "profiles": list(self.profiles),
            "operator": self.operator,
        }
        write_file(self.out / "session.json", json_text(data))
        from gpu_summary import summary

        write_file(self.out / "summary.md", summary(self, data))
        if self.pack is not None and (last or time.monotonic() - self.packed_at > PACK_EVERY_S):
            pack_folder(self.out, self.pack)
            self.packed_at = time.monotonic()


def pack_folder(folder: Path, target: Path) -> None:
    """The folder as one .tgz beside its temporary name: whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with tarfile.open(temporary, "w:gz", compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            hidden = path.name.startswith(".")  # half-written
            if path.is_file() and not hidden and path.resolve() != target.resolve():
                archive.add(path, f"{folder.name}/{path.relative_to(folder)}")
    temporary.replace(target)


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

    changes: dict[str, Any] = dict(session.plan.protocol)
    return replace(Protocol(), **changes)
