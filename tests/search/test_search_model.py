"""What the sampler computes with: a Gaussian process, an exact gain, scores of low rungs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.stats import norm

from dilnas.cost import hypervolume
from dilnas.search.belief import Belief, ErrorModel, Scale
from dilnas.search.candidate import Candidate, Figures, RungScore
from dilnas.search.domain import SpaceDomain
from dilnas.search.evidence import evidence
from dilnas.search.forecast import Forecaster
from dilnas.search.improvement import expected_gain
from dilnas.search.scheduler import PromotionRule, next_promotion
from dilnas.search.surrogate import Surrogate, _Posterior
from dilnas.space import SearchSpace

UNIT = st.floats(0.01, 0.99)


def bowl(x):
    """A smooth function with a main effect, an interaction and an input that does nothing."""
    return 0.7 + 0.1 * np.sin(2 * x[:, 0]) + 0.08 * x[:, 1] * x[:, 2]


@given(
    st.lists(st.tuples(UNIT, UNIT), max_size=12), st.tuples(UNIT, UNIT), st.floats(0.001, 0.5),
    st.sampled_from([0.01, 10.0, 60.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_expected_gain_is_the_mean_of_the_hypervolume_that_is_gained(
    points, new, deviation, bend
):
    """The gain itself for a point that is sure; its integral over the error for one that is not."""
    front = np.array(points, float).reshape(-1, 2)
    corner, scale = (1.0, 1.0), Scale(0.0, 1.0, bend)
    before = hypervolume(front, corner) if len(front) else 0.0
    z = scale.of(np.array(new[0]))

    def gained(error):
        return hypervolume(np.array([*front.tolist(), [error, new[1]]]), corner) - before

    def gain(spread):
        belief = Belief(scale, np.array([z]), np.array([spread]))
        return float(expected_gain(belief.below, np.array([new[1]]), front, corner)[0])

    assert gain(1e-9) == pytest.approx(gained(new[0]), abs=1e-7)
    # In pieces between the errors where the gain has a bend, none wider than one deviation:
    # a gain may lie wholly in a tail.
    bends = (scale.of(np.array([*front[:, 0], corner[0]])) - z) / deviation
    ends = np.unique(np.clip([*bends, *range(-9, 10)], -9, 9))
    nodes, weights = np.polynomial.legendre.leggauss(7)
    half = np.diff(ends)[:, None] / 2
    at = ends[:-1, None] + half * (1 + nodes)
    errors = scale.error(np.exp(z + deviation * at))
    mean = np.sum(half * weights * norm.pdf(at) * np.vectorize(gained)(errors))
    assert gain(deviation) == pytest.approx(mean, rel=1e-6, abs=1e-12)


@given(st.floats(0, 0.9), st.floats(0.01, 1), st.sampled_from([0.01, 4.0, 60.0]), UNIT)
def test_a_scale_maps_errors_to_z_and_back(low, span, bend, place):
    """It rises, its inverse is one, and its slope is its slope."""
    scale, step = Scale(low, span, bend), 1e-6 * span
    error = np.array([low + place * span, low + place * span + step])
    z = scale.of(error)
    assert z[1] > z[0] >= 0
    assert scale.error(np.exp(z)) == pytest.approx(error, rel=1e-9)
    assert np.diff(z)[0] / step == pytest.approx(scale.slope(error)[0], rel=1e-3)


def exponential(x):
    """Errors that fall like an exponential of a sum, as those of larger and larger networks."""
    return 0.15 + 0.2 * np.exp(-3 * x[:, 0] - 2 * x[:, 1])


def straight(x):
    return 0.15 + 0.1 * x[:, 0] + 0.05 * x[:, 1]


@pytest.mark.parametrize(("truth", "bends"), [(exponential, (10, 60)), (straight, (0.01, 1.5))])
def test_the_scale_is_learnt_from_the_scores(truth, bends):
    """A bent one where the axes add up on it, an almost straight one where they do not."""
    rng = np.random.default_rng(3)
    x, new = rng.random((40, 6)), rng.random((300, 6))
    seen = truth(x) + rng.normal(0, 0.001, 40)
    model = ErrorModel(x, seen, np.zeros(40))
    assert bends[0] <= model.bend <= bends[1]
    belief = model.of(new)
    away = belief.error - truth(new)
    plain, _ = Surrogate(x, seen).predict(new)
    assert np.sqrt(np.mean(away**2)) < 1.1 * np.sqrt(np.mean((plain - truth(new)) ** 2))


def test_candidates_in_training_change_no_expected_scale_and_equal_errors_are_no_trouble():
    """Believing keeps the scale; the same error everywhere gives finite beliefs."""
    rng = np.random.default_rng(4)
    x = rng.random((20, 4))
    model = ErrorModel(x, exponential(x), np.zeros(20))
    later = model.believing(x[:3] + 0.1)
    assert later.bend == model.bend
    assert (later.of(x[:3] + 0.1).deviation < model.of(x[:3] + 0.1).deviation).all()
    flat = ErrorModel(np.eye(5), np.full(5, 0.3), np.zeros(5)).of(np.eye(5))
    assert flat.error == pytest.approx(np.full(5, 0.3), abs=1e-3)
    assert np.isfinite(flat.below(np.array([0.2, 0.3, 0.4]))).all()


def test_the_model_learns_a_smooth_function_from_sixty_scores():
    """Far better than the mean, and about as sure as it should be."""
    rng = np.random.default_rng(0)
    x, new = rng.random((60, 8)), rng.random((500, 8))
    model = Surrogate(x, bowl(x) + rng.normal(0, 0.004, 60))
    mean, deviation = model.predict(new)
    error = mean - bowl(new)
    assert np.sqrt(np.mean(error**2)) < 0.35 * bowl(new).std()
    assert 0.5 < np.sqrt(np.mean((error / deviation) ** 2)) < 2.5
    assert 0.002 < model.noise < 0.012


def test_a_candidate_in_training_makes_the_model_surer_there_and_changes_no_mean():
    """Believing in what is expected adds no information but that it will be known."""
    rng = np.random.default_rng(1)
    x = rng.random((20, 4))
    model = Surrogate(x, bowl(x))
    asked = rng.random((3, 4))
    mean, deviation = model.predict(asked)
    later_mean, later = model.believing(asked).predict(asked)
    assert later_mean == pytest.approx(mean, abs=1e-3)
    assert (later < deviation).all()
    assert model.believing(np.empty((0, 4))) is model


def test_a_score_with_a_large_extra_variance_counts_little():
    """A doubtful outlier bends the surface less than a sure one."""
    x = np.linspace(0, 1, 15)[:, None]
    y = 0.5 + 0.1 * x[:, 0]
    y[7] += 0.2
    extra = np.zeros(15)
    sure, _ = Surrogate(x, y, extra).predict(x[7:8])
    extra[7] = 0.04
    unsure, _ = Surrogate(x, y, extra).predict(x[7:8])
    assert abs(unsure[0] - 0.55) < abs(sure[0] - 0.55)


def test_equal_scores_are_no_trouble():
    """All candidates the same: a flat model, finite everywhere."""
    mean, deviation = Surrogate(np.eye(5), np.full(5, 0.3)).predict(np.eye(5))
    assert mean == pytest.approx(np.full(5, 0.3)) and np.isfinite(deviation).all()


def test_the_likelihood_of_other_scores_counts_their_shape_and_their_spread():
    """Shifted it is the same; doubled, a density of half the height for each of them."""
    rng = np.random.default_rng(5)
    x = rng.random((12, 3))
    model = Surrogate(x, bowl(x))
    one = model.log_likelihood(bowl(x))
    assert model.log_likelihood(bowl(x) + 3) == pytest.approx(one)
    assert model.log_likelihood(2 * bowl(x)) == pytest.approx(one - 12 * math.log(2))
    assert model.log_likelihood(rng.permutation(bowl(x))) < one


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_of_the_fit_is_that_of_its_value(seed):
    """Against finite differences, at random parameters."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((14, 5)), rng.standard_normal(14)
    posterior = _Posterior(x, y, rng.random(14), np.zeros(8), np.eye(8) + 0.3)
    at = 0.5 * rng.standard_normal(8)
    found = posterior(at)[1]
    assert found == pytest.approx(approx_fprime(at, lambda p: posterior(p)[0], 1e-6), abs=1e-4)


