"""The JSON schema of the documents, as shipped in ``dilnas/records/schema/profile.schema.json``."""

from __future__ import annotations

import json
from typing import Any

from dilnas.errors import InputError

__all__ = ["SCHEMA_FILE", "schema"]

SCHEMA_FILE = "schema/profile.schema.json"
"""Below ``dilnas/records``; JSON Schema draft 2020-12, of the newest formats."""

KINDS = {
    "any": "", "profile": "Profile", "profiles": "Profiles", "comparison": "Comparison",
    "task": "TaskProfile", "calibration": "Calibration",
}  # fmt: skip


def schema(kind: str = "any") -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one kind of document, or of any of them.

    ``kind``: "profile", "profiles", "comparison", "task", "calibration" or "any".

    Describes what this version writes; files of older versions are read but not described.
    Raises InputError for another kind.
    """
    if kind not in KINDS:
        raise InputError(
            "unknown kind of document", where="kind", expected=" | ".join(KINDS), got=kind
        )
    from importlib.resources import files

    text = files("dilnas.records").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    if KINDS[kind]:
        del document["oneOf"]
        document["$ref"] = f"#/$defs/{KINDS[kind]}"
    return document
