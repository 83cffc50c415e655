"""Calibrations in files: written with every sample, read with every figure checked.

    profiles/<device>/<space>-<workload>.json

Reading one fits again from the samples and refuses a file whose figures do not follow from them: a
damaged calibration is never used.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dilnas.errors import InputError
from dilnas.files import write_atomic
from dilnas.predict.calibration import ROLES, Calibration, Fit
from dilnas.predict.judging import judged
from dilnas.predict.parts import KINDS
from dilnas.records import Environment
from dilnas.records.decode import Spot, decode
from dilnas.records.paths import device_slug
from dilnas.records.reading import parsed_json

__all__ = [
    "calibrations_of",
    "checked",
    "known_calibrations",
    "load_calibration",
    "read_calibration",
    "write_calibration",
]

FORMAT = 1
MARK = "dilnas_calibration"

PROFILES = Path(__file__).parents[2] / "profiles"
"""Those of a checkout."""


def calibration_text(calibration: Calibration) -> str:
    """The JSON document, a network a line."""
    data = {MARK: FORMAT, **asdict(calibration)}
    lists = {name: data.pop(name) for name in ("pieces", "networks")}
    head = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False).removesuffix("\n}")
    lines = [head]
    for name, items in lists.items():
        rows = ",\n  ".join(json.dumps(item, allow_nan=False) for item in items)
        lines.append(f',\n "{name}": [\n  {rows}\n ]')
    return "".join(lines) + "\n}\n"


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write it whole or not at all. Raises InputError where it cannot be written."""
    write_atomic(path, calibration_text(calibration))


def read_calibration(path: Path) -> Calibration:
    """A calibration, finished or not, its types and places checked; its figures are not.

    Raises InputError naming file and field.
    """
    spot = Spot(str(path))
    data = parsed_json(path, spot)
    if not isinstance(data, dict) or MARK not in data:
        raise spot.wrong("not a calibration", expected=f"{MARK}, as dilnas calibrate writes it")
    version = data.pop(MARK)
    if version != FORMAT:
        raise spot.at(MARK).wrong("unknown format", expected=FORMAT, got=version)
    found = decode(Calibration, data, spot)
    _check(found, spot)
    return found


def _check(found: Calibration, spot: Spot) -> None:
    for i, piece in enumerate(found.pieces):
        if piece.kind not in KINDS or min(piece.height, piece.width, piece.inputs) < 1:
            raise spot.at("pieces").item(i).wrong("no part of a network", got=piece.kind)
    places = range(len(found.pieces))
    if not found.anchor_parts or not all(place in places for place in found.anchor_parts):
        raise spot.at("anchor_parts").wrong("no such piece", expected=f"0..{len(places) - 1}")
    for i, network in enumerate(found.networks):
        at = spot.at("networks").item(i)
        if network.role not in ROLES:
            raise at.wrong("unknown role", expected=" | ".join(ROLES), got=network.role)
        if not network.parts or not network.runs_s:
            raise at.wrong("must have parts and runs")
        if not all(place in places for place in network.parts):
            raise at.at("parts").wrong("no such piece", expected=f"0..{len(places) - 1}")
        whole = found.workload.compile != "eager"
        width = 1 if whole else len(network.parts)
        if len(network.anchors_s) != len(network.runs_s) + 1:
            raise at.at("anchors_s").wrong("must be one more than runs")
        if not all(len(a) == len(found.anchor_parts) and _positive(a) for a in network.anchors_s):
            raise at.at("anchors_s").wrong("must be positive seconds of each part of the anchor")
        for run in network.runs_s:
            if len(run) != width or not _positive(run):
                raise at.at("runs_s").wrong("must be positive seconds of each part", expected=width)


def _positive(seconds: Sequence[float]) -> bool:
    return all(s > 0 and math.isfinite(s) for s in seconds)


def load_calibration(name: str | os.PathLike[str]) -> Calibration:
    """A finished calibration by file, or by name under ``profiles/`` here or in the checkout.

    Raises InputError: there is none of that name; it is not finished; it is damaged.
    """
    path = _located(os.fspath(name))
    return checked(read_calibration(path), path)


def checked(found: Calibration, path: Path) -> Calibration:
    """``found``, read from ``path``, if it is finished and its figures follow from its samples.

    Raises InputError naming the file and the figure.
    """
    spot = Spot(str(path))
    if found.fit is None:
        raise spot.wrong("this calibration was not finished: run dilnas calibrate again")
    try:
        again = judged(replace(found, fit=None), model=found.fit)
    except InputError as error:
        raise spot.wrong(f"damaged: {error.rule}") from error
    _same(found.fit, again, spot)
    return found


def _same(stored: Fit, again: Fit, spot: Spot) -> None:
    """Raise unless the stored figures follow from the samples."""
    for name, value in asdict(again).items():
        was = getattr(stored, name)
        pairs: Sequence[tuple[Any, Any]] = [(was, value)]
        if isinstance(value, dict):
            pairs = [(was.get(key), item) for key, item in value.items()]
        for one, other in pairs:
            close = one == other or (
                isinstance(one, float) and math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-9)
            )
            if not close:
                rule = "damaged: it does not follow from the samples"
                raise spot.at("fit").at(name).wrong(rule, expected=other, got=one)


def known_calibrations() -> list[str]:
    """Names of the calibrations under ``profiles/``, here and in the checkout."""
    found = set()
    for folder in _folders():
        for path in folder.glob("*/*.json"):
            if _is_calibration(path):
                found.add(path.relative_to(folder).with_suffix("").as_posix())
    return sorted(found)


def calibrations_of(device: Environment) -> Iterator[tuple[Path, Calibration]]:
    """Calibrations of a device under ``profiles/``, their figures not checked yet; with its path.

    A file that cannot be read is passed over: nobody asked for it by name.
    """
    for folder in _folders():
        for path in sorted((folder / device_slug(device.device_name)).glob("*.json")):
            if not _is_calibration(path):
                continue
            with contextlib.suppress(InputError):
                found = read_calibration(path)
                if not found.environment.other_device(device):
                    yield path, found


def _is_calibration(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(64)


def _folders() -> list[Path]:
    here = Path("profiles")
    both = [here] if here.resolve() == PROFILES.resolve() else [here, PROFILES]
    return [folder for folder in both if folder.is_dir()]


def _located(name: str) -> Path:
    if name.endswith(".json"):
        return Path(name)
    for folder in _folders():
        path = folder / f"{name}.json"
        if path.is_file():
            return path
    known = known_calibrations()
    raise InputError(
        "no calibration of that name; dilnas calibrate makes one", where="--profile",
        expected=" | ".join(known) or "FILE.json", got=name,
    )  # fmt: skip