def scored(number, cost, scores, **more):
    return Candidate(
        number=number, code=more.pop("code", (number,)), key=str(number), layout="", origin="ehvi",
        figures=Figures(gflops=cost, mparams=cost, mb=cost),
        scores=tuple(RungScore(accuracy=a, seconds=1.0, images=1) for a in scores),
        target=len(scores) - 1, **more,
    )  # fmt: skip


def test_scores_of_a_low_rung_are_carried_by_what_those_with_both_gained():
    """Everybody gains ten points, dear networks five more: so would those that stopped."""
    pairs = [(0.5 + 0.01 * i, 1 + i % 4) for i in range(12)]
    went_on = [
        scored(i, cost, [low, low + 0.1 + 0.05 * math.log(cost)])
        for i, (low, cost) in enumerate(pairs)
    ]
    stopped = [scored(20, 1.0, [0.55]), scored(21, 4.0, [0.55])]
    found = evidence([*went_on, *stopped], "gflops")
    observed = [c.scores[1].accuracy for c in went_on]
    assert found.accuracy[:12] == pytest.approx(observed) and not found.extra[:12].any()
    cheap, dear = found.accuracy[12:]
    assert cheap == pytest.approx(0.65, abs=0.02)
    assert 0.03 < dear - cheap < 0.08
    assert (found.extra[12:] < 0.02**2).all()


