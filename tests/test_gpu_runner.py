"""The clockwork of benchmarks/gpu_session.py: shares, limits, failures, and what is planned."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from gpu_plan import check_names, full, quick, short
from gpu_runner import OutOfTime, Runner, Section, SectionSkipped, write_file
from gpu_state import pack_folder
from gpu_summary import table


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(works, *, limit_s=100.0, **options):
    """A runner that has run: ``works`` are (name, weight, function of runner and clock)."""
    clock, said = Clock(), []
    sections = [
        Section(name=name, weight=weight, run=lambda r, work=work: work(r, clock))
        for name, weight, work in works
    ]
    runner = Runner(sections, limit_s=limit_s, clock=clock, say=said.append, **options)
    runner.run()
    return runner, said


def spend(seconds):
    def work(runner, clock):
        clock.now += seconds

    return work


def raising(error):
    def work(runner, clock):
        raise error

    return work


def test_a_section_that_fails_does_not_stop_the_session():
    """Its traceback is kept, the next one runs, the exit code tells."""
    runner, said = run([("bad", 1, raising(ValueError("no\nluck"))), ("good", 1, spend(1))])
    assert [o.status for o in runner.outcomes] == ["failed", "ok"]
    assert "ValueError: no" in runner.outcomes[0].error
    assert "raise error" in runner.outcomes[0].traceback
    assert runner.exit_code() == 1
    assert any("bad: failed" in line for line in said)


def test_an_item_that_fails_is_kept_and_its_section_goes_on():
    """``fail`` notes it; the section counts as failed although it came to its end."""

    def work(runner, clock):
        try:
            raise KeyError("x")
        except KeyError as error:
            runner.fail("one item", error)
        clock.now += 3

    runner, _ = run([("mixed", 1, work)])
    (outcome,) = runner.outcomes
    assert (outcome.status, outcome.seconds) == ("failed", 3)
    assert outcome.failures[0]["what"] == "one item"
    assert "KeyError" in outcome.failures[0]["traceback"]


def test_a_section_that_cannot_run_here_is_skipped_with_the_reason():
    """No failure: the exit code is 0."""
    runner, _ = run([("gpu only", 1, raising(SectionSkipped("no GPU")))])
    assert (runner.outcomes[0].status, runner.outcomes[0].error) == ("skipped", "no GPU")
    assert runner.exit_code() == 0


def test_each_section_gets_its_share_of_what_is_left():
    """Unused time flows on, overdrawn time is taken from those that follow."""
    runner, _ = run([("a", 1, spend(0)), ("b", 1, spend(70)), ("c", 2, spend(0))], limit_s=120)
    assert [o.allowed_s for o in runner.outcomes] == [30, 40, 50]


def test_sections_beyond_the_limit_are_not_begun():
    """They are listed as having had no time, and that is no failure."""
    begun = []
    works = [("a", 1, spend(100)), ("b", 1, lambda runner, clock: begun.append("b"))]
    runner, said = run(works, limit_s=100)
    assert [o.status for o in runner.outcomes] == ["ok", "no time"]
    assert not begun
    assert runner.exit_code() == 0
    assert "b: no time left" in said[-1]


def test_a_section_that_asks_leaves_out_what_does_not_fit():
    """``enough`` answers by the section's own share and notes what was left out."""

    def work(runner, clock):
        for item in ("first", "second", "third"):
            if runner.enough(item, 10):
                clock.now += 25

    runner, _ = run([("a", 1, work), ("b", 1, spend(0))], limit_s=100)
    (left,) = runner.outcomes[0].left_out
    assert left.startswith("third: no time")
    assert runner.outcomes[0].seconds == 50


def test_the_alarm_ends_a_section_that_does_not_ask():
    """Also where a library would catch an Exception; the session goes on."""

    def work(runner, clock):
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001, S110 - what a library might do
            pass

    started = []
    sections = [
        Section(name="stuck", weight=1, run=lambda r: work(r, None)),
        Section(name="next", weight=1000, run=lambda r: started.append(1)),
    ]
    runner = Runner(sections, limit_s=100, say=lambda _: None, grace_s=0.1)
    runner.run()
    assert [o.status for o in runner.outcomes] == ["cut", "ok"]
    assert started
    assert not issubclass(OutOfTime, Exception)


