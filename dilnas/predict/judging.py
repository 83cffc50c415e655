"""How well a calibration predicts: models chosen by cross-validation, judged on held-out networks.

The networks that were fitted are divided into folds; each is predicted by a model of the others.
The model that errs least in this is fitted to all of them and predicts the networks that were held
out: their errors are the figures that are shown. The reach of an interval is the quantile of the
errors of both (split conformal prediction: Lei et al., 2018, with cross-validation's errors, which
are those of models with fewer networks, beside the held-out ones).

Fitted are times from which the changes of the machine that the anchor shows are taken out; judged
are times as they were measured, since that is what whoever measures again will see.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.errors import InputError
from dilnas.predict.calibration import FIT, HELD_OUT, Calibration, Fit, Timed
from dilnas.predict.fitting import Hyper, PartModel, fit_sums, fit_times
from dilnas.predict.parts import Part
from dilnas.predict.steady import Steady
from dilnas.space_report import rank_correlation

__all__ = ["COVERAGE", "FEWEST_FITTED", "FEWEST_HELD_OUT", "fitted", "judged"]

Array = npt.NDArray[np.float64]

COVERAGE = 0.9
FOLDS = 6
FEWEST_FITTED, FEWEST_HELD_OUT = 10, 5
"""Networks below which a calibration says nothing."""

ROOFLINE, SMOOTH = MODELS = ("roofline", "roofline and residual")


def judged(calibration: Calibration, *, model: Fit | None = None) -> Fit:
    """The fit of a calibration and its figures.

    ``model``: one whose kind and residuals' parameters are taken as they are. Raises InputError
    where there are too few networks.
    """
    fits, held = calibration.by_role(FIT), calibration.by_role(HELD_OUT)
    for role, found, least in (
        (FIT, fits, FEWEST_FITTED), (HELD_OUT, held, FEWEST_HELD_OUT)
    ):  # fmt: skip
        if len(found) < least:
            raise InputError(
                f"too few networks measured to {'fit' if role == FIT else 'see how well it fits'}",
                where="--time-limit", expected=f">= {least}", got=len(found),
            )  # fmt: skip
    steady = Steady(calibration)
    hyper = _chosen(steady, fits, model)
    left = {name: _cross_validated(steady, fits, name, hyper) for name in _models(calibration)}
    errors = {name: _typical(values) for name, values in left.items()}
    best = min(errors, key=lambda name: errors[name]) if model is None else model.model
    if best not in left:
        raise InputError(f"there is no such model: {best}")
    scale = math.exp(statistics.median(left[best]))
    whole = _fit(steady, fits, best, hyper)
    # What was cross-validated was steady; as measured it is off by the machine's state too.
    swings = [math.log(network.seconds / steady.seconds(network)) for network in fits]
    inside = np.array(left[best]) + swings - math.log(scale)
    off = _log_errors(steady, held, whole, as_measured=True) - math.log(scale)
    return Fit(
        model=best, residuals=hyper, scale=scale, coverage=COVERAGE,
        reach=_quantile(np.abs(np.concatenate([inside, off]))),
        errors=errors, **_figures(steady, held, whole, scale), **_stability(calibration),
    )  # fmt: skip


def fitted(calibration: Calibration) -> PartModel:
    """The model of a finished calibration: seconds of parts, its scale not applied."""
    fit = calibration.fit
    assert fit is not None
    return _fit(Steady(calibration), calibration.by_role(FIT), fit.model, fit.residuals)


def _models(calibration: Calibration) -> tuple[str, ...]:
    return MODELS if calibration.workload.compile == "eager" else (ROOFLINE,)


def _chosen(
    steady: Steady, fits: Sequence[Timed], model: Fit | None
) -> dict[str, tuple[float, ...]]:
    """The residuals' parameters by kind."""
    if model is not None:
        return model.residuals
    if steady.calibration.workload.compile != "eager":
        return {}
    found = fit_times(*_times(steady, fits)).hyper()
    return {kind: tuple(values) for kind, values in found.items()}


