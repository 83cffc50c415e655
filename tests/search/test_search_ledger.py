"""The ledger: a real Optuna study in a real SQLite file."""

import optuna
import pytest

from dilnas.errors import RunError
from dilnas.search.candidate import Figures, RungScore
from dilnas.search.ledger import Ledger

AXES = [("width", 4), ("depth", 3), ("fixed", 1)]
COST = Figures(gflops=1.5, mparams=2.0, mb=8.0)


def opened(folder):
    return Ledger(f"sqlite:///{folder}/study.db", "s", AXES, "gflops")


def add(ledger, code, **options):
    return ledger.create(
        code=code, key=f"k{code}", layout="D1", origin="nsc", figures=COST, **options
    )


def score(accuracy):
    return RungScore(accuracy=accuracy, seconds=2.0, images=64)


def test_what_is_written_is_read_back(tmp_path):
    """A ledger opened again holds the same candidates as the one that wrote them."""
    ledger = opened(tmp_path)
    add(ledger, (0, 1, 0), target=0)
    add(ledger, (1, 1, 0), target=0)
    add(ledger, (2, 1, 0), target=0)
    add(ledger, (3, 2, 0), rejected="over budget")
    add(ledger, (3, 1, 0), target=0)
    for number in range(3):
        ledger.score(number, score(0.5 + number / 10))
    ledger.send(0, 1)
    ledger.score(0, score(0.7))
    ledger.complete(0)
    ledger.prune(1, "stopped at rung 0")
    ledger.fail(4, "ValueError: no")
    ledger.note("test_accuracy", {"0": 0.6})
    again = opened(tmp_path)
    assert again.candidates == ledger.candidates
    assert [c.state for c in again.candidates] == [
        "complete", "pruned", "running", "rejected", "failed",
    ]  # fmt: skip
    assert again.notes()["test_accuracy"] == {"0": 0.6}


def test_optuna_states_say_what_happened(tmp_path):
    """COMPLETE only with both objectives; partial fidelity is PRUNED without values."""
    ledger = opened(tmp_path)
    for code in ((0, 0, 0), (1, 0, 0), (2, 0, 0)):
        add(ledger, code, target=0)
        ledger.score(ledger.next_number - 1, score(0.5))
    ledger.complete(0)
    ledger.prune(1, "stopped")
    ledger.fail(2, "diverged")
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db")
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.trials[0].values == [0.5, 1.5]
    assert study.trials[1].values is None
    assert study.trials[1].user_attrs["scores"][0]["accuracy"] == 0.5
    assert [t.number for t in study.best_trials] == [0]


def test_unusable_storage_is_one_clear_line(tmp_path):
    """A URL that SQLAlchemy cannot use raises RunError and shows no password."""
    with pytest.raises(RunError) as caught:
        Ledger("nosuchdb://user:secret@host/db", "s", AXES, "gflops")
    assert "secret" not in str(caught.value)
    with pytest.raises(RunError):
        Ledger(f"sqlite:///{tmp_path}/missing/study.db", "s", AXES, "gflops")


def test_a_storage_that_is_open_already_will_do(tmp_path):
    """In memory, for a simulation: the same ledger, gone with the process."""
    storage = optuna.storages.InMemoryStorage()
    ledger = Ledger(storage, "s", AXES, "gflops")
    add(ledger, (0, 1, 0), target=0)
    ledger.score(0, score(0.5))
    ledger.complete(0)
    assert Ledger(storage, "s", AXES, "gflops").candidates == ledger.candidates
    ledger.close()
