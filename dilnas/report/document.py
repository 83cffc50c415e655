"""Records as the one JSON document that is printed and stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dilnas.files import write_atomic
from dilnas.records import (
    Comparison,
    Profile,
    TaskProfile,
    comparison_dict,
    profile_dict,
    profile_path,
    profiles_dict,
    task_profile_dict,
)

__all__ = ["comparison_json", "profile_json", "profiles_json", "task_json", "write_profiles"]


def profile_json(profile: Profile) -> str:
    """JSON text, indented, lists of numbers on one line each, without a final newline."""
    return _text(profile_dict(profile))


def profiles_json(profiles: Iterable[Profile]) -> str:
    """Several profiles as one document, laid out as ``profile_json`` does."""
    return _text(profiles_dict(profiles))


def comparison_json(comparison: Comparison) -> str:
    """A comparison, laid out as ``profile_json`` does."""
    return _text(comparison_dict(comparison))


def task_json(profile: TaskProfile) -> str:
    """A dense task's profile, laid out as ``profile_json`` does."""
    return _text(task_profile_dict(profile))


def write_profiles(
    profiles: Sequence[Profile], out: Path, *, several: bool | None = None
) -> list[Path]:
    """Write profiles to ``out`` and say which files now hold them.

    A folder (one that is there, or a name without a suffix) gets a file a profile where
    ``profile_path`` puts it; a file gets one document: the profile, or a list of several (also of
    one that is left of ``several``). Each is written whole or not at all. Raises InputError where
    it cannot be written.
    """
    if out.is_dir() or not out.suffix:
        texts = {out / profile_path(profile): profile_json(profile) for profile in profiles}
    else:
        listed = len(profiles) != 1 if several is None else several
        texts = {out: profiles_json(profiles) if listed else profile_json(profiles[0])}
    for path, text in texts.items():
        write_atomic(path, text + "\n")
    return list(texts)


def _text(document: dict[str, Any]) -> str:
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    number = r"(?:-?[0-9.eE+-]+|null)"
    # A line break stands only in the layout: within a string JSON writes it as an escape.
    flat = re.compile(rf"\[\n\s*({number}(?:,\n\s*{number})*)\n\s*\]")
    return flat.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
