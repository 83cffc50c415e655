"""A search that runs can be looked at: its tables, TensorBoard, the real optuna-dashboard."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, nullcontext

import pytest
from browser import chromium, complaints, requested, set_screen, shot
from closed_form_world import World
from every_write import _run_here

from dilnas.errors import RunError
from dilnas.report import RunData
from dilnas.runs import RunDirectory
from dilnas.search import live, search
from dilnas.search.events import Note, UnitDone


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """What runs a search of 6 candidates without Ray, one unit after another."""
    modules = [
        importlib.import_module(f"dilnas.search.{name}") for name in ("driver", "background")
    ]
    monkeypatch.setattr(modules[0], "run_units", _run_here)
    monkeypatch.setattr(modules[0], "head_watched", lambda _: nullcontext())
    monkeypatch.setattr(modules[1], "ray_session", lambda *_, **__: nullcontext())
    monkeypatch.setattr(live, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(live, "MOST_SHARE", 1e9)

    def run(on_event=None):
        return search(
            "smoke", trials=6, workers=1, final_seeds=1, out=str(tmp_path / "run"),
            evaluator=World(str(tmp_path / "log.txt"), pause=0), on_event=on_event,
        )  # fmt: skip

    return run


def test_a_report_can_be_made_at_any_moment_of_a_search(tmp_path, searched):
    """From the first finished candidate on; it says that the search goes on, until it has ended."""
    said, run = [], RunDirectory(tmp_path / "run")

    def look(event):
        if isinstance(event, UnitDone):
            try:
                said.append(RunData.of(run).so_far)
            except RunError as error:
                said.append(error.rule)

    searched(look)
    assert "nothing to report yet" in said[0]
    assert any("trial is in training or waiting" in text for text in said)
    assert all("has not ended" in text for text in said[4:])
    ended = RunData.of(run)
    assert ended.so_far == ""
    assert run.report_html.is_file()
    complete = [row for row in ended.trials if row["state"] == "complete"]
    for row in complete:
        assert json.loads(row["choices"]).keys() >= {"dim", "depth3"}
        assert len(json.loads(row["rung_images"])) == 3
        architecture = run.architecture(row["trial"])
        assert row["dims"] == " ".join(str(stage.dim) for stage in architecture.stages)
    assert (run.tensorboard / f"trial-{complete[0]['trial']}").is_dir()


def test_what_cannot_be_written_ends_no_search(tmp_path, searched):
    """A file in the way of TensorBoard's folder: one line, and a result as without it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("mine")
    notes = []
    result = searched(lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert [row for row in result.front if row.get("trial", "") != ""]
    said = [text for text in notes if "live views" in text]
    assert len(said) == 1 and "the search goes on" in said[0] and "tensorboard" in said[0]
    assert (tmp_path / "run" / "tensorboard").read_text() == "mine"


@contextmanager
def dashboard(run: RunDirectory):
    """The real optuna-dashboard on the run's ledger; its address on the loopback."""
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from optuna_dashboard._cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"sqlite:///{run.ledger_path}", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOST": ""},
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                asked(f"{address}/api/studies")
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


def asked(address: str):
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - the loopback
        return json.load(answer)


def test_optuna_dashboard_shows_the_ledger_with_names(tmp_path, searched):
    """Objectives, parameters and choices by name; its pages load, ask nobody else and complain of
    nothing: the Pareto front and the history are drawn.
    """
    searched()
    run = RunDirectory(tmp_path / "run")
    with dashboard(run) as address:
        (study,) = asked(f"{address}/api/studies")["study_summaries"]
        detail = asked(f"{address}/api/studies/{study['study_id']}")
        assert detail["objective_names"] == ["accuracy", "gflops"]
        trial = next(one for one in detail["trials"] if one["state"] == "Complete")
        assert {one["name"] for one in trial["params"]} >= {"dim", "depth3", "window12"}
        attributes = {one["key"]: one["value"] for one in trial["user_attrs"]}
        assert json.loads(attributes["choices"])["dim"] in (12, 18, 24, 30)
        assert attributes["layout"].startswith("D1")
        with chromium(tmp_path) as browser:
            set_screen(browser, 1400, 1400)
            browser.get(f"{address}/dashboard/studies/{study['study_id']}")
            ui = pytest.importorskip("selenium.webdriver.support.ui")
            drawn = "return document.querySelectorAll('.plotly .scatterlayer .point').length"
            ui.WebDriverWait(browser, 90).until(lambda one: one.execute_script(drawn) > 8)
            text = browser.execute_script("return document.body.innerText")
            for word in ("Pareto Front", "History", "accuracy", "gflops"):
                assert word in text
            assert complaints(browser) == []
            assert all(url.startswith(address) for url in requested(browser))
            shot(browser, "optuna-dashboard", tmp_path)
