"""Whole searches: real Optuna storage, real Ray, a closed-form evaluator instead of training."""

import collections
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from closed_form_world import World

from dilnas.errors import BudgetError, DeviceError, InputError, RunError
from dilnas.lock import run_lock
from dilnas.ray_session import ray_session
from dilnas.runs import RunDirectory
from dilnas.search import search
from dilnas.search.events import Progress, UnitDone

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all searches of this module."""
    with ray_session(2):
        yield


def run(folder, **options):
    world = World(str(folder / "log.txt"), fails=options.pop("fails", ""))
    values = {"space": "smoke", "trials": 12, "workers": 2, "out": str(folder / "run")}
    return search(**(values | options), evaluator=world)


def worked(folder):
    """How often each (trial, rung) was really worked on."""
    return collections.Counter((folder / "log.txt").read_text().split("\n")[:-1])


def states(folder):
    head = json.loads((folder / "run" / "run.json").read_text())
    study = optuna.load_study(study_name=head["study"], storage=f"sqlite:///{folder}/run/study.db")
    return [trial.state.name for trial in study.trials]


def test_a_search_and_the_same_again(tmp_path, cluster):
    """A front of full-fidelity points within budget; the same call again trains nothing."""
    events = []
    result = run(tmp_path, on_event=events.append, budget_gflops=0.0115)
    rows = RunDirectory(tmp_path / "run").front_rows()
    front = [row for row in rows if row["trial"] is not None]
    trials = RunDirectory(tmp_path / "run").trial_rows()
    assert len(front) >= 4
    assert all(row["gflops"] <= 0.0115 for row in front)
    assert all(row["test_accuracy"] == pytest.approx(row["val_accuracy"] - 0.01) for row in front)
    assert {row["reference"] for row in rows} >= {"tiny", "small", "base"}
    complete = {row["trial"] for row in trials if row["state"] == "complete"}
    assert {row["trial"] for row in front} <= complete
    assert len(complete) >= 8
    assert sum(row["state"] != "rejected" for row in trials) == 12
    assert "RUNNING" not in states(tmp_path) and "WAITING" not in states(tmp_path)
    assert max(worked(tmp_path).values()) == 1
    for row in trials:
        architecture = RunDirectory(tmp_path / "run").architecture(row["trial"])
        assert architecture.key == row["key"]
    assert sum(isinstance(e, UnitDone) for e in events) == result.trained
    assert any(isinstance(e, Progress) and len(e.running) == 2 for e in events)
    assert not (tmp_path / "run" / ".ray").exists()

    before = worked(tmp_path)
    again = run(tmp_path, budget_gflops=0.0115)
    assert again.trained == 0
    assert worked(tmp_path) == before
    assert again.front == result.front and again.hypervolume == result.hypervolume

    more = run(tmp_path, budget_gflops=0.0115, trials=15)
    assert sum(row["state"] != "rejected" for row in more.trials) == 15
    assert max(worked(tmp_path).values()) == 1

    with pytest.raises(RunError, match="seed differs"):
        run(tmp_path, budget_gflops=0.0115, seed=1)
    with pytest.raises(RunError, match="budgets differs"):
        run(tmp_path, budget_gflops=0.01)
    with run_lock(tmp_path / "run"), pytest.raises(RunError, match="another search"):
        run(tmp_path, budget_gflops=0.0115)


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("raise", "ValueError: this one does not train"),
        ("nan", "diverged"),
        (
            "exit",
            "worker died: killed (out of memory?) or crashed in native code; for the second time",
        ),
    ],
)
def test_candidates_that_fail_are_told_so_and_stop_nothing(tmp_path, cluster, fails, reason):
    """An exception, a NaN or a twice killed worker fails its candidate alone, with the reason."""
    result = run(tmp_path, trials=6, fails=fails)
    failed = [row for row in result.trials if row["state"] == "failed"]
    assert {row["trial"] for row in failed} == {1, 2}
    assert all(reason in row["reason"] for row in failed)
    assert not {1, 2} & {row["trial"] for row in result.front if row.get("trial", "") != ""}
    assert states(tmp_path).count("FAIL") == 2 and "RUNNING" not in states(tmp_path)


def test_a_worker_that_cannot_start_stops_the_search_at_once(tmp_path, cluster):
    """What every worker lacks is one error, not a failure of each candidate; it can go on then."""
    with pytest.raises(RunError, match=r"no worker can start: .*no such module"):
        run(tmp_path, fails="start")
    assert states(tmp_path).count("RUNNING") <= 2 and "FAIL" not in states(tmp_path)
    result = run(tmp_path)
    assert "failed" not in {row["state"] for row in result.trials}
    assert "RUNNING" not in states(tmp_path)


@pytest.mark.slow
def test_a_storage_elsewhere_holds_several_searches(tmp_path, cluster):
    """Two runs in one database do not mix; the second call of each finds its own."""
    url = f"sqlite:///{tmp_path}/all.db"
    one = run(tmp_path, storage=url, trials=4)
    two = run(tmp_path, storage=url, trials=5, out=str(tmp_path / "second"))
    assert len(one.trials) == 4 and len(two.trials) == 5
    assert run(tmp_path, storage=url, trials=4).trained == 0
    assert not (tmp_path / "run" / "study.db").exists()
    with pytest.raises(RunError, match="storage differs"):
        run(tmp_path, trials=4)


@pytest.mark.parametrize(
    "url",
    ["hello", "nosuchdb://u:secret@h/db", "sqlite://", "sqlite:////no/such/folder/x.db"],
)
def test_a_storage_that_cannot_be_used_is_one_error_and_nothing_is_written(tmp_path, url):
    """Malformed, unknown, in memory, nowhere: no run directory, no password in the message."""
    with pytest.raises(RunError) as caught:
        run(tmp_path, storage=url)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_directory_is_one_error(tmp_path, cluster):
    """run.json or study.db that is no longer what it was: RunError naming the file."""
    run(tmp_path, trials=3)
    folder = tmp_path / "run"
    head = (folder / "run.json").read_text()
    for text in ("", "{", "[]", "{}", head.replace('"study"', '"stud"')):
        (folder / "run.json").write_text(text)
        with pytest.raises(RunError, match=r"run\.json"):
            run(tmp_path, trials=3)
    (folder / "run.json").write_text(head)
    whole = (folder / "study.db").read_bytes()
    (folder / "study.db").write_bytes(b"junk" * 1000)
    with pytest.raises(RunError, match=r"study\.db"):
        run(tmp_path, trials=3)
    (folder / "study.db").unlink()
    with pytest.raises(RunError, match="ledger is missing"):
        run(tmp_path, trials=3)
    (folder / "study.db").write_bytes(whole)
    assert run(tmp_path, trials=3).trained == 0


def test_a_time_limit_ends_a_search_that_has_no_other_end(tmp_path, cluster):
    """After the limit no unit begins; what was begun is in the ledger, nothing stays RUNNING."""
    result = run(tmp_path, trials=None, time_limit=1.5)
    assert result.trained > 0
    assert "RUNNING" not in states(tmp_path)


def driver(folder, trials):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from closed_form_world import World\n"
        "from dilnas.search import search\n"
        "from dilnas.search.events import UnitDone\n"
        "def show(e):\n"
        "    if isinstance(e, UnitDone): print('unit', flush=True)\n"
        "r = search(space='smoke', trials=int(sys.argv[3]), workers=2, sampler='random',\n"
        "    out=sys.argv[2] + '/run', evaluator=World(sys.argv[2] + '/log.txt', pause=0.1),\n"
        "    on_event=show)\n"
        "sys.exit(130 if r.interrupted else 0)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(HERE), str(folder), str(trials)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def after_units(process, count):
    for _ in range(count):
        assert process.stdout.readline() == "unit\n"


@pytest.mark.slow
def test_kill_and_ctrl_c_lose_nothing(tmp_path):
    """Killed in the middle and interrupted in the middle, then run to its end.

    No trial stays RUNNING, no finished rung is worked on again, partial scores are on no front,
    Ctrl-C exits with 130, and the finished trials are those that a run in one go would have.
    """
    process = driver(tmp_path, 10)
    after_units(process, 3)
    process.kill()
    process.wait()
    assert "RUNNING" in states(tmp_path)
    process = driver(tmp_path, 10)
    after_units(process, 4)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    time.sleep(1)  # a worker of the killed session may be writing its last line
    process = driver(tmp_path, 10)
    assert process.wait(120) == 0
    assert set(states(tmp_path)) <= {"COMPLETE", "PRUNED"}
    assert len(states(tmp_path)) == 10
    with (tmp_path / "run" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert len(json.loads(row["rung_scores"])) == 3 or row["on_front"] == "0"
    # A unit that was in the air when the driver died may be begun twice, never a recorded one.
    assert sum(count - 1 for count in worked(tmp_path).values()) <= 4


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"workers": 0}, InputError, "--workers"),
        ({"trials": 0}, InputError, "--trials"),
        ({"budget_gflops": -1.0}, InputError, "--budget-gflops"),
        ({"budget_gflops": float("nan")}, InputError, "--budget-gflops"),
        ({"budget_gflops": 1e-6}, BudgetError, "gflops"),
        ({"objectives": ("accuracy",)}, InputError, "--objectives"),
        ({"objectives": ("accuracy", "speed")}, InputError, "--objectives"),
        ({"sampler": "magic"}, InputError, "--sampler"),
        ({"gpus_per_trial": 64}, DeviceError, "--gpus-per-trial"),
        ({"time_limit": -1}, InputError, "--time-limit"),
        ({"out": "/dev/null/run"}, RunError, "/dev/null"),
        ({"address": "127.0.0.1:9"}, InputError, "--address"),
        ({"address": "ray://somewhere:1"}, InputError, "--address"),
    ],
)
def test_bad_values_are_refused_and_nothing_is_written(tmp_path, options, kind, word):
    """One clear line that names the option; no run directory."""
    with pytest.raises(kind, match=word):
        run(tmp_path, **options)
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_somebody_has_on_this_machine_is_left_alone():
    """A search without --address has a Ray of its own, on the loopback."""
    code = (
        "from dilnas.ray_session import ray_session\n"
        "with ray_session(1):\n"
        "    import ray; print(ray.get_runtime_context().gcs_address.split(':')[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:9"},
    )  # fmt: skip
    assert done.stdout.strip() == "127.0.0.1"


def test_a_cluster_that_asks_for_a_token_is_an_error_that_says_how_to_give_it(cluster):
    """Before a search begins, and where a driver joins it."""
    import ray

    address = ray.get_runtime_context().gcs_address
    code = (
        "import sys\n"
        "from dilnas.errors import InputError\n"
        "from dilnas.ray_session import check_cluster, ray_session\n"
        "def join(address):\n"
        "    with ray_session(1, address=address): pass\n"
        "for use in (check_cluster, join):\n"
        "    try: use(sys.argv[1])\n"
        "    except InputError as error: print(error)"
    )
    env = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, check=True, env=env
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    for line in lines:
        assert "asks for a token" in line and "RAY_AUTH_MODE=token" in line, line


def test_importing_the_room_loads_nothing_heavy():
    """``dilnas.search`` imports without torch, Ray, Optuna and numpy."""
    code = (
        "import sys, dilnas.search; "
        "print({'torch', 'ray', 'optuna', 'numpy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
