"""Measure networks of a space on a device until the time is up, and fit a predictor to them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import DeviceError, InputError
from dilnas.measure.device import open_device
from dilnas.measure.heap import keep_freed_memory
from dilnas.measure.machine import choose_device, environment, settings
from dilnas.measure.part_times import PartTimer
from dilnas.measure.sampling import Progress
from dilnas.measure.workload import check_workload, release
from dilnas.predict.calibration import FIT, HELD_OUT, Calibration, Timed
from dilnas.predict.draws import Draw, anchor_code, draws
from dilnas.predict.judging import FEWEST_FITTED, FEWEST_HELD_OUT, judged
from dilnas.predict.parts import parts_of
from dilnas.predict.stored import read_calibration, write_calibration
from dilnas.records import Workload
from dilnas.space import SearchSpace

__all__ = ["LEAST_SECONDS", "MOST_DRIFT", "calibrate"]

RUNS, MOST_RUNS, SHORT_S = 5, 15, 0.2
"""Runs of a network; up to how many while all of them together take less than so many seconds."""

FEWEST_RUNS, SHARE = 3, 0.02
"""A network that takes more than this share of the time limit is run only so often."""

PATIENCE = 3.0
"""Times the time limit that may pass where it was too short for the fewest networks."""

WARM_UP_S = 1.0
"""Of running the anchor before anything is timed: clocks rise."""

LEAST_SECONDS = 10.0

MOST_DRIFT = 0.25
"""Change of the anchor between beginning and end beyond which nothing is fitted by default. Less is
taken out; a device that becomes so much slower does not do so in all that it does alike."""

DOUBTFUL_DRIFT, DOUBTFUL_NOISE = 0.04, 0.03

Runs = tuple[list[tuple[float, ...]], list[tuple[float, ...]]]
"""Seconds of each part of each run: of a network; of the anchor before each and after the last."""

Measure = Callable[[Draw], Runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where results go: the file, and the unfinished one beside it."""

    path: Path

    @property
    def unfinished(self) -> Path:
        return self.path.with_name(f".{self.path.name}.unfinished")

    @property
    def rejected(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.rejected")


def calibrate(
    space: SearchSpace,
    workload: Workload,
    *,
    time_limit: float = 300.0,
    seed: int = 0,
    most_drift: float = MOST_DRIFT,
    out: Path = Path("profiles"),
    on_progress: Progress | None = None,
) -> tuple[Calibration, Path]:
    """Measure on this machine by ``workload`` and fit; the calibration, and the file it is in.

    On a CPU this process keeps from now on what it frees (``dilnas.measure.heap``).
    What is measured is written at every step: the same call goes on where an earlier one was ended,
    and ``time_limit`` is of all of them together, in seconds.

    Args:
        space: the networks are of it.
        workload: its device is "cpu", "cuda" or "cuda:N"; inference only.
        time_limit: seconds of measuring, the fit not included; up to three times as many where
            they are too few for the fewest networks.
        seed: of the networks.
        most_drift: relative change of the anchor network between beginning and end beyond which
            the device is taken to have changed, and nothing is fitted.
        out: a folder like ``profiles/``, or a file that ends in ``.json``.
        on_progress: told what is measured, between runs.

    Raises InputError for arguments out of range and an unfinished calibration of something else,
    DeviceError where the device is missing, too small, or became slower or faster on the way.
    """
    _check(space, workload, time_limit, most_drift)
    workload = replace(workload, device=choose_device(workload.device))
    keep_freed_memory()
    with settings(workload):
        here = environment(workload.device)
        blank = Calibration(
            space=space.name, fingerprint=space.fingerprint, workload=workload, environment=here,
            seed=seed, seconds=0.0, anchor=anchor_code(space), networks=(),
            **_anchor_pieces(space, workload),
        )  # fmt: skip
        place = _Place(path=out if out.suffix == ".json" else out / f"{blank.name}.json")
        begun = _begun(place, blank)
        device = open_device(workload.device)
        before = device.look()
        measured = _measured(
            begun, draws(space, workload.height, workload.width, seed), time_limit=time_limit,
            place=place, measure=_runs_of(space.decode(blank.anchor), workload, time_limit),
            tell=on_progress or (lambda *_: None),
        )  # fmt: skip
        doubts = device.doubts([before, device.look()])
    return _finished(measured, place, doubts, most_drift), place.path


def _anchor_pieces(space: SearchSpace, workload: Workload) -> dict[str, Any]:
    """``pieces`` that the anchor begins them with, and which it is made of."""
    parts = parts_of(space.decode(anchor_code(space)), workload.height, workload.width)
    pieces = tuple(dict.fromkeys(parts))
    return {"pieces": pieces, "anchor_parts": tuple(pieces.index(part) for part in parts)}


def _check(space: SearchSpace, workload: Workload, time_limit: float, most_drift: float) -> None:
    check_workload(workload)
    if workload.mode != "inference":
        raise InputError(
            "only inference can be calibrated", where="--mode", expected="inference",
            got=workload.mode,
        )  # fmt: skip
    if not most_drift > 0:
        raise InputError("must be positive", where="--max-drift", got=most_drift)
    if not time_limit >= LEAST_SECONDS:
        raise InputError(
            "too little time", where="--time-limit", expected=f">= {LEAST_SECONDS:g} s",
            got=time_limit,
        )  # fmt: skip
    space.decode([0] * len(space.axes)).check_input(
        workload.height, workload.width, where="--img-size"
    )


def _begun(place: _Place, blank: Calibration) -> Calibration:
    """What an earlier call has measured, or nothing. Raises InputError if it is something else."""
    if not place.unfinished.exists():
        write_calibration(blank, place.unfinished)  # before anything is measured: can it be?
        return blank
    found = read_calibration(place.unfinished)
    for name in ("space", "fingerprint", "workload", "seed"):
        _agree(place, name, getattr(blank, name), getattr(found, name))
    then, now = found.environment, blank.environment
    _agree(place, "device", now.other_device(then), then.other_device(now))
    for name in ("torch", "threads"):
        _agree(place, name, getattr(now, name), getattr(then, name))
    return replace(found, environment=blank.environment)


def _agree(place: _Place, name: str, now: object, then: object) -> None:
    if now != then:
        raise InputError(
            f"a calibration with another {name} was begun here; remove {place.unfinished} to begin "
            "anew", where=str(place.path), expected=then, got=now,
        )  # fmt: skip


def _runs_of(anchor: Architecture, workload: Workload, time_limit: float) -> Measure:
    """How this machine measures a network: build, warm up, run in turns with the anchor."""
    # Eager whatever the workload: compiling the next network forgets the one before.
    beside = PartTimer(anchor, replace(workload, compile="eager"))
    warm = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < warm:
        beside.run()

    def rounded(timer: PartTimer) -> tuple[float, ...]:
        return tuple(round(seconds, 8) for seconds in timer.run())

    def measure(draw: Draw) -> Runs:
        begin = time.perf_counter()
        timer = PartTimer(draw.architecture, workload)
        runs: list[tuple[float, ...]] = []
        anchors = [rounded(beside)]
        first = time.perf_counter()
        while True:
            runs.append(rounded(timer))
            anchors.append(rounded(beside))
            now = time.perf_counter()
            enough = FEWEST_RUNS if now - begin > SHARE * time_limit else RUNS
            if len(runs) >= (enough if now - first > SHORT_S else MOST_RUNS):
                break
        del timer
        release(workload.device)
        return runs, anchors

    return measure


def _measured(
    begun: Calibration,
    networks: Iterator[Draw],
    *,
    time_limit: float,
    place: _Place,
    measure: Measure,
    tell: Progress,
) -> Calibration:
    """Go on until the time is up, then until there are enough; written after every network."""
    found, index = begun, {piece: i for i, piece in enumerate(begun.pieces)}
    start = time.perf_counter() - begun.seconds
    for draw in itertools.islice(networks, len(begun.networks), None):
        elapsed = time.perf_counter() - start
        if elapsed >= (time_limit if _enough(found) else PATIENCE * time_limit):
            break
        tell(_doing(found), min(elapsed / time_limit, 1.0))
        runs, anchors = measure(draw)
        for part in draw.parts:
            index.setdefault(part, len(index))
        timed = Timed(
            role=draw.role, code=draw.code, at_s=round(elapsed, 3),
            parts=tuple(index[part] for part in draw.parts), runs_s=tuple(runs),
            anchors_s=tuple(anchors),
        )  # fmt: skip
        found = replace(
            found, seconds=round(time.perf_counter() - start, 3), pieces=tuple(index),
            networks=(*found.networks, timed),
        )  # fmt: skip
        write_calibration(found, place.unfinished)
    return found


def _enough(found: Calibration) -> bool:
    fits, held = len(found.by_role(FIT)), len(found.by_role(HELD_OUT))
    return fits >= FEWEST_FITTED and held >= FEWEST_HELD_OUT


def _doing(found: Calibration) -> str:
    fits, held = len(found.by_role(FIT)), len(found.by_role(HELD_OUT))
    return f"{fits} networks to fit and {held} to check, {len(found.pieces)} distinct parts"


def _finished(
    found: Calibration, place: _Place, doubts: list[str], most_drift: float = MOST_DRIFT
) -> Calibration:
    """Fit, check, write. What cannot be used is put aside, not thrown away."""
    fits, held = len(found.by_role(FIT)), len(found.by_role(HELD_OUT))
    if not _enough(found):
        raise InputError(
            f"{found.seconds:.0f} s were enough for {fits} networks to fit and {held} to check; "
            "the same command with more time goes on from there", where="--time-limit",
            expected=f">= {FEWEST_FITTED} and {FEWEST_HELD_OUT}",
        )  # fmt: skip
    fit = judged(found)
    if abs(fit.drift) > most_drift:
        place.unfinished.replace(place.rejected)
        word = "slower" if fit.drift > 0 else "faster"
        raise DeviceError(
            f"the device became {abs(fit.drift):.0%} {word} while it was calibrated: nothing was "
            f"fitted; the samples are in {place.rejected}", where=found.environment.device_name,
            expected=f"<= {most_drift:.0%}",
        )  # fmt: skip
    if abs(fit.drift) > DOUBTFUL_DRIFT:
        word = "slower" if fit.drift > 0 else "faster"
        doubts.append(f"the anchor network was {abs(fit.drift):.0%} {word} at the end")
    if fit.noise_floor > DOUBTFUL_NOISE:
        doubts.append(f"the same network took {fit.noise_floor:.0%} more or less at other moments")
    done = replace(found, fit=fit, doubts=tuple(dict.fromkeys(doubts)))
    write_calibration(done, place.path)
    place.unfinished.unlink(missing_ok=True)
    return done
