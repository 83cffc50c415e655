"""Proposals: within budget, new, and the same after every rebuild."""

from dataclasses import replace

import pytest

from dilnas.errors import BudgetError
from dilnas.search.candidate import Candidate, RungScore, figures
from dilnas.search.domain import SpaceDomain
from dilnas.search.proposer import Proposer
from dilnas.search.sampling import reference_rung
from dilnas.space import SearchSpace
from dilnas.variants import VARIANTS

BUDGET = {"gflops": 4.0}


def proposer(sampler="auto", budgets=None, seed=0):
    space = SearchSpace.load("dilateformer")
    return Proposer(SpaceDomain(space), budgets or BUDGET, "gflops", seed, sampler)


def scored(proposal, number):
    """A candidate of the ledger, with a score that grows with its parameters."""
    rejected = bool(proposal.reason)
    accuracy = 0.9 - 1 / (1 + proposal.figures.mparams)
    return Candidate(
        number=number,
        code=proposal.code,
        key=proposal.key,
        layout=proposal.layout,
        origin=proposal.origin,
        figures=proposal.figures,
        state="rejected" if rejected else "running",
        scores=() if rejected else (RungScore(accuracy=accuracy, seconds=1, images=1),),
        target=-1 if rejected else 0,
    )


def sequence(make, steps, kept=()):
    """The ledger after ``steps`` more proposals, with a new proposer for each."""
    ledger = list(kept)
    for proposal in make().designs(24) if not ledger else []:
        ledger.append(scored(proposal, len(ledger)))
    for _ in range(steps):
        for proposal in make().propose(ledger, len(ledger)):
            ledger.append(scored(proposal, len(ledger)))
    return ledger


def test_designs_are_the_paper_variants_and_a_spread_of_the_spectral_front():
    """Tiny fits 4 GFLOPs and is trained; Small and Base are shown as rejected; NSC designs span."""
    designs = proposer().designs(24)
    variants = [p for p in designs if p.origin == "variant"]
    assert [p.architecture for p in variants] == list(VARIANTS.values())
    assert [bool(p.reason) for p in variants] == [False, True, True]
    trained = [p for p in designs if not p.reason]
    assert len(trained) == 12
    assert len({p.architecture.key for p in trained}) == 12
    costs = [p.figures.gflops for p in trained]
    assert max(costs) <= 4 and min(costs) < 1.6 and max(costs) > 3.2


@pytest.mark.parametrize("sampler", ["auto", "gp", "tpe", "nsga2", "random"])
def test_a_rebuilt_proposer_goes_on_as_the_first_would_have(sampler):
    """Same seed: the same sequence, also when the driver was restarted in the middle of it."""
    whole = sequence(lambda: proposer(sampler), 3)
    one = proposer(sampler)
    half = sequence(lambda: one, 1)
    resumed = sequence(lambda: proposer(sampler), 2, kept=half)
    assert [c.code for c in whole] == [c.code for c in resumed]
    assert whole[-1].origin == ("ehvi" if sampler == "auto" else sampler)


def test_everything_to_train_fits_and_is_new():
    """No proposal to be trained is over a budget or an architecture that was seen before."""
    budgets = {"gflops": 1.2, "mparams": 6.0}
    ledger = sequence(lambda: proposer("nsga2", budgets), 6)
    trained = [c for c in ledger if c.state != "rejected"]
    assert all(c.figures.gflops <= 1.2 and c.figures.mparams <= 6 for c in trained)
    assert all(c.figures.over(budgets) for c in ledger if c.state == "rejected")
    assert len({c.key for c in ledger}) == len(ledger)


def test_another_seed_proposes_something_else():
    """The seed matters."""
    first = sequence(lambda: proposer("random"), 2)
    second = sequence(lambda: proposer("random", seed=1), 2)
    assert [c.code for c in first] != [c.code for c in second]


def test_a_space_that_holds_nothing_new_says_so():
    """When every architecture within the budget is known, there is no proposal."""
    space = SearchSpace.load("smoke")
    small = Proposer(SpaceDomain(space), {"mparams": 0.3}, "gflops", 0, "random")
    ledger = []
    while (found := small.propose(ledger, len(ledger))) and len(ledger) < 500:
        ledger += [scored(proposal, len(ledger) + i) for i, proposal in enumerate(found)]
    fits = {
        architecture.key
        for architecture in map(space.decode, space.enumerate())
        if figures(architecture, space.image_size, None).mparams <= 0.3
    }
    assert {c.key for c in ledger} == fits


def test_a_corner_of_the_space_is_found():
    """A budget that only a tiny share of the space meets still gives proposals."""
    space = SearchSpace.load("dilateformer")
    costs = proposer(budgets={"gflops": 50.0}).designs(24)
    cheapest = min(p.figures.mparams for p in costs if not p.reason)
    tight = Proposer(SpaceDomain(space), {"mparams": cheapest * 1.05}, "gflops", 0)
    assert all(p.figures.mparams <= cheapest * 1.05 for p in tight.designs(8) if not p.reason)
    with pytest.raises(BudgetError):
        Proposer(SpaceDomain(space), {"mparams": 1e-4}, "gflops", 0)


def test_the_model_learns_from_the_highest_rung_that_enough_have_reached():
    """Eleven scores at rung 1 are enough for a space of few axes; ten of many are not."""
    base = scored(proposer().designs(2)[0], 0)
    high = replace(base, scores=base.scores * 2)
    assert reference_rung([high] * 11, axes=5) == 1
    assert reference_rung([high] * 11, axes=19) == 0
    assert reference_rung([high] * 9 + [base] * 9, axes=5) == 0
    assert reference_rung([], axes=5) == 0
