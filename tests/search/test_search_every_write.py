"""Killed between any two writes, a search goes on as if nothing had been."""

import collections
import json
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from every_write import drive, processes

RESULTS = ("front.csv", "trials.csv", "audit.json")


def life(context, folder, options, at=0):
    """One driver, killed before write ``at`` (0: never); its exit code."""
    folder.mkdir(exist_ok=True)
    process = context.Process(target=drive, args=(folder, options, at))
    process.start()
    process.join(300)
    return process.exitcode


def ledger(folder):
    """The study of the ledger; None before there is one."""
    try:
        head = json.loads((folder / "run" / "run.json").read_text())
        storage = f"sqlite:///{folder}/run/study.db"
        return optuna.load_study(study_name=head["study"], storage=storage)
    except (FileNotFoundError, KeyError):
        return None


def trials(folder):
    study = ledger(folder)
    return study.trials if study else []


def finals(folder):
    """Re-trainings in the ledger as (trial, seed)."""
    study = ledger(folder)
    names = study.user_attrs if study else ()
    return [name.split(":")[1:] for name in names if name.startswith("final:")]


def worked(folder):
    """How often each rung, "trial rung" or "trial rung seed-S", was really worked on."""
    log = folder / "log.txt"
    return collections.Counter(log.read_text().splitlines() if log.exists() else ())


def sequence(folder):
    return [
        (t.params, t.state, t.values, [s["accuracy"] for s in t.user_attrs.get("scores", ())])
        for t in trials(folder)
    ]


def killed_and_gone_on(context, folder, options, at, alone):
    """What a driver killed at its write ``at`` leaves is taken up and ended as ``alone`` was."""
    assert life(context, folder, options, at) == -9
    kept = {
        f"{t.number} {rung}"
        for t in trials(folder)
        for rung in range(len(t.user_attrs.get("scores", ())))
    }
    kept |= {f"{n} {rung} seed-{s}" for n, s in finals(folder) for rung in range(options["rungs"])}
    before = worked(folder)
    assert life(context, folder, options) == 0
    after = worked(folder)
    assert not kept & (after - before).keys(), f"write {at}: a recorded rung was worked on again"
    assert (after - before).total() <= alone["rungs"] - before.total() + 1
    assert "RUNNING" not in {t.state.name for t in trials(folder)}
    assert sequence(folder) == alone["sequence"], f"write {at}"
    for name in RESULTS:
        assert (folder / "run" / name).read_bytes() == alone[name], f"write {at}"
    left = {path.name for path in (folder / "run").rglob(".*")}
    assert left == {".lock"}, f"write {at}"


def every_write(tmp_path, options, *, step=1):
    """Kill before every ``step``-th write; see that the search then ends as if left alone."""
    context = processes()
    assert life(context, tmp_path / "alone", options) == 0
    alone = {name: (tmp_path / "alone/run" / name).read_bytes() for name in RESULTS}
    alone["sequence"] = sequence(tmp_path / "alone")
    alone["rungs"] = worked(tmp_path / "alone").total()
    writes = int((tmp_path / "alone" / "writes").read_text())
    assert writes > 30
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(killed_and_gone_on, context, tmp_path / str(at), options, at, alone)
            for at in range(1, writes + 1, step)
        ]
        for future in done:
            future.result()


def test_killed_before_some_write_a_search_goes_on(tmp_path):
    """However far the driver came: no rung in the ledger is worked on again, nothing stays RUNNING,
    and candidates, scores and result files are those of a search that was left alone.
    """
    every_write(tmp_path, {"trials": 3, "rungs": 2, "final_seeds": 1}, step=7)


@pytest.mark.slow
def test_killed_before_any_write_a_search_goes_on(tmp_path):
    """The same before each write."""
    every_write(tmp_path, {"trials": 3, "rungs": 2, "final_seeds": 1})


def test_a_candidate_that_a_lost_connection_left_twice_is_trained_once(tmp_path):
    """The ledger's database did its part and the answer was lost: the second one has failed."""
    context = processes()
    options = {"trials": 4, "rungs": 2}
    assert life(context, tmp_path, options, at=14) == -9
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    storage = f"sqlite:///{tmp_path}/run/study.db"
    study = optuna.load_study(study_name=head["study"], storage=storage)
    study.add_trial(next(t for t in study.trials if t.state.name == "RUNNING"))
    twice = study.trials[-1].number
    assert life(context, tmp_path, options) == 0
    assert max(worked(tmp_path).values()) <= 2  # what the kill cut off, perhaps
    failed = [t for t in trials(tmp_path) if t.state.name == "FAIL"]
    assert [(t.number, t.user_attrs["reason"]) for t in failed] == [(twice, "recorded twice")]
    assert not any(line.startswith(f"{twice} ") for line in worked(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["auto", "random", "nsga2"])
def test_killed_before_any_write_a_longer_search_goes_on(tmp_path, sampler):
    """The same with proposals that a sampler learned, rejections by a budget and three rungs."""
    options = {"trials": 14, "rungs": 3, "sampler": sampler, "budget_gflops": 0.009}
    every_write(tmp_path, options | {"tables": True})