def test_with_too_few_pairs_the_low_rung_is_what_is_compared():
    """Two candidates at rung 1 say nothing about the step from rung 0."""
    few = [scored(0, 1, [0.5, 0.9]), scored(1, 1, [0.6, 0.9]), scored(2, 1, [0.7])]
    assert evidence(few, "gflops").accuracy.tolist() == [0.5, 0.6, 0.7]


def test_failed_and_rejected_candidates_are_no_evidence():
    """Only what was scored and lives counts."""
    few = [scored(0, 1, [0.5]), scored(1, 1, [0.9], state="failed"), scored(2, 1, [])]
    assert [c.number for c in evidence(few, "gflops").candidates] == [0]


@pytest.fixture(scope="module")
def searched():
    """A forecaster of the smoke space and 24 candidates whose accuracy grows with their width."""
    domain = SpaceDomain(SearchSpace.load("smoke"))
    codes = domain.sample(1, 0)[::4][:24]
    candidates = []
    for number, code in enumerate(codes):
        member = domain.member(code)
        accuracy = 0.6 + 0.05 * code[0] + 0.01 * code[1]
        candidates.append(
            scored(number, member.figures.gflops, [accuracy], code=member.code)
        )  # fmt: skip
    return Forecaster(domain, domain.sample(1, 0), {}, "gflops"), candidates


def test_what_adds_most_to_what_went_on_is_promoted(searched):
    """The first promotion is a good one; the next ones are not beside it but spread over cost."""
    forecaster, pool = searched
    rule = PromotionRule(keep=(1 / 3,), bands=1, cost_name="gflops")
    pool, chosen = list(pool), []
    while True:
        forecast = forecaster.forecast(pool)
        found = next_promotion(pool, rule, ending=False, forecast=lambda now=forecast: now)
        if found is None:
            break
        chosen.append(found)
        pool[found.number] = scored(
            found.number, found.figures.gflops, [found.accuracy, found.accuracy + 0.1],
            code=found.code, state="complete",
        )  # fmt: skip
    assert len(chosen) == 8
    costs = sorted(c.figures.gflops for c in chosen)
    every = sorted(c.figures.gflops for c in searched[1])
    assert costs[0] < np.quantile(every, 0.25) and costs[-1] > np.quantile(every, 0.6)
    assert costs[0] == every[0]  # though it is the worst: it is on every front
    widths = [c.code[0] for c in chosen]
    assert max(widths) == max(c.code[0] for c in searched[1])


def test_promotions_are_rare_at_first_and_made_up_for_at_the_end(searched):
    """Half-way, a quarter of the share has gone on; when no new candidate comes, all of it."""
    forecaster, pool = searched
    rule = PromotionRule(keep=(1 / 3,), bands=1, cost_name="gflops", planned=48)

    def promoted(ending):
        now, count = list(pool), 0
        while count < 30:
            forecast = forecaster.forecast(now)
            found = next_promotion(now, rule, ending=ending, forecast=lambda f=forecast: f)
            if found is None or found.rung:
                break
            count += 1
            now[found.number] = scored(
                found.number, found.figures.gflops, [found.accuracy] * 2,
                code=found.code, state="complete",
            )  # fmt: skip
        return count

    assert promoted(False) == 4
    assert promoted(True) == 8


def test_a_forecast_is_a_function_of_the_candidates(searched):
    """Asked again it is the same object; another forecaster gives equal numbers."""
    forecaster, pool = searched
    one = forecaster.forecast(pool)
    assert forecaster.forecast(list(pool)) is one
    domain = SpaceDomain(SearchSpace.load("smoke"))
    other = Forecaster(domain, domain.sample(1, 0), {}, "gflops").forecast(pool)
    assert np.array_equal(one.of(pool)[0].error, other.of(pool)[0].error)
