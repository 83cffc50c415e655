"""Promotion: pure functions of candidates, pinned by drawn tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilnas.search.candidate import Candidate, Figures, RungScore, front
from dilnas.search.estimate import work_left
from dilnas.search.scheduler import (
    PromotionRule,
    cost_bands,
    next_promotion,
    promotion_order,
    rule_for,
)


def candidate(number, cost, scores, *, target=None, state="running", origin="nsc"):
    return Candidate(
        number=number,
        code=(number,),
        key=f"{number:016x}",
        layout="",
        origin=origin,
        figures=Figures(gflops=cost, mparams=cost, mb=cost),
        state=state,
        scores=tuple(RungScore(accuracy=a, seconds=1.0, images=1) for a in scores),
        target=len(scores) - 1 if target is None else target,
    )


def rule(**changes):
    values = {"keep": (1 / 3, 1 / 3), "bands": 1, "cost_name": "gflops"}
    return PromotionRule(**(values | changes))


def test_order_takes_the_front_first_and_spreads_inside_it():
    """Ranks first; inside a rank the most accurate, then the farthest from those taken.

    error
      5 | a
      4 |       e
      3 |    b
      2 |          c
      1 |                   d
        +---------------------- cost
          1  2  3  4        7
    """
    a, b, c, d, e = (5, 1), (3, 2), (2, 4), (1, 7), (4, 3)
    assert promotion_order(np.array([a, b, c, d, e], dtype=float)) == [3, 0, 2, 1, 4]


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=60), st.integers(1, 5))
def test_bands_are_quantiles(costs, count):
    """Bands ascend with cost and differ by at most one in size."""
    labels = cost_bands(costs, count)
    sizes = [labels.count(band) for band in range(count)]
    assert max(sizes) - min(sizes) <= 1
    ranked = [labels[i] for i in sorted(range(len(costs)), key=lambda i: (costs[i], i))]
    assert ranked == sorted(ranked)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30),
)
def test_order_is_a_permutation_led_by_a_most_accurate_point(rows):
    """Every index occurs once; the first has the least error."""
    values = np.array(rows, dtype=float)
    order = promotion_order(values)
    assert sorted(order) == list(range(len(rows)))
    assert values[order[0], 0] == values[:, 0].min()


def test_cheap_end_survives():
    """A scalar halving would promote only dear candidates; each band promotes its own best."""
    cheap = [candidate(i, 1 + i / 10, [0.30 + i / 100]) for i in range(3)]
    dear = [candidate(3 + i, 8 + i / 10, [0.80 + i / 100]) for i in range(3)]
    promoted = set()
    pool = cheap + dear
    while (found := next_promotion(pool, rule(bands=2), ending=False)) is not None:
        promoted.add(found.number)
        pool[found.number] = candidate(
            found.number, found.figures.gflops, [found.accuracy], target=1
        )
    assert promoted == {2, 5}


@pytest.mark.parametrize(("count", "expected"), [(2, None), (3, 2)])
def test_one_in_three_is_promoted(count, expected):
    """With eta 3 nothing goes on before three candidates have been compared."""
    pool = [candidate(i, 1.0, [0.1 * i]) for i in range(count)]
    found = next_promotion(pool, rule(), ending=False)
    assert (found.number if found else None) == expected


def test_nothing_goes_on_twice_and_failures_do_not_count():
    """What was sent on is not sent again; failed and rejected candidates are not compared."""
    pool = [
        candidate(0, 1, [0.9], target=1),
        candidate(1, 1, [0.2]),
        candidate(2, 1, [0.1]),
        candidate(3, 1, [0.3], state="failed"),
        candidate(4, 1, [], state="rejected"),
        candidate(5, 1, [], target=0),
    ]
    assert next_promotion(pool, rule(), ending=False) is None


def test_paper_variants_always_go_on():
    """A variant is trained to the end even when it is the worst of its rung."""
    pool = [candidate(0, 1, [0.1], origin="variant"), candidate(1, 1, [0.9])]
    assert next_promotion(pool, rule(), ending=False).number == 0


def test_higher_rungs_first():
    """Two promotions are possible: the one nearer to full fidelity is made."""
    pool = [candidate(i, 1, [0.1 * i, 0.1 * i]) for i in range(3)]
    pool += [candidate(3 + i, 1, [0.1 * i]) for i in range(6)]
    assert next_promotion(pool, rule(), ending=False).rung == 1


@pytest.mark.parametrize(("rungs", "trials"), [(2, 24), (3, 24), (3, 90), (4, 60), (1, 5), (3, 2)])
def test_enough_candidates_reach_full_fidelity(rungs, trials):
    """Run to the end, at least 8 candidates (or all) are complete, from every cost band."""
    chosen = rule_for(trials, rungs, 3, "gflops")
    rng = np.random.default_rng(trials)
    pool = []
    for i in range(trials):
        state = "complete" if rungs == 1 else "running"
        pool.append(candidate(i, float(rng.uniform(1, 9)), [float(rng.uniform())], state=state))
    while (found := next_promotion(pool, chosen, ending=True)) is not None:
        scores = [s.accuracy for s in found.scores] + [float(rng.uniform())]
        state = "complete" if len(scores) == rungs else "running"
        pool[found.number] = candidate(found.number, found.figures.gflops, scores, state=state)
    complete = [c for c in pool if c.state == "complete"]
    assert len(complete) >= min(8, trials)
    assert len(complete) <= max(8, -(-trials * 2 // 3)) or rungs == 1
    bands = cost_bands([c.figures.gflops for c in pool], chosen.bands)
    assert {bands[c.number] for c in complete} == set(range(chosen.bands))


@given(st.integers(1, 2000), st.integers(1, 5), st.floats(1.5, 10))
def test_most_are_stopped_at_the_first_rung(trials, rungs, eta):
    """No rung keeps less than the first; what reaches the end suffices for a front."""
    chosen = rule_for(trials, rungs, eta, "gflops")
    assert chosen.rungs == rungs
    assert all(0 < share <= 1 for share in chosen.keep)
    assert all(share >= chosen.keep[0] - 1e-9 for share in chosen.keep)
    assert chosen.reaching(rungs - 1) * trials >= min(12, trials) - 1e-6
    if rungs > 1:
        assert chosen.reaching(1) >= 0.9 / eta - 1e-9


def test_a_search_of_a_hundred_keeps_three_in_ten_and_then_most():
    """30 of 100 get to the second of three rungs, 18 to the end; of two rungs a third."""
    assert rule_for(100, 3, 3, "gflops").keep == pytest.approx((0.3, 0.6))
    assert rule_for(100, 2, 3, "gflops").keep == pytest.approx((1 / 3,))


def test_what_is_left_is_estimated_by_rung():
    """Seconds that a rung took, times who is still to come; an unseen rung is eta times as dear."""
    chosen = rule(keep=(0.5, 0.5), eta=3.0)
    assert work_left([], chosen, 8) is None
    pool = [candidate(i, 1.0, [0.1]) for i in range(4)]  # one second each
    assert work_left(pool, chosen, 8) == pytest.approx(4 * 1 + 4 * 3 + 2 * 9)


def test_partial_scores_are_on_no_front():
    """Only complete candidates count, however good a score at a lower rung is."""
    pool = [
        candidate(0, 1.0, [0.99, 0.99]),
        candidate(1, 1.0, [0.98], state="pruned"),
        candidate(2, 2.0, [0.5, 0.5, 0.5], state="complete"),
    ]
    assert [c.number for c in front(pool, "gflops")] == [2]


def test_candidates_after_an_end_have_their_own_share():
    """A search of 6 ended with 2 complete; of 6 more, better ones, as many go on.

    Those before were compared and had their share: it is not taken from the new ones.
    """
    pool = [candidate(i, 1, [0.2 + i / 100], state="pruned") for i in range(4)]
    pool += [candidate(i, 1, [0.3, 0.4, 0.5], target=2, state="complete") for i in (4, 5)]
    pool += [candidate(i, 1, [0.4 + i / 100]) for i in range(6, 12)]
    promoted = []
    while (found := next_promotion(pool, rule(first=6), ending=True)) is not None:
        if found.rung == 0:
            promoted.append(found.number)
        scores = [s.accuracy for s in found.scores] + [0.6]
        state = "complete" if len(scores) == 3 else "running"
        pool[found.number] = candidate(found.number, 1, scores, state=state)
    assert {10, 11} <= set(promoted)
