"""What a calibration says of itself is true: error, interval, noise, drift."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import calibration, measured, truth

from dilnas.errors import DeviceError, InputError
from dilnas.predict.calibrating import _finished, _Place
from dilnas.predict.calibration import FIT, HELD_OUT
from dilnas.predict.judging import judged
from dilnas.predict.latency import LatencyPredictor
from dilnas.records import Workload
from dilnas.space import SearchSpace
from dilnas.space_report import rank_correlation


def test_the_residual_is_chosen_where_the_device_is_no_roofline_and_only_there():
    """By cross-validation over the networks that were fitted."""
    bent, straight = calibration(bend=0.2).fit, calibration(bend=0.0, noise=0.02).fit
    assert bent.model == "roofline and residual"
    assert bent.errors["roofline"] > 2 * bent.errors["roofline and residual"]
    assert straight.errors["roofline"] < 1.5 * straight.errors["roofline and residual"]


def test_error_and_rank_are_those_of_new_networks_and_intervals_cover_as_they_say():
    """On a device that is known: 300 networks that no calibration has seen, six calibrations."""
    space = SearchSpace.load("dilateformer")
    codes = space.sample(300, seed=77)
    true = truth(space, codes)
    covered, errors, told = [], [], []
    for seed in range(6):
        predictor = LatencyPredictor(calibration(networks=80, seed=seed, noise=0.02))
        seconds = predictor.seconds(space, codes)
        known = np.isfinite(seconds)
        assert known.mean() > 0.97
        low, high = predictor.interval(seconds[known])
        covered.append(((true[known] >= low) & (true[known] <= high)).mean())
        errors.append(np.median(np.abs(seconds / true - 1)[known]))
        told.append(predictor.fit.error_median)
        assert rank_correlation(true[known], seconds[known]) > 0.99
    # What is measured is noisier than the truth, so the intervals cover more than 90 % of it.
    assert 0.88 <= np.mean(covered) <= 1.0 and min(covered) > 0.8
    assert np.mean(errors) < 0.02
    assert np.mean(errors) < 1.5 * np.mean(told)


def test_a_measurement_is_in_the_interval_as_often_as_it_says():
    """Coverage of noisy measurements of further networks: 90 % within what 140 of them can tell."""
    predictor = LatencyPredictor(calibration(networks=120, noise=0.03, runs=1))
    later = measured(networks=500, noise=0.03, runs=1, seed=5)
    inside = []
    for network in later.by_role(HELD_OUT):
        seconds = predictor.seconds(SearchSpace.load(later.space), np.array([network.code]))
        low, high = predictor.interval(seconds)
        if np.isfinite(seconds[0]):
            inside.append(low[0] <= network.seconds <= high[0])
    assert len(inside) > 130
    assert 0.82 <= np.mean(inside) <= 0.97


def test_the_noise_floor_is_that_of_the_anchor_at_any_two_moments():
    """A silent machine has none; one that swings by 5 % differs by 4.8 % in the median."""
    assert calibration(noise=0.0).fit.noise_floor == pytest.approx(0.0, abs=1e-9)
    assert calibration(noise=0.0, swing=0.05).fit.noise_floor == pytest.approx(0.048, rel=0.3)


def test_what_the_anchor_shows_is_taken_out_of_the_fit_and_not_out_of_the_judgement():
    """A machine that swings by 8 %: predictions are as good as on a steady one, what anybody
    measures is off by its swing, and the interval is as wide as that.
    """
    space = SearchSpace.load("dilateformer")
    codes = space.sample(300, seed=77)
    true = truth(space, codes)
    fit, off = {}, {}
    for swing in (0.0, 0.08):
        predictor = LatencyPredictor(calibration(networks=120, swing=swing, seed=2))
        ratio = predictor.seconds(space, codes) / true
        off[swing] = np.nanmedian(np.abs(ratio / np.median(ratio) - 1)[np.isfinite(ratio)])
        fit[swing] = predictor.fit
    assert off[0.08] < 2 * off[0.0] + 0.005
    assert fit[0.08].steady_error_median < 0.03 < fit[0.08].error_median < 0.12
    assert fit[0.08].reach > 3 * fit[0.0].reach


@pytest.mark.parametrize(("slower", "word"), [(0.6, "slower"), (-0.4, "faster")])
def test_a_device_that_throttles_on_the_way_is_refused_in_one_line(tmp_path, slower, word):
    """Nothing is fitted; the samples are put aside."""
    place = _Place(path=tmp_path / "it.json")
    place.unfinished.write_text("samples")
    with pytest.raises(DeviceError, match=f"became .* {word} while it was calibrated") as error:
        _finished(measured(slower=slower), place, [])
    assert "\n" not in str(error.value)
    assert not place.path.exists() and place.rejected.read_text() == "samples"


def test_a_small_drift_is_a_doubt(tmp_path):
    done = _finished(measured(slower=0.12, noise=0.001), _Place(path=tmp_path / "it.json"), [])
    assert any("slower at the end" in doubt for doubt in done.doubts)


def test_too_few_networks_are_no_calibration():
    """The line says which and how many."""
    found = measured(networks=12)
    with pytest.raises(InputError, match="too few networks measured to fit"):
        judged(found)
    only = replace(found, networks=tuple(measured(networks=60).by_role(FIT)))
    with pytest.raises(InputError, match="too few networks measured to see how well it fits"):
        judged(replace(only, pieces=measured(networks=60).pieces))


def test_compiled_networks_are_fitted_as_a_whole():
    """Runs hold one number; there is no residual, and the error is that of sums."""
    workload = Workload(batch_size=8, compile="compile")
    fit = calibration(workload=workload, bend=0.0, networks=120).fit
    assert fit.model == "roofline" and fit.residuals == {}
    assert fit.error_median < 0.05
