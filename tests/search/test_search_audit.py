"""The audit: rank correlations that can be counted by hand, and what is made of them."""

import math

import numpy as np
import pytest
from candidates import complete, finals
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from dilnas.report.audit import audit_cells
from dilnas.search.audit import ProxyAudit, audit, audit_document, tau_estimate
from dilnas.search.finals import HeldOut

SCORES = st.lists(st.integers(0, 6), min_size=2, max_size=25)


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        # 6 pairs: all agree.
        ([1, 2, 3, 4], [10, 20, 30, 40], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        # 3-4 disagrees, five agree: (5 - 1) / 6.
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),
        # 1-2 tied in a; of five pairs left 1-4 and 2-4 and 3-4 disagree: (2 - 3) / sqrt(5 * 6).
        ([1, 1, 2, 3], [2, 3, 4, 1], -1 / math.sqrt(30)),
        # One tie in each, of different pairs: 4 agree, none disagrees: 4 / sqrt(5 * 5).
        ([1, 1, 2, 3], [1, 2, 3, 3], 4 / 5),
    ],
)
def test_tau_is_what_counting_pairs_gives(a, b, tau):
    """Concordant less discordant pairs, over the root of the pairs untied in each."""
    assert tau_estimate(a, b).tau == pytest.approx(tau)


@given(st.data())
def test_over_all_pairs_it_is_scipys_tau_b(data):
    """For any scores with ties; undefined where scipy's is."""
    a = data.draw(SCORES)
    b = data.draw(st.lists(st.integers(0, 6), min_size=len(a), max_size=len(a)))
    found = tau_estimate(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found.tau is None
    else:
        assert found.tau == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)
        if found.low is None:  # only where nothing disagrees
            assert abs(found.tau) == pytest.approx(1) and found.high is None
        else:
            assert -1 <= found.low <= found.tau <= found.high <= 1 and found.low < found.high
    assert found.pairs == len(a) * (len(a) - 1) // 2


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=30, unique=True))
def test_perfect_agreement_is_1_and_reversal_is_minus_1(a):
    """Whatever the monotone function; an interval of no width would claim that to be certain."""
    rising = tau_estimate(a, [math.log1p(v) for v in a])
    falling = tau_estimate(a, [-v for v in a])
    assert (rising.low, rising.tau, rising.high) == (None, 1, None)
    assert (falling.low, falling.tau, falling.high) == (None, -1, None)


def test_two_pairs_that_agree_are_shown_without_an_interval():
    """Not as [1.00, 1.00]; their number stands beside them."""
    near = np.zeros((4, 4))
    near[0, 1] = near[1, 0] = near[2, 3] = near[3, 2] = 1
    some, all_ = tau_estimate([1, 2, 3, 4], [1, 2, 3, 4], near), tau_estimate([1, 2, 3], [1, 3, 2])
    line = ProxyAudit(
        proxy="nsc", target="re-trained", candidates=4, overall=all_, near=some, verdict="", why=""
    )
    cells = audit_cells(audit_document([line], []))[0]
    assert cells[4:6] == ("2", "1.00")
    assert cells[3].startswith("0.33 [-1.00, ")


@given(SCORES, st.randoms(use_true_random=False))
def test_swapping_the_scores_changes_nothing(a, random):
    """Tau-b is symmetric."""
    b = random.sample(a, len(a))
    assume(len(set(a)) > 1)
    assert tau_estimate(a, b).tau == pytest.approx(tau_estimate(b, a).tau)


def test_the_interval_of_noise_covers_0_about_as_often_as_it_says():
    """Of 100 pairs of independent scores of 40 candidates, at least 88 intervals hold 0."""
    rng = np.random.default_rng(0)
    found = [tau_estimate(*rng.normal(size=(2, 40))) for _ in range(100)]
    assert sum(f.low <= 0 <= f.high for f in found) >= 88
    assert all(f.high - f.low < 0.8 for f in found)


def test_pairs_of_equal_cost_alone_are_compared_where_that_is_asked():
    """Two pairs are near; a and b agree in one and disagree in the other, though not overall."""
    near = np.zeros((4, 4), bool)
    near[0, 1] = near[1, 0] = near[2, 3] = near[3, 2] = True
    found = tau_estimate([1, 2, 3, 4], [1, 2, 4, 3], near)
    assert found.tau == 0 and found.pairs == 2


