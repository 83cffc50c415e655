"""What benchmarks/gpu_session.py does side by side: the queue, its processes, how they end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gpu_crowd
from gpu_crowd import Crowd, Task, problems, wanted
from gpu_plan import full, short
from gpu_runner import Runner, Section

STAND_IN = """
import json, os, subprocess, sys, time
for line in sys.stdin:
    task = json.loads(line)
    word, _, rest = str(task["item"]).partition(" ")
    if word == "die":
        print("last words", file=sys.stderr)
        os._exit(7)
    if word == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(rest, "w").write(str(child.pid))
    if word in ("sleep", "child"):
        time.sleep(600 if word == "child" else float(rest))
    result = {"pid": os.getpid(), "threads": os.environ["TORCHINDUCTOR_COMPILE_THREADS"],
              "at": time.monotonic()}
    print(json.dumps({"name": task["item"], "status": "passed", "seconds": 0, "text": "",
                      "result": result, "last": word == "last"}), flush=True)
    if word == "last":
        time.sleep(float(rest or 0))
        break
"""
"""A worker without torch: "die" dies, "last" answers and ends, as after a CUDA error."""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> None:
    """Workers are quick ones."""
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    script = tmp_path / "worker.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(gpu_crowd, "SCRIPT", str(script))


def tasks(*items, kind="checks", cores=1):
    return [Task(kind=kind, item=item, cores=cores) for item in items]


def joined(listed, limit_s=100.0, most=2):
    """(rows with their kinds, the section's outcome, the crowd) of tasks that were done."""
    rows, most_at_once = [], []
    crowd = Crowd(listed, "cpu", limit_s=100, most=most)

    def note(kind, row):
        most_at_once.append(sum(w.cores for w in crowd.workers if not w.over))
        rows.append((kind, row))

    section = Section(name="side by side", weight=1, run=lambda r: crowd.join(r, note))
    runner = Runner([section], limit_s=limit_s, say=lambda _: None)
    runner.run()
    assert max(most_at_once, default=0) <= most
    return rows, runner.outcomes[0], crowd


def names(rows):
    return [row["name"] for _, row in rows]


def test_few_processes_do_many_tasks_in_order(stand_in):
    """Never more than there are cores; each one is given the next task of the queue."""
    rows, outcome, _ = joined(tasks(*map(str, range(20))), most=3)
    assert sorted(names(rows), key=int) == [str(i) for i in range(20)]
    assert len({row["result"]["pid"] for _, row in rows}) <= 3
    assert (outcome.status, outcome.left_out) == ("ok", [])


def test_a_process_that_dies_costs_one_task(stand_in):
    """It is a failure with its last words; another process does the rest."""
    rows, outcome, _ = joined(tasks("a", "die", "b", "c", "die again", "d"), most=1)
    assert names(rows) == ["a", "b", "c", "d"]
    assert len({row["result"]["pid"] for _, row in rows}) == 3
    assert outcome.status == "failed"
    assert [f["what"] for f in outcome.failures] == ["checks: die", "checks: die again"]
    assert all("last words" in text for text in outcome.left_out)
    assert "exit code 7" in outcome.failures[0]["error"]


def test_a_process_that_lost_its_device_answers_and_another_goes_on(stand_in):
    """What it answered counts; nothing is left out."""
    rows, outcome, _ = joined(tasks("a", "last", "b", "last", "c"), most=1)
    assert names(rows) == ["a", "last", "b", "last", "c"]
    assert (outcome.status, outcome.left_out) == ("ok", [])


def test_a_process_that_is_about_to_end_is_given_no_task(stand_in):
    """Its last answer says that it is the last, however long it takes to be gone."""
    rows, outcome, _ = joined(tasks("a", "last 0.3", "b", "last 0.3", "c"), most=1)
    assert names(rows) == ["a", "last 0.3", "b", "last 0.3", "c"]
    assert len({row["result"]["pid"] for _, row in rows}) == 3
    assert (outcome.status, outcome.failures, outcome.left_out) == ("ok", [], [])


def test_what_has_not_ended_in_time_is_listed_and_killed_with_its_children(stand_in, tmp_path):
    """A compiler's pool that lived on would disturb the timings."""
    note = tmp_path / "pid"
    rows, outcome, crowd = joined(tasks("quick", f"child {note}", "sleep 600", "never"), limit_s=5)
    assert names(rows) == ["quick"]
    assert [text.endswith("no time") for text in outcome.left_out] == [True] * 3
    assert all(worker.process.returncode is not None for worker in crowd.workers)
    child = int(note.read_text())
    for _ in range(100):
        if not running(child):
            break
        time.sleep(0.05)
    assert not running(child)


def test_a_signal_in_the_middle_of_looking_at_a_process_ends_it_all_the_same(stand_in):
    """Its handler runs while the interrupted ``poll`` holds the process's lock, for ever."""
    crowd = Crowd(tasks("sleep 600"), "cpu", limit_s=100, most=1)
    crowd.start()
    process = crowd.workers[0].process
    with process._waitpid_lock:
        begin = time.monotonic()
        crowd.end()
        assert time.monotonic() - begin < 30
    assert process.wait(30) == -9


def running(process: int) -> bool:
    """Whether it is there and no zombie that nobody has waited for."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_networks_come_last_and_have_cores_of_their_own(stand_in):
    """The compiler's processes are counted; other processes make room."""
    listed = [*tasks("sleep 0.2", "b", "c", "d"), *tasks("n", "m", kind="networks", cores=4)]
    rows, outcome, _ = joined(listed, most=4)
    assert names(rows)[-2:] == ["n", "m"]
    assert [row["result"]["threads"] for _, row in rows] == ["1"] * 4 + ["4"] * 2
    assert outcome.status == "ok"


def test_networks_are_not_waited_for_too_long(stand_in, monkeypatch):
    """When all else is done they have so many seconds more, and the phase ends."""
    monkeypatch.setattr(gpu_crowd, "PATIENCE_S", 0.5)
    listed = [*tasks("a"), *tasks("sleep 600", kind="networks", cores=4)]
    begin = time.monotonic()
    rows, outcome, _ = joined(listed, most=4)
    assert time.monotonic() - begin < 30
    assert names(rows) == ["a"]
    assert outcome.left_out == ["networks: sleep 600: no time"]


def test_a_machine_of_one_core_does_it_all_one_after_another(stand_in):
    """Also what would like more cores than there are."""
    listed = [*tasks("a", "b"), *tasks("n", kind="networks", cores=4)]
    crowd = Crowd(listed, "cpu", limit_s=100, most=0)
    rows = []
    runner = Runner(
        [Section(name="x", weight=1, run=lambda r: crowd.join(r, lambda *row: rows.append(row)))],
        limit_s=100, say=lambda _: None,
    )  # fmt: skip
    runner.run()
    assert names(rows) == ["a", "b", "n"]


def test_real_workers_answer_each_item_and_go_on_after_a_failed_one():
    """A failed item is a row with its traceback; an unknown kind is a failure."""
    fine = [1, 4, 4, 1, 4, 1, [1], "fp32", True]
    wrong = [1, 4, 4, 0, 4, 1, [1], "fp32", False]
    listed = [*tasks(wrong, fine, kind="kernels"), *tasks("x", kind="nope")]
    rows, outcome, _ = joined(listed, most=1)
    assert [(kind, row["status"]) for kind, row in rows] == [
        ("kernels", "failed"), ("kernels", "passed"),
    ]  # fmt: skip
    assert rows[0][1]["traceback"]
    assert outcome.status == "failed"
    assert outcome.failures[0]["what"] == "nope: x"
    assert "KeyError" in outcome.left_out[0]


def test_the_kernels_that_a_plan_meets_are_compiled_beforehand():
    """Both MSDA maps of every variant in every data type, with gradients where something trains;
    other backends have no kernels."""
    found = problems(full(("matmul",)))
    assert {tuple(p[1:5]) for p in found} == {
        (56, 56, 3, 24), (28, 28, 6, 24), (56, 56, 3, 32), (28, 28, 6, 32),
    }  # fmt: skip
    assert {p[0] for p in found} == {1, 8, 32}
    assert {p[-2] for p in found} == {"bf16", "fp16", "fp32"}
    assert {p[-2] for p in found if p[-1]} == {"bf16", "fp32"}
    assert len({str(p) for p in found}) == len(found)


def test_tasks_follow_the_sections_most_valuable_first():
    """Nothing that no section wants; on a CPU nothing is compiled; the compiler is last."""
    plan = full(())

    def kinds(device, sections, plan=plan):
        return list(dict.fromkeys(task.kind for task in wanted(plan, device, sections)))

    assert kinds("cuda", ["checks", "memory", "compile"]) == [
        "checks", "memory", "kernels", "networks",
    ]  # fmt: skip
    assert kinds("cuda", ["checks", "memory", "compile"], short(())) == [
        "checks", "memory", "kernels",
    ]  # fmt: skip
    assert kinds("cuda", ["sweep"]) == ["kernels"]
    assert kinds("cpu", ["sweep", "compile"]) == []
    listed = wanted(plan, "cuda", ["checks", "compile"])
    checks = [task.item for task in listed if task.kind == "checks"]
    assert checks == [*plan.checks, *plan.slow_checks]