def _fit(
    steady: Steady,
    networks: Sequence[Timed],
    model: str,
    hyper: dict[str, tuple[float, ...]],
) -> PartModel:
    calibration = steady.calibration
    if calibration.workload.compile != "eager":
        seconds = np.array([steady.seconds(network) for network in networks])
        return fit_sums([calibration.parts(network) for network in networks], seconds)
    known: dict[str, Hyper] = {k: (v[0], v[1], v[2]) for k, v in hyper.items() if len(v) == 3}
    return fit_times(*_times(steady, networks), smooth=model == SMOOTH, hyper=known)


def _times(steady: Steady, networks: Sequence[Timed]) -> tuple[list[Part], Array]:
    """Distinct parts of each network with their seconds."""
    found = [item for network in networks for item in steady.parts(network).items()]
    pieces = steady.calibration.pieces
    return [pieces[place] for place, _ in found], np.array([seconds for _, seconds in found])


def _cross_validated(
    steady: Steady,
    fits: Sequence[Timed],
    model: str,
    hyper: dict[str, tuple[float, ...]],
) -> list[float]:
    """Log of steady over predicted of each network, by a model of the other folds."""
    left = [0.0] * len(fits)
    for fold in range(FOLDS):
        others = [network for i, network in enumerate(fits) if i % FOLDS != fold]
        fitted_to_them = _fit(steady, others, model, hyper)
        mine = _log_errors(steady, fits[fold::FOLDS], fitted_to_them)
        left[fold::FOLDS] = mine.tolist()
    if not all(map(math.isfinite, left)):
        raise InputError("too few networks measured to fit", where="--time-limit")
    return left


def _log_errors(
    steady: Steady, networks: Sequence[Timed], model: PartModel, *, as_measured: bool = False
) -> Array:
    """(N,) log of measured over predicted; NaN where a part is of a kind never seen."""
    seconds = model.seconds(steady.calibration.pieces)
    predicted = np.array([seconds[list(network.parts)].sum() for network in networks])
    measured = [n.seconds if as_measured else steady.seconds(n) for n in networks]
    return np.asarray(np.log(measured) - np.log(predicted))


def _typical(left: Sequence[float]) -> float:
    """Median error once the common factor is taken out."""
    centre = statistics.median(left)
    return statistics.median(abs(math.expm1(value - centre)) for value in left)


def _quantile(errors: Array) -> float:
    """The error that a further network exceeds with probability 1 - COVERAGE at most."""
    known = np.sort(errors[np.isfinite(errors)])
    rank = min(math.ceil((len(known) + 1) * COVERAGE), len(known))
    return float(known[rank - 1])


def _figures(
    steady: Steady, held: Sequence[Timed], model: PartModel, scale: float
) -> dict[str, Any]:
    log = _log_errors(steady, held, model, as_measured=True) - math.log(scale)
    still = _log_errors(steady, held, model) - math.log(scale)
    off = np.abs(np.expm1(-log))
    measured = np.array([network.seconds for network in held])
    predicted = measured * np.exp(-log)
    return {
        "steady_error_median": float(np.median(np.abs(np.expm1(-still)))),
        "steady_spearman": rank_correlation(predicted * np.exp(still), predicted),
        "held_out": len(held),
        "error_median": float(np.median(off)),
        "error_p90": float(np.quantile(off, 0.9)),
        "within_5": float((off <= 0.05).mean()),
        "within_10": float((off <= 0.10).mean()),
        "spearman": rank_correlation(measured, predicted),
    }


def _stability(calibration: Calibration) -> dict[str, Any]:
    """Noise between two measurements of one network, the anchor, and the trend of them all."""
    totals = [[sum(run) for run in network.anchors_s] for network in calibration.networks]
    logs = np.log([statistics.median(found) for found in totals])
    pairs = np.abs(logs[:, None] - logs[None, :])[np.triu_indices(len(logs), 1)]
    third = max(1, len(logs) // 3)
    drift = float(np.median(logs[-third:]) - np.median(logs[:third]))
    return {"noise_floor": math.expm1(float(np.median(pairs))), "drift": math.expm1(drift)}