def audited(count, rung, *, full=None, free=None, costs=None, again=None):
    """Audit of ``count`` candidates, by proxy and target."""
    full = full or [i / (2 * count) for i in range(count)]
    costs = costs or [1 + i / 100 for i in range(count)]
    pool = [complete(i, costs[i], [rung[i], full[i]]) for i in range(count)]
    scores = dict(enumerate(free or full))
    held_out = HeldOut(scores={i: finals(v) for i, v in (again or {}).items()})
    lines = audit(pool, "gflops", scores, held_out, rungs=2)
    return {(line.proxy, line.target): line for line in lines}


def test_each_proxy_is_held_against_full_fidelity_and_the_search_against_re_training():
    """A perfect free score, a reversed rung, and re-trainings that reverse the search's order."""
    count = 30
    rung = [1 - i / 100 for i in range(count)]
    lines = audited(count, rung, again={i: 1 - i / 100 for i in range(10)})
    assert [*lines] == [
        ("nsc", "full fidelity"), ("gflops", "full fidelity"), ("rung 1", "full fidelity"),
        ("nsc", "re-trained"), ("search", "re-trained"),
    ]  # fmt: skip
    nsc, rung_1 = lines["nsc", "full fidelity"], lines["rung 1", "full fidelity"]
    assert nsc.overall.tau == 1 and nsc.verdict == "trust" and nsc.candidates == 30
    assert rung_1.overall.tau == -1 and rung_1.verdict == "don't trust"
    search = lines["search", "re-trained"]
    assert search.overall.tau == -1 and search.candidates == 10
    assert search.verdict == "too few to say"


@pytest.mark.parametrize(("count", "verdict"), [(23, "too few to say"), (24, "trust")])
def test_fewer_than_24_candidates_are_too_few_for_a_verdict(count, verdict):
    """However high the correlation."""
    line = audited(count, [i / 100 for i in range(count)])["rung 1", "full fidelity"]
    assert line.verdict == verdict and line.overall.tau == 1


def test_a_score_that_only_knows_the_size_is_not_trusted():
    """Ten sizes, twice as dear each: between sizes the free score is right, within one it is
    reversed: high overall, -1 at equal cost.
    """
    full, free, costs = [], [], []
    for size in range(10):
        for place in range(3):
            full.append(size / 10 + place / 1000)
            free.append(size - place / 1000)
            costs.append(2.0**size)
    lines = audited(30, full, full=full, free=free, costs=costs)
    nsc = lines["nsc", "full fidelity"]
    # 3 pairs within each of 10 sizes disagree, 435 - 30 agree.
    assert nsc.overall.tau == pytest.approx((405 - 30) / 435) and nsc.near.tau == -1
    assert nsc.near.pairs == 30
    assert nsc.verdict == "don't trust" and "-1.00 at equal cost" in nsc.why


def test_a_rung_that_ranks_no_better_than_the_free_score_is_not_trusted():
    """It costs training: it must beat what costs nothing."""
    full = [i / 100 for i in range(30)]
    rung = [*full[:-6], *reversed(full[-6:])]
    line = audited(30, rung, full=full)["rung 1", "full fidelity"]
    assert line.verdict == "don't trust" and "free score 1.00" in line.why


def test_only_full_fidelity_counts_and_the_document_says_how_few_that_are():
    """Stopped, failed and rejected candidates are in no pair; a search without any has no lines
    that would say something.
    """
    pool = [complete(i, 1 + i, [0.1 * i, 0.2 * i]) for i in range(3)]
    pool += [complete(3 + i, 9.0, [0.9], state="pruned") for i in range(5)]
    pool += [complete(8, 9.0, [], state="failed"), complete(9, 9.0, [], state="rejected")]
    free = {c.number: float(c.number) for c in pool}
    lines = audit(pool, "gflops", free, HeldOut(), rungs=2)
    assert {line.candidates for line in lines} == {3}
    document = audit_document(lines, pool)
    assert (document["complete"], document["scored"]) == (3, 8)
    assert "3 of 8 scored candidates" in document["selection"]
    assert audit([], "gflops", {}, HeldOut(), rungs=2)[0].overall.tau is None


def test_a_long_search_is_audited_on_a_sample_and_in_time():
    """2,000 candidates at full fidelity: 400 of them, the same ones every time."""
    rng = np.random.default_rng(1)
    pool = [complete(i, float(c), [float(s)] * 2) for i, (c, s) in enumerate(rng.random((2000, 2)))]
    free = {c.number: c.accuracy for c in pool}
    once, twice = (audit(pool, "gflops", free, HeldOut(), rungs=2) for _ in range(2))
    assert once == twice and once[0].candidates == 400 and once[0].overall.tau == 1