def test_a_lost_device_hands_the_rest_on():
    """A CUDA error stays with its process: the section stops and later ones are not tried."""
    health = [""]

    def work(runner, clock):
        health[0] = "illegal memory access"
        runner.fail("kernel", RuntimeError("boom"))
        pytest.fail("not reached")

    runner, _ = run([("a", 1, work), ("b", 1, spend(1))], health=lambda: health[0])
    assert [o.status for o in runner.outcomes] == ["failed", "handed on"]
    assert "illegal memory access" in runner.outcomes[0].error
    assert runner.outcomes[0].failures[0]["what"] == "kernel"


def test_the_state_is_written_after_every_section_and_names_what_is_still_to_come():
    """So that a kill at any moment leaves a file that says where it was."""
    states = []
    works = [("a", 1, lambda runner, clock: runner.changed()), ("b", 1, spend(1))]
    run(works, on_change=lambda runner: states.append(runner.as_dict()["sections"]))
    seen = [[(s["name"], s["status"]) for s in state] for state in states]
    assert seen == [
        [("a", "running"), ("b", "pending")],
        [("a", "ok"), ("b", "pending")],
        [("a", "ok"), ("b", "ok")],
    ]


def test_the_full_plan_covers_what_was_asked_for():
    """All variants, dtypes, batch sizes, ways to run, modes and backends; the dear ones first."""
    plan = full(("matmul", "triton"))
    groups = (*plan.sweep, *plan.compiled)
    assert {g.name for g in groups} == {"tiny", "small", "base"}
    assert {g.dtype for g in groups} == {"fp32", "tf32", "fp16", "bf16"}
    assert {g.compile for g in groups} == {"eager", "graph", "compile"}
    assert {g.mode for g in groups} == {"inference", "train"}
    assert {"", "matmul", "triton", "oracle"} == {g.msda for g in groups}
    assert {1, 8, 64, 128} <= {batch for g in groups for batch in g.batches}
    assert {key[0] for key in plan.memory} == {"base", "tiny"}
    assert {key[1] for key in plan.memory} == {"train", "inference"}
    assert all(len(set(g.batches)) == len(g.batches) for g in groups)
    assert len(set(plan.sweep)) == len(plan.sweep)
    assert plan.sweep[0].dtype == "bf16"
    assert len(quick(()).sweep) < len(plan.sweep) / 4


def test_every_check_of_the_gpu_runs_in_one_place():
    """Side by side, with the compiler or when it is quiet; names read from the files are all."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "gpu"))
    from checks_measuring import every_check

    plan = full(())
    placed = (*plan.checks, *plan.quiet_checks, *plan.slow_checks)
    assert sorted(placed) == sorted(check.__name__ for check in every_check())
    assert check_names() == tuple(dict.fromkeys(check_names()))


def test_a_short_session_says_what_it_leaves_out():
    """Nothing is compiled by torch; every item of the full plan is there or named."""
    whole, brief = full(("matmul",)), short(("matmul",))
    assert brief.compiled == brief.slow_checks == ()
    assert brief.recording is None
    assert brief.sweep == whole.sweep
    for name in ("energy", "memory", "comparisons"):
        kept, all_of_it = getattr(brief, name), getattr(whole, name)
        assert kept == all_of_it[: len(kept)]
        assert len(kept) >= 2
    words = "\n".join(brief.left_out)
    for name, dtype, batch in whole.energy[len(brief.energy) :]:
        assert f"energy of {name} {dtype} batch {batch}" in words
    assert "torch.compile" in words
    assert whole.left_out == quick(()).left_out == ()


def test_a_pack_holds_the_folder_and_nothing_half_written(tmp_path):
    """Also where it lies in the folder itself."""
    out = tmp_path / "out"
    write_file(out / "profiles" / "a.json", "{}")
    (out / ".half.1").write_text("x")
    for _ in range(2):
        pack_folder(out, out / "all.tgz")
    with tarfile.open(out / "all.tgz") as archive:
        assert archive.getnames() == ["out/profiles/a.json"]


def test_a_markdown_table_keeps_its_columns():
    """Pipes and line breaks within a cell do not break a row."""
    text = table(("a", "b"), [("x|y", 1.0), ("line\nbreak", None)])
    assert text.splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1 |",
        "| line break |  |",
    ]
    assert table(("a",), []) == ""
