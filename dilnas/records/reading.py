"""Profiles and comparisons read back from their JSON, of this version and of older ones.

What is read is checked as far as it can be without measuring again: types, ranges, every derived
figure against the raw values it comes from, and the key against the network. The cost of a file is
checked to sum but not counted anew: it is what the dilnas that wrote it counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dilnas.errors import InputError
from dilnas.records.comparison import Comparison
from dilnas.records.decode import Spot, decode, same_figure
from dilnas.records.documents import COMPARISON_FORMAT, PROFILE_FORMAT, images_per_s
from dilnas.records.profile import Profile

__all__ = ["comparison_from_dict", "load_profiles", "parsed_json", "profile_from_dict"]

MAX_FILE_BYTES = 256 << 20
"""A document larger than this is refused before it is parsed: about 4000 profiles."""

FIRST_FORMAT = 1
MARK = "dilnas_"
"""Every document of dilnas says with its first field what it is: ``dilnas_profile``, …"""


def profile_from_dict(data: object, where: str = "") -> Profile:
    """Inverse of ``profile_dict``; takes every format up to ``PROFILE_FORMAT``.

    ``where`` names the file in errors. Raises InputError (ArchitectureError for the network)
    naming the field at fault, whatever ``data`` is.
    """
    return _profile(data, Spot(where))


def comparison_from_dict(data: object, where: str = "") -> Comparison:
    """Inverse of ``comparison_dict``. Raises InputError naming the field at fault."""
    spot = Spot(where)
    values = _object(data, spot)
    _version(values, "dilnas_comparison", COMPARISON_FORMAT, spot)
    return decode(Comparison, values, spot)


def load_profiles(path: str | os.PathLike[str]) -> tuple[Profile, ...]:
    """Profiles of a file (one, or a list of them) or of every ``*.json`` in a folder and below.

    In path order. Within a folder, documents of dilnas that are no profiles and hidden files are
    passed over; anything else that is no profile is an error, as is a folder without profiles.
    Raises InputError naming file and field.
    """
    given = Path(path)
    try:
        is_folder = given.is_dir()
        files = sorted(f for f in given.rglob("*.json") if _visible(f, given)) if is_folder else []
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read: {error}", where=str(path)) from error
    if not is_folder:
        return _from_file(given, alone=True)
    found = tuple(profile for file in files for profile in _from_file(file, alone=False))
    if not found:
        rule = "no profiles in this folder; dilnas profile … --out FILE writes one"
        raise InputError(rule, where=str(path), got=f"{len(files)} JSON files")
    return found


def _visible(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)


def _from_file(file: Path, *, alone: bool) -> tuple[Profile, ...]:
    spot = Spot(str(file))
    values = _object(parsed_json(file, spot), spot)
    if "dilnas_profiles" in values:
        _version(values, "dilnas_profiles", PROFILE_FORMAT, spot)
        items = values.pop("profiles", None)
        if not isinstance(items, list):
            raise spot.at("profiles").wrong("must be a list", got=type(items).__name__)
        for name in values:
            raise spot.at(name).wrong("unknown field")
        return tuple(_profile(x, spot.at("profiles").item(i)) for i, x in enumerate(items))
    if "dilnas_profile" in values:
        return (_profile(values, spot),)
    kind = next((name for name in values if name.startswith(MARK)), None)
    if kind is None or alone:
        expected = "dilnas_profile or dilnas_profiles"
        raise spot.wrong("not a profile", expected=expected, got=kind or "neither")
    return ()


def parsed_json(file: Path, spot: Spot) -> object:
    """Data of a JSON file: no repeated names, no NaN. Raises InputError naming ``spot``."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)  # a device has no end and no size
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise spot.wrong(f"cannot be read: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise spot.wrong("file too large", expected=f"<= {MAX_FILE_BYTES} bytes")
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repeats
        )
    except (ValueError, RecursionError) as error:
        raise spot.wrong(f"not JSON: {error}") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {repeated!r:.80} is there twice")
    return out


# --- one profile ----------------------------------------------------------------------------------


def _profile(data: object, spot: Spot) -> Profile:
    values = _object(data, spot)
    version = _version(values, "dilnas_profile", PROFILE_FORMAT, spot)
    if "key" not in values:
        raise spot.at("key").wrong("missing field")
    key = values.pop("key")
    if version == FIRST_FORMAT:
        values = _lifted(values, spot)
    rate, has_rate, values = _without_rate(values)
    profile = decode(Profile, values, spot, defaults=version < PROFILE_FORMAT)
    same_figure(key, profile.architecture.key, spot.at("key"))
    _check_size(profile, spot)
    if (m := profile.measurement) is not None:
        at = spot.at("measurement").at("images_per_s")
        if not has_rate:
            raise at.wrong("missing field")
        same_figure(rate, images_per_s(profile.workload.batch_size, m.median), at)
    return profile


def _without_rate(values: dict[str, Any]) -> tuple[object, bool, dict[str, Any]]:
    """``images_per_s`` of the measurement, which needs the workload too, and the rest."""
    measurement = values.get("measurement")
    if not isinstance(measurement, Mapping) or "images_per_s" not in measurement:
        return None, False, values
    rest = dict(measurement)
    rate = rest.pop("images_per_s")
    return rate, True, {**values, "measurement": rest}


def _check_size(profile: Profile, spot: Spot) -> None:
    """The cost is that of the workload's image."""
    w, cost = profile.workload, profile.cost
    if (cost.height, cost.width) != (w.height, w.width):
        raise spot.at("cost").wrong(
            "must be of the workload's image",
            expected=f"{w.height} x {w.width}",
            got=f"{cost.height} x {cost.width}",
        )


def _lifted(values: dict[str, Any], spot: Spot) -> dict[str, Any]:
    """A profile of format 1 with the fields of format 2; what is malformed is left for decoding."""
    out = dict(values)
    cost = out.get("cost")
    if isinstance(cost, Mapping):
        memory_bytes, params = cost.get("memory_bytes_fp32"), cost.get("params")
        if not (isinstance(memory_bytes, int) and isinstance(params, int)):
            raise spot.at("cost").wrong("memory_bytes_fp32 and params must be integers")
        out["cost"] = {**cost, "peak_activation_elements": memory_bytes // 4 - params}
    measurement = out.get("measurement")
    if isinstance(measurement, Mapping) and isinstance(measurement.get("extra"), Mapping):
        extra = dict(measurement["extra"])
        if extra.get("energy_j", 0) is None and "energy_missing" in extra:
            extra.pop("energy_j")
            out["missing"] = {"energy": extra.pop("energy_missing")}
            out["measurement"] = {**measurement, "extra": extra}
    return out


def _object(data: object, spot: Spot) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise spot.wrong("must be an object", got=type(data).__name__)
    return dict(data)


def _version(values: dict[str, Any], mark: str, newest: int, spot: Spot) -> int:
    """Take the version out of ``values``."""
    at = spot.at(mark)
    if mark not in values:
        raise at.wrong("missing field")
    version = values.pop(mark)
    if type(version) is not int or version < 1:
        raise at.wrong("must be a version number", expected=f"1..{newest}", got=version)
    if version > newest:
        raise at.wrong("written by a newer dilnas", expected=f"1..{newest}", got=version)
    return version
