"""Real calibrations of this CPU: measured, gone on with after a kill, refused where wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from dilnas.errors import InputError
from dilnas.measure.machine import settings
from dilnas.measure.part_times import PartTimer, stand_in
from dilnas.model import build_model
from dilnas.predict import LatencyPredictor, calibrate
from dilnas.predict.draws import draws
from dilnas.predict.parts import parts_of
from dilnas.predict.stored import read_calibration
from dilnas.records import Workload
from dilnas.space import SearchSpace
from dilnas.variants import variant

SMOKE = SearchSpace.load("smoke")
WORKLOAD = Workload(batch_size=2, height=32, width=64, threads=1)


def test_the_parts_of_a_run_are_timed_in_order():
    """One time a part, H and W differ; as many as the network has, all of them positive."""
    architecture = SMOKE.decode(SMOKE.sample(1, 0)[0])
    with settings(WORKLOAD):
        timer = PartTimer(architecture, WORKLOAD)
        runs = [timer.run() for _ in range(3)]
    count = len(parts_of(architecture, 32, 64))
    assert [len(run) for run in runs] == [count] * 3
    assert all(seconds > 0 for run in runs for seconds in run)


def test_a_compiled_run_is_timed_as_a_whole():
    """A CUDA graph or a compiled network has no parts to see; nor has one that is asked for so."""
    architecture = SMOKE.decode(SMOKE.sample(1, 0)[0])
    with settings(WORKLOAD):
        assert len(PartTimer(architecture, WORKLOAD, whole=True).run()) == 1


def test_a_stand_in_is_the_network_with_other_weights():
    """Same parameters and buffers by name and shape, nothing that is not finite in its output."""
    import torch

    made, real = stand_in(variant("tiny")), build_model(variant("tiny"))
    shapes = {name: tensor.shape for name, tensor in made.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in real.state_dict().items()}
    with torch.inference_mode():
        out = made.eval()(torch.randn(1, 3, 64, 96))
    assert torch.isfinite(out).all() and out.std() > 0


def test_draws_repeat_and_no_network_has_two_roles():
    """The same for the same seed; held-out ones are never fitted; the space's ends are fitted."""
    space = SearchSpace.load("dilateformer")
    first, again = (list(islice(draws(space, 224, 224, 3), 60)) for _ in range(2))
    assert first == again
    roles = {}
    for draw in first:
        roles.setdefault(draw.architecture.key, set()).add(draw.role)
    assert all(len(found) == 1 for found in roles.values())
    fits = [d.architecture for d in first if d.role == "fit"]
    assert {a.stages[0].dim for a in fits} >= {48, 96}
    other = [d.code for d in islice(draws(space, 224, 224, 4), 60)]
    assert other != [d.code for d in first]


def test_a_small_space_is_used_up_and_not_repeated():
    """96 architectures: every one once, but for the anchor."""
    found = [d for d in draws(SMOKE, 32, 32, 0) if d.role != "anchor"]
    keys = [d.architecture.key for d in found]
    assert len(keys) == len(set(keys)) >= 80


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    return calibrate(SMOKE, WORKLOAD, time_limit=12, most_drift=10, out=folder)


def test_a_real_calibration_predicts_networks_and_says_how_well(real):
    """Held-out error, interval and noise of this machine, whatever they are; the file is there."""
    found, path = real
    assert path.is_file() and not list(path.parent.glob(".*unfinished*"))
    fit = found.fit
    assert fit.held_out >= 5 and 0 < fit.error_median < 1 and fit.reach > 0
    assert found.seconds >= 12 or len(found.networks) > 60
    predictor = LatencyPredictor.load(str(path))
    seconds = predictor.seconds(SMOKE, SMOKE.enumerate())
    known = np.isfinite(seconds)
    # In so short a time not every kind of part is seen; what was not is not guessed.
    assert known.mean() > 0.2 and (seconds[known] > 0).all()
    measured = {network.code: network.seconds for network in found.networks}
    codes = np.array(list(measured))
    # On a busy machine single times may be far off: most are not off by half.
    off = np.abs(np.log(predictor.seconds(SMOKE, codes) / np.array(list(measured.values()))))
    assert np.median(off[np.isfinite(off)]) < 0.5


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path):
    """kill -9: what was measured is kept to the bit, and the same command ends it."""
    command = [
        sys.executable, "-m", "dilnas", "calibrate", "--space", "smoke", "--img-size", "32",
        "--threads", "1", "--device", "cpu", "--time-limit", "12", "--max-drift", "10",
        "--out", str(tmp_path),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (found := list(tmp_path.glob("*/.*.unfinished"))) or _count(found[0]) < 4:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read_calibration(found[0])
    done = subprocess.run(
        [*command, "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = read_calibration(next(tmp_path.glob("*/*.json")))
    assert after.networks[: len(before.networks)] == before.networks
    assert not list(tmp_path.glob("*/.*"))
    figures = json.loads(done.stdout)
    assert figures["networks"]["fit"] == len(after.by_role("fit"))
    assert "next: dilnas predict tiny --profile" in done.stderr


def _count(path):
    try:
        return len(read_calibration(path).networks)
    except InputError:  # replaced while it was read
        return 0


def test_another_calibration_that_was_begun_there_is_not_mixed_in(tmp_path):
    """The line names what differs and the file to remove."""
    path = tmp_path / "mine.json"
    with pytest.raises(KeyboardInterrupt):
        calibrate(SMOKE, WORKLOAD, time_limit=10, out=path, on_progress=_interrupted_after(3))
    other = replace(WORKLOAD, batch_size=3)
    with pytest.raises(InputError, match="with another workload was begun here; remove"):
        calibrate(SMOKE, other, time_limit=10, out=path)


def _interrupted_after(count):
    """Ctrl-C when some networks have been measured."""
    calls = []

    def tell(doing, share):
        calls.append(doing)
        if len(calls) > count:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize(
    ("changes", "limit", "why"),
    [
        ({}, 3, "too little time"),
        ({"mode": "train"}, 20, "only inference can be calibrated"),
        ({"dtype": "fp8"}, 20, "unknown choice"),
        ({"batch_size": 0}, 20, "out of range"),
        ({"height": 40}, 20, "multiples of the network's stride"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(tmp_path, changes, limit, why):
    with pytest.raises(InputError, match=why):
        calibrate(SMOKE, replace(WORKLOAD, **changes), time_limit=limit, out=tmp_path)
    assert not list(tmp_path.iterdir())
