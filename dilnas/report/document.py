"""A Profile as the one JSON document that is printed and stored."""

from __future__ import annotations

import json
import re

from dilnas.records import Profile, profile_dict

__all__ = ["profile_json"]


def profile_json(profile: Profile) -> str:
    """JSON text, indented, lists of numbers on one line each, without a final newline."""
    text = json.dumps(profile_dict(profile), indent=2, allow_nan=False, ensure_ascii=False)
    number = r"(?:-?[0-9.eE+-]+|null)"
    # A line break stands only in the layout: within a string JSON writes it as an escape.
    flat = re.compile(rf"\[\n\s*({number}(?:,\n\s*{number})*)\n\s*\]")
    return flat.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
