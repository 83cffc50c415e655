"""Predictions: one by one as a space at a time, and refused outside of what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import calibration, seconds_of

from dilnas.cost import cost
from dilnas.errors import InputError
from dilnas.predict.forecasts import forecast
from dilnas.predict.latency import LatencyPredictor
from dilnas.predict.parts import parts_of
from dilnas.space import SearchSpace
from dilnas.variants import variant


@pytest.fixture(scope="module")
def predictor():
    return LatencyPredictor(calibration(networks=100))


def test_a_space_at_once_is_each_network_by_itself(predictor):
    """To rounding; what one refuses is infinite in the other."""
    space = SearchSpace.load("dilateformer")
    codes = space.sample(150, seed=9)
    for code, seconds in zip(codes, predictor.seconds(space, codes), strict=True):
        architecture = space.decode(code)
        if np.isinf(seconds):
            with pytest.raises(InputError, match="outside of what was calibrated"):
                predictor.predict(architecture)
        else:
            assert predictor.predict(architecture).value == pytest.approx(seconds, rel=1e-9)
        assert predictor.seconds_of(architecture) == pytest.approx(seconds, rel=1e-9)


def test_a_prediction_has_an_interval_an_error_and_a_source(predictor):
    tiny = variant("tiny")
    found = predictor.predict(tiny)
    true = sum(seconds_of(part) for part in parts_of(tiny, 224, 224))
    assert found.value == pytest.approx(true, rel=0.03)
    assert found.low < found.value < found.high
    assert (found.quantity, found.coverage) == ("latency_s", 0.9)
    assert found.held_out_error == predictor.fit.error_median
    assert found.source == "formula-1/dilateformer-b8-224-fp32: roofline and residual"


def _stage(**changes):
    tiny = variant("tiny")
    first = replace(tiny.stages[0], **changes)
    return replace(tiny, stages=(first, *tiny.stages[1:]))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (_stage(dim=36), "outputs 36, measured: 48 to 96"),
        (_stage(dim=150, num_heads=3), "outputs 150, measured: 48 to 96"),
        (_stage(window_size=9), "window 9, measured: 3, 5, 7"),
        (_stage(dilations=(1, 2, 30)), "dilation 30, measured: up to 5"),
        (_stage(mlp_ratio=9), "hidden 648, measured: "),
        (_stage(msda_depth=0, global_depth=2), "no global part of that map was measured"),
        (variant("tiny").replace(stem="pointconv"), "form 'pointconv'"),
        (variant("tiny").replace(pos_embed="none"), "position 0, measured: 1"),
        (variant("tiny").replace(qkv_bias=False), "bias 0, measured: 1"),
        (variant("tiny").replace(num_classes=10), "outputs 10, measured: 1000 to 1000"),
    ],
)
def test_what_is_unlike_the_measured_networks_is_refused_with_the_reason(predictor, network, why):
    """Not guessed."""
    with pytest.raises(InputError, match="outside of what was calibrated") as error:
        predictor.predict(network)
    assert why in str(error.value) and "\n" not in str(error.value)


def test_memory_stands_beside_latency_in_closed_form(predictor):
    """With the optimizer's states in a training step, part by part."""
    found = forecast("tiny", variant("tiny"), predictor, optimizer="adamw")
    plain = forecast("tiny", variant("tiny"), predictor, optimizer="none")
    params = cost(variant("tiny")).params
    assert found.inference.weights_bytes == found.training.gradients_bytes == 4 * params
    assert found.training.optimizer_bytes == 8 * params and plain.training.optimizer_bytes == 0
    assert found.training.peak_bytes - plain.training.peak_bytes == 8 * params
    assert found.training.kept_bytes < found.training.peak_bytes
    with pytest.raises(InputError, match="unknown optimizer"):
        forecast("tiny", variant("tiny"), predictor, optimizer="lion")
