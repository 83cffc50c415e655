"""The benchmark's worlds: what is claimed of them can be checked by counting."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.bench.tables import table_world
from dilnas.bench.worlds import WORLDS, world
from dilnas.cost import hypervolume, pareto_mask
from dilnas.errors import InputError

TABLE = """dim,kind,note,gflops,acc_10,accuracy
48,a,x,1.0,40,60
48,b,x,1.5,55,70
96,a,x,2.0,45,75
96,b,x,3.0,52,72
"""


@pytest.mark.parametrize("name", WORLDS)
def test_longer_trainings_rank_more_like_the_full_one(name):
    """Rank correlation with full fidelity rises from rung to rung, and is not perfect before."""
    from scipy.stats import spearmanr

    here = world(name, rungs=True)
    codes = here.domain.sample(1000, 1)[:1000]
    full = here.truth.accuracy(codes)
    rho = [spearmanr(here.truth.accuracy(codes, s), full).statistic for s in here.shares]
    assert rho[0] < rho[1] < rho[2] == pytest.approx(1.0)
    assert 0.2 < rho[0] < 0.95


def test_the_front_of_a_small_world_is_that_of_all_its_architectures():
    """Every architecture within the budget is known, and nothing of the front is dominated."""
    here = world("small-rugged")
    codes = here.domain.sample(1, 0)
    costs = here.domain.costs(codes)["gflops"]
    inside = here.values(codes[costs <= here.budgets["gflops"]])
    assert len(codes) == 15552
    mine = {tuple(row) for row in here.front.tolist()}
    assert mine == {tuple(row) for row in inside[pareto_mask(inside)].tolist()}
    assert here.regret(codes[costs <= here.budgets["gflops"]]) == pytest.approx(0, abs=1e-9)


def test_there_are_other_worlds_of_a_kind():
    """Same space, budget and noise; other architectures are good there."""
    here, other, third = (world(f"small-flat{at}") for at in ("", "@0", "@1"))
    codes = here.domain.sample(1, 0)
    assert (other.budgets, other.truth.noise(1.0)) == (here.budgets, here.truth.noise(1.0))
    lists = [tuple(w.truth.accuracy(codes).round(9)) for w in (here, other, third)]
    assert len(set(lists)) == 3
    assert tuple(world("small-flat@0").truth.accuracy(codes).round(9)) == lists[1]


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_regret_is_the_missing_share_and_more_evaluations_never_raise_it(seed, count):
    """Between 0 and 100, falling, and equal to what the hypervolumes say."""
    here = world("small-mild")
    codes = here.domain.sample(1, 0)
    chosen = codes[np.random.default_rng(seed).choice(len(codes), count)]
    costs = here.domain.costs(chosen)["gflops"]
    chosen = chosen[costs <= here.budgets["gflops"]]
    whole = hypervolume(here.front, here.corner)
    regrets = [here.regret(chosen[:k]) for k in range(1, len(chosen) + 1)]
    assert all(0 <= r <= 100 for r in regrets)
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(regrets))
    if regrets:
        mine = hypervolume(here.values(chosen), here.corner)
        assert regrets[-1] == pytest.approx(100 * (1 - mine / whole))


def test_a_table_of_results_is_a_world(tmp_path):
    """Columns become axes in order of value; only rows can be proposed; per cent is read."""
    path = tmp_path / "results.csv"
    path.write_text(TABLE)
    here = table_world(str(path), axes=["dim", "kind"], rungs=["acc_10:10", "accuracy:90"])
    assert here.domain.axes == (("dim", 2), ("kind", 2))
    assert here.shares == (pytest.approx(1 / 9), 1.0)
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert here.truth.accuracy(codes).tolist() == [0.6, 0.7, 0.75, 0.72]
    assert here.truth.accuracy(codes, here.shares[0]).tolist() == [0.4, 0.55, 0.45, 0.52]
    assert here.domain.costs(codes)["gflops"].tolist() == [1.0, 1.5, 2.0, 3.0]
    assert sorted(map(tuple, here.front.round(6).tolist())) == [
        (0.25, round(float(np.log(2.0)), 6)), (0.3, round(float(np.log(1.5)), 6)), (0.4, 0.0),
    ]  # fmt: skip


def test_what_is_not_in_a_table_costs_infinitely_much(tmp_path):
    """A gap in the table is no candidate."""
    path = tmp_path / "results.csv"
    path.write_text("\n".join(TABLE.splitlines()[:-1]) + "\n")
    here = table_world(str(path), axes=["dim", "kind"])
    assert here.domain.costs(np.array([[1, 1], [1, 0]]))["gflops"].tolist() == [np.inf, 2.0]
    with pytest.raises(InputError, match="not in the table"):
        here.domain.member((1, 1))


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("a,b\n1,2\n", {}, "too few rows"),
        ("a,accuracy\n1,2\n2,3\n", {}, "--cost"),
        ("a,gflops\n1,2\n2,3\n", {}, "--accuracy"),
        ("a,gflops,accuracy\n1,2,3\n2,3\n", {}, ":3: wrong number of cells"),
        ("a,gflops,accuracy\n1,2,3\n2,3,high\n", {}, "not a number"),
        ("a,gflops,accuracy\n1,2,3\n2,3,nan\n", {}, "not finite"),
        ("a,gflops,accuracy\n1,2,3\n1,3,4\n", {}, "occurs twice"),
        ("a,gflops,accuracy\n1,0,3\n2,3,4\n", {}, "must be positive"),
        (TABLE, {"axes": ["depth"]}, "no such column"),
        (TABLE, {"rungs": ["acc_10"]}, "COLUMN:EPOCHS"),
        (TABLE, {"axes": ["dim", "kind"], "rungs": ["accuracy:90", "acc_10:10"]}, "ascend"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_error(tmp_path, text, options, match):
    """The file, and the column or row at fault."""
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        table_world(str(path), **options)


def test_no_such_world():
    """The worlds there are."""
    with pytest.raises(InputError, match="small-mild"):
        world("huge")
