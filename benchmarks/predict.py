"""What a calibration is worth: networks that it has never seen, measured; a million, predicted.

    python benchmarks/predict.py --profile amd-epyc/dilateformer-b8-224-fp32-t2 --networks 60
    python benchmarks/predict.py --profile NAME --networks 62 --runs 3 --visits 6 --seed 777
    python benchmarks/predict.py --profile FILE.json --networks 0 --million

New networks are uniform over the space and none of the calibration's. Each is run several times in
turns with the calibration's anchor: figures are printed as measured, and with what the anchor shows
of the machine taken out. Where neighbours make the machine slower and faster for minutes, one look
at a network is a look at them as well: with ``--visits`` all networks are visited several times, in
another order each time, and the median of the visits is compared, beside single ones. Needs the
device of the calibration to itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dilnas.cost import cost_arrays
from dilnas.predict import LatencyPredictor
from dilnas.predict.calibration import HELD_OUT, Timed
from dilnas.predict.parts import Part, parts_of
from dilnas.predict.steady import Steady
from dilnas.space import SearchSpace
from dilnas.space_report import rank_correlation

CHUNK = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="name or file of a calibration")
    parser.add_argument("--space", help="name or file (default: the calibration's)")
    parser.add_argument("--networks", type=int, default=60, help="to measure")
    parser.add_argument("--runs", type=int, default=7, help="of each, at each visit")
    parser.add_argument("--visits", type=int, default=1, help="of each, minutes apart")
    parser.add_argument("--seed", type=int, default=12345, help="of the networks")
    parser.add_argument("--million", action="store_true", help="time a million predictions")
    options = parser.parse_args()
    predictor = LatencyPredictor.load(options.profile)
    space = SearchSpace.load(options.space or predictor.calibration.space)
    if options.million:
        million(predictor, space)
    if options.networks:
        held_out(predictor, space, options)


def million(predictor: LatencyPredictor, space: SearchSpace) -> None:
    """Seconds of a million uniform codes: exact cost, and latency; one thread of numpy."""
    codes = space.sample(1_000_000, seed=1)
    begin = time.process_time()
    for start in range(0, len(codes), CHUNK):
        cost_arrays(space.columns(codes[start : start + CHUNK]), space.image_size)
    counted = time.process_time() - begin
    begin = time.process_time()
    seconds = predictor.seconds(space, codes)
    predicted = time.process_time() - begin
    print(
        f"1,000,000 architectures: cost {counted:.2f} s, latency {predicted:.2f} s of CPU; "
        f"{np.isfinite(seconds).mean():.2%} like those that were calibrated"
    )


def held_out(predictor: LatencyPredictor, space: SearchSpace, options: Any) -> None:
    """Measure new networks and compare."""
    from dilnas.measure.heap import keep_freed_memory
    from dilnas.measure.machine import settings

    keep_freed_memory()
    calibration, workload = predictor.calibration, predictor.workload
    known = {network.code for network in calibration.networks}
    codes = [
        code for code in space.sample(4 * options.networks, options.seed)
        if tuple(code.tolist()) not in known and np.isfinite(predictor.seconds(space, code[None]))
    ][: options.networks]  # fmt: skip
    predicted = predictor.seconds(space, np.array(codes))
    with settings(workload):
        visits = _visited(predictor, space, codes, predicted, options)
    pieces = tuple(dict.fromkeys([*calibration.pieces, *(p for v in visits for p in v.parts)]))
    steady = Steady(replace(calibration, pieces=pieces))
    index = {piece: i for i, piece in enumerate(pieces)}
    timed = [[visit.timed(index) for visit in visits if visit.number == i]
             for i in range(len(codes))]  # fmt: skip
    seen = np.array([[one.seconds for one in mine] for mine in timed])
    level = np.array([[steady.seconds(one) for one in mine] for mine in timed])
    _say("as measured", np.median(seen, axis=1), predicted, predictor)
    _say("steady", np.median(level, axis=1), predicted, predictor)
    if options.visits > 1:
        for what, found in (("as measured", seen), ("steady", level)):
            _say_visits(what, found, predicted)
    totals = [statistics.median(map(sum, visit.beside)) for visit in visits]
    pairs = np.abs(np.log(totals)[:, None] - np.log(totals)[None])[np.triu_indices(len(totals), 1)]
    print(
        f"anchor: {np.expm1(np.median(pairs)):.1%} from one moment to another, "
        f"{statistics.median(totals) / calibration.anchor_seconds - 1:+.1%} against the calibration"
    )


@dataclass(frozen=True)
class Visit:
    """Runs of network ``number``, with its parts, and of the anchor before, between and after."""

    number: int
    code: tuple[int, ...]
    parts: list[Part]
    own: list[tuple[float, ...]]
    beside: list[tuple[float, ...]]

    def timed(self, index: dict[Part, int]) -> Timed:
        """As a calibration keeps it, parts by their place in ``index``."""
        return Timed(
            role=HELD_OUT, code=self.code, at_s=0.0, runs_s=tuple(self.own),
            parts=tuple(index[part] for part in self.parts), anchors_s=tuple(self.beside),
        )  # fmt: skip


def _visited(
    predictor: LatencyPredictor, space: SearchSpace, codes: list[Any], predicted: Any, options: Any
) -> list[Visit]:
    """Every network ``options.visits`` times, all of them before any a second time.

    Networks stay built between visits, a hundred megabytes each; but for compiled ones, which the
    compilation of the next one would throw away.
    """
    from dilnas.measure.part_times import PartTimer

    workload = predictor.workload
    anchor = PartTimer(
        space.decode(predictor.calibration.anchor), replace(workload, compile="eager")
    )
    rng = np.random.default_rng(options.seed)
    timers: dict[int, PartTimer] = {}
    found: list[Visit] = []
    for turn in range(1, options.visits + 1):
        for number in rng.permutation(len(codes)).tolist():
            architecture = space.decode(codes[number])
            timer = timers.pop(number, None) or PartTimer(architecture, workload)
            if turn < options.visits and workload.compile != "compile":
                timers[number] = timer
            own, beside = [], [tuple(anchor.run())]
            for _ in range(options.runs):
                own.append(tuple(timer.run()))
                beside.append(tuple(anchor.run()))
            parts = parts_of(architecture, workload.height, workload.width)
            found.append(Visit(number, tuple(codes[number].tolist()), parts, own, beside))
            seconds = statistics.median(map(sum, own))
            off = seconds / predicted[number] - 1
            print(f"{turn} {number:3} {seconds * 1e3:8.1f} ms, {off:+6.1%}", flush=True)
    return found


def _say(what: str, measured: Any, predicted: Any, predictor: LatencyPredictor) -> None:
    off = np.abs(predicted / measured - 1)
    low, high = predictor.interval(predicted)
    inside = ((low <= measured) & (measured <= high)).mean()
    print(
        f"{what}: {len(off)} networks, median error {np.median(off):.2%}, "
        f"{(off <= 0.05).mean():.0%} within 5 %, {(off <= 0.1).mean():.0%} within 10 %, "
        f"Spearman {rank_correlation(measured, predicted):.4f}, {inside:.1%} in the 90 % interval"
    )


def _say_visits(what: str, found: Any, predicted: Any) -> None:
    """How single visits (networks, visits) agree with the prediction, and with one another."""
    each = [rank_correlation(column, predicted) or 0.0 for column in found.T]
    first, second = np.median(found[:, ::2], axis=1), np.median(found[:, 1::2], axis=1)
    print(
        f"{what}, a visit: Spearman {min(each):.4f} to {max(each):.4f}; between every other visit "
        f"and the rest {rank_correlation(first, second):.4f}, "
        f"{np.median(np.abs(second / first - 1)):.1%} apart"
    )


if __name__ == "__main__":
    main()
