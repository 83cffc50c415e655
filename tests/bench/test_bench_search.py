"""Simulated searches go through the real proposer, scheduler, loop and ledger."""

import io
import json
import subprocess
import sys

import numpy as np
import optuna
import pytest
from rich.console import Console

from dilnas.bench.comparing import Job, RungRow, compared, rungs_compared, traces
from dilnas.bench.shown import document, rung_table
from dilnas.bench.simulation import simulate
from dilnas.bench.tables import table_world
from dilnas.bench.worlds import world


@pytest.fixture(scope="module")
def small():
    return world("small-mild")


def test_equal_arguments_give_an_equal_search(small):
    """Nothing but the seed decides; another seed is another search."""
    one, two, other = (simulate(small, "auto", 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.codes, two.codes) and np.array_equal(one.noisy, two.noisy)
    assert not np.array_equal(one.codes, other.codes)


def test_everything_trained_fits_the_budget_and_is_new(small):
    """As in the product: no training is spent on what is over budget or known."""
    found = simulate(small, "auto", 40, 3)
    assert (small.domain.costs(found.codes)["gflops"] <= small.budgets["gflops"]).all()
    keys = {small.domain.member(code).key for code in found.codes}
    assert len(keys) == len(found.codes) == 40


def test_the_ledger_is_a_real_study(small):
    """An Optuna storage that is handed in holds every candidate with both objectives."""
    storage = optuna.storages.InMemoryStorage()
    found = simulate(small, "tpe", 15, 0, storage=storage)
    study = optuna.load_study(study_name="world", storage=storage)
    done = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert len(done) == 15
    assert sorted(t.values[0] for t in done) == pytest.approx(sorted(found.noisy))


def test_with_rungs_few_are_trained_to_the_end_and_only_they_count():
    """Less is spent than full trainings cost; partial scores are in no trace."""
    here = world("small-flat", rungs=True)
    found = simulate(here, "auto", 45, 0)
    assert len(found.started) == 45
    assert 8 <= len(found.codes) <= 20
    assert found.spent < 0.5 * 45
    assert found.epochs[-1] <= found.spent + 1e-9 and (np.diff(found.epochs) > 0).all()


def test_many_workers_lose_little_and_finish_sooner(small):
    """Sixteen at once: a tenth of the time, and still far better than random search."""
    alone, crowd = (simulate(small, "auto", 48, 0, workers=n) for n in (1, 16))
    assert crowd.seconds < alone.seconds / 10
    dice = simulate(small, "random", 48, 0)
    assert small.regret(crowd.codes) < 0.7 * small.regret(dice.codes)


def test_the_default_sampler_beats_random_search_by_far(small):
    """Ten seeds of random search against three: the median regret is less than half."""
    mine = [small.regret(simulate(small, "auto", 30, seed).codes) for seed in range(3)]
    dice = [small.regret(simulate(small, "random", 30, seed).codes) for seed in range(10)]
    assert np.median(mine) < 0.5 * np.median(dice)


def test_a_comparison_is_paired_and_names_its_tests(small):
    """Rows in the order asked; the first has no test against itself; random search is the goal."""
    told = []
    found = compared(
        small, ["ehvi", "random"], seeds=3, trials=25, goal_trials=60,
        tell=lambda *done: told.append(done),
    )  # fmt: skip
    first, second = found.rows
    assert (first.sampler, second.sampler) == ("ehvi", "random")
    assert first.regret.shape == (3, 1) and found.checkpoints == (25,)
    assert np.isnan(first.p) and 0 <= second.p <= 1
    assert second.effect > 0.5
    assert told[-1] == (9, 9)


def test_rungs_are_compared_by_the_epochs_for_the_same_hypervolume():
    """The ratio is what was spent over what full trainings needed to be as good."""
    full, stepped = world("small-flat"), world("small-flat", rungs=True)
    jobs = [Job(world=w, sampler="auto", trials=25, seed=0) for w in (full, stepped)]
    one, other = traces(jobs, 1, lambda *done: None)
    row = rungs_compared("auto", [one], [other], full)
    need = int(row.full_epochs[0]) if np.isfinite(row.full_epochs[0]) else None
    if need:
        assert full.regret(one.codes[:need]) <= full.regret(other.codes) + 1e-9
        assert need == 1 or full.regret(one.codes[: need - 1]) > full.regret(other.codes)
    assert row.epochs[0] == pytest.approx(other.spent)


def test_where_full_trainings_never_got_so_far_the_ratio_is_a_bound():
    """Not 0: at most what was spent over all that they spent; no number in JSON."""
    seeds = [np.array(values) for values in ([0.1] * 3, [20.0] * 3, [40, 50, np.inf], [80.0] * 3)]
    names = ("regret", "epochs", "full_epochs", "full_spent")
    row = RungRow(
        world="w", sampler="tpe", **dict(zip(names, seeds, strict=True)),
        complete=np.array([9, 9, 9]),
    )  # fmt: skip
    assert row.ratio.tolist() == [0.5, 0.4, 0.25]
    assert document([], [row])["rungs"][0]["ratio"] == [0.5, 0.4, None]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(rung_table([row]))
    assert "at most 0.40 [0.33–0.45]" in console.export_text()


def test_the_command_prints_tables_and_json(tmp_path):
    """A table of results through the real command: JSON on stdout, tables on stderr."""
    rng = np.random.default_rng(0)
    rows = ["a,b,c,gflops,half,accuracy"]
    for a in range(4):
        for b in range(4):
            for c in range(4):
                top = 60 + 4 * a + 2 * b - (c - 1) ** 2
                noise = rng.normal(0, 0.5)
                rows.append(f"{a},{b},{c},{1 + a + 0.3 * b},{top - 5 + noise},{top}")
    path = tmp_path / "results.csv"
    path.write_text("\n".join(rows) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "dilnas", "bench", "search", "--table", str(path), "--axes", "a,b,c",
         "--rungs", "half:1,accuracy:3", "--samplers", "ehvi,random", "--seeds", "3", "--trials",
         "25", "--with-rungs", "--jobs", "1", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["dilnas_bench"] == 1
    assert [s["sampler"] for s in found["worlds"][0]["samplers"]] == ["ehvi", "random"]
    assert [r["full_sampler"] for r in found["rungs"]] == ["ehvi", "random"]
    assert len(found["rungs"][0]["regret"]) == 3
    assert found["rungs"][0]["regret"] == found["rungs"][1]["regret"]  # one search, two yardsticks
    assert "regret % @25" in done.stderr and "with rungs" in done.stderr
    whole = table_world(str(path), axes=["a", "b", "c"], rungs=["half:1", "accuracy:3"])
    assert found["rungs"][0]["epochs"][0] < len(whole.domain.codes)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--world", "huge"], "no such world"),
        (["--world", "small-mild@one"], "no such world"),
        (["--samplers", "magic"], "unknown sampler"),
        (["--table", "/no/such.csv"], "cannot be read"),
        (["--trials", "3"], "--trials"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(options, match):
    """As everywhere."""
    done = subprocess.run(
        [sys.executable, "-m", "dilnas", "bench", "search", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert match in done.stderr and len(done.stderr.strip().splitlines()) == 1
