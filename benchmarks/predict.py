"""What a calibration is worth: networks that it has never seen, measured; a million, predicted.

    python benchmarks/predict.py --profile amd-epyc/dilateformer-b8-224-fp32-t2 --networks 60
    python benchmarks/predict.py --profile FILE.json --networks 0 --million

New networks are uniform over the space and none of the calibration's. Each is run several times in
turns with the calibration's anchor: figures are printed as measured, and with what the anchor shows
of the machine taken out. Needs the device of the calibration to itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dilnas.cost import cost_arrays
from dilnas.predict import LatencyPredictor
from dilnas.predict.calibration import HELD_OUT, Timed
from dilnas.predict.parts import parts_of
from dilnas.predict.steady import Steady
from dilnas.space import SearchSpace
from dilnas.space_report import rank_correlation

CHUNK = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="name or file of a calibration")
    parser.add_argument("--space", help="name or file (default: the calibration's)")
    parser.add_argument("--networks", type=int, default=60, help="to measure")
    parser.add_argument("--runs", type=int, default=7, help="of each")
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
    from dilnas.measure.part_times import PartTimer

    keep_freed_memory()
    calibration, workload = predictor.calibration, predictor.workload
    known = {network.code for network in calibration.networks}
    codes = [
        code for code in space.sample(4 * options.networks, options.seed)
        if tuple(code.tolist()) not in known and np.isfinite(predictor.seconds(space, code[None]))
    ][: options.networks]  # fmt: skip
    index = {piece: i for i, piece in enumerate(calibration.pieces)}
    found: list[Timed] = []
    predicted = predictor.seconds(space, np.array(codes))
    with settings(workload):
        anchor = PartTimer(space.decode(calibration.anchor), replace(workload, compile="eager"))
        for number, code in enumerate(codes, 1):
            architecture = space.decode(code)
            timer = PartTimer(architecture, workload)
            own, beside = [], [tuple(anchor.run())]
            for _ in range(options.runs):
                own.append(tuple(timer.run()))
                beside.append(tuple(anchor.run()))
            parts = parts_of(architecture, workload.height, workload.width)
            timed = Timed(
                role=HELD_OUT, code=tuple(code.tolist()), at_s=0.0, runs_s=tuple(own),
                parts=tuple(index.setdefault(part, len(index)) for part in parts),
                anchors_s=tuple(beside),
            )  # fmt: skip
            found.append(timed)
            off = timed.seconds / predicted[number - 1] - 1
            print(f"{number:3} {timed.seconds * 1e3:8.1f} ms, {off:+6.1%}", flush=True)
    steady = Steady(replace(calibration, pieces=tuple(index)))
    _say("as measured", np.array([t.seconds for t in found]), predicted, predictor)
    _say("steady", np.array([steady.seconds(t) for t in found]), predicted, predictor)
    totals = [statistics.median(map(sum, t.anchors_s)) for t in found]
    pairs = np.abs(np.log(totals)[:, None] - np.log(totals)[None])[np.triu_indices(len(found), 1)]
    usual = statistics.median(sum(a) for n in calibration.networks for a in n.anchors_s)
    print(
        f"anchor: {np.expm1(np.median(pairs)):.1%} from one moment to another, "
        f"{statistics.median(totals) / usual - 1:+.1%} against the calibration"
    )


def _say(what: str, measured: Any, predicted: Any, predictor: LatencyPredictor) -> None:
    off = np.abs(predicted / measured - 1)
    low, high = predictor.interval(predicted)
    inside = ((low <= measured) & (measured <= high)).mean()
    print(
        f"{what}: {len(off)} networks, median error {np.median(off):.2%}, "
        f"{(off <= 0.05).mean():.0%} within 5 %, {(off <= 0.1).mean():.0%} within 10 %, "
        f"Spearman {rank_correlation(measured, predicted):.4f}, {inside:.1%} in the 90 % interval"
    )


if __name__ == "__main__":
    main()
