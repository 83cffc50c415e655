"""benchmarks/gpu_session.py: the flow on a CPU without what a GPU node lacks, and its clock."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from test_imports import HEAVY

from dilnas.measure import profile
from dilnas.measure.replay import Recording
from dilnas.predict import load_calibration
from dilnas.records import Energy, Measurement, Memory, load_profiles

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from gpu_plan import full  # noqa: E402
from gpu_runner import Runner  # noqa: E402
from gpu_state import Session  # noqa: E402

ABSENT = (*HEAVY, "pytest", "_pytest", "hypothesis", "jsonschema", "ruff", "mypy")
START = f"""
import runpy, sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {ABSENT!r}
        return None if absent else super().find_spec(name, path, target)

# Without the finder of an editable installation, dilnas is found by the script's own doing only.
builtin = [f for f in sys.meta_path if f is not PathFinder and "editable" not in repr(f)]
sys.meta_path[:] = [*builtin, Bare]
sys.path[:] = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
sys.argv[0] = {str(ROOT / "benchmarks" / "gpu_session.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A GPU node: absent packages cannot be found, which is more than that their import fails."""


def session(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A session in a real process that has not the libraries that a GPU node lacks."""
    return subprocess.run(
        [sys.executable, "-c", START, "--out", "out", "--device", "cpu", "--quick", *words],
        cwd=folder, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def read(folder: Path) -> dict:
    """session.json."""
    return json.loads((folder / "out" / "session.json").read_text())


def statuses(folder: Path) -> dict[str, str]:
    return {section["name"]: section["status"] for section in read(folder)["sections"]}


def test_some_sections_run_where_only_torch_and_little_else_is_installed(tmp_path):
    """Profiles load again, what a CPU cannot do is listed with the reason, no section fails."""
    done = session(tmp_path, "--only", "sweep", "recordings", "--time-limit", "1000")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert statuses(tmp_path) == {"facts": "ok", "sweep": "ok", "recordings": "ok"}
    profiles = load_profiles(tmp_path / "out" / "profiles")
    assert len(profiles) == len(read(tmp_path)["profiles"]) >= 7
    measured = [p for p in profiles if p.measurement is not None]
    assert {p.workload.batch_size for p in measured} == {1, 2}
    assert {p.environment.facts["msda_backend"] for p in measured} == {"auto", "matmul"}
    assert read(tmp_path)["not_reached"] == []
    assert all("CUDA" in p.failure for p in profiles if p.measurement is None)
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "## Images a second" in summary
    assert "tf32 exists on CUDA devices only" in summary
    assert "a CPU has no energy counter" in summary
    recording = Recording.load(tmp_path / "out" / "recordings" / "latency.json")
    assert recording.runs
    assert not list((tmp_path / "out").rglob(".*")), "a temporary file was left"


@pytest.mark.slow
def test_the_whole_session_runs_on_a_cpu(tmp_path):
    """Every section; every check passes or says why it cannot tell; all of it packed."""
    done = session(tmp_path, "--time-limit", "3000", "--pack", "all.tgz")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = statuses(tmp_path)
    assert found.pop("compile") == "skipped"
    assert set(found.values()) == {"ok"}, found
    checks = read(tmp_path)["checks"]
    assert {check["status"] for check in checks} == {"passed", "cannot tell"}
    assert sum(check["status"] == "passed" for check in checks) >= 8
    profiles = load_profiles(tmp_path / "out" / "profiles")
    assert any(p.memory is not None for p in profiles)
    assert any(p.breakdown is not None for p in profiles)
    (calibration,) = (tmp_path / "out" / "profiles").glob("*/smoke-*.json")
    assert load_calibration(calibration).fit.held_out >= 5
    assert (tmp_path / "out" / "comparisons" / "1.json").is_file()
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    with tarfile.open(tmp_path / "all.tgz") as archive:
        assert len(archive.getnames()) == len(files)
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "cannot be shown" not in summary
    for title in ("Checks", "Memory", "Where the time goes", "Compared", "MSDA alone", "Left out"):
        assert f"## {title}" in summary


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--only", "nope"), "no such section: nope"),
        (("--time-limit", "0"), "must be above 0"),
        (("--device", "tpu"), "cpu, cuda or cuda:N"),
    ],
)
def test_a_wrong_command_ends_with_2(tmp_path, words, says):
    """And says what is wrong; nothing is written."""
    done = session(tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_session_that_is_asked_to_end_leaves_what_it_has(tmp_path):
    """As by ``timeout``: files and pack are written, and the processes beside it are ended."""
    words = ["--out", "out", "--device", "cpu", "--quick", "--pack", "all.tgz", "--only", "checks"]
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "gpu_session.py"), *words],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in running.stdout:
        if "side by side: up to" in line:
            break
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 128 + signal.SIGTERM
    assert read(tmp_path)["sections"][1]["status"] == "running"
    with tarfile.open(tmp_path / "all.tgz") as archive:
        assert "out/summary.md" in archive.getnames()


def test_memory_read_beside_goes_into_its_own_profile(tmp_path):
    """By name, mode, dtype and batch; not into that of another backend or another way to run."""
    session = Session(out=tmp_path, device="cuda", plan=full(()))
    session.memories["tiny", "inference", "fp32", 1] = Memory(
        method="synthetic", weights_bytes=4, input_bytes=2
    )
    plain = profile("tiny", latency=False)
    assert session.profiles[session.keep(plain)].memory.weights_bytes == 4
    assert session.profiles[session.keep(plain, "matmul")].memory is None
    graph = replace(plain, workload=replace(plain.workload, compile="graph"))
    assert session.profiles[session.keep(graph)].memory is None


def test_a_lost_device_is_gone_on_with_in_a_new_process(tmp_path):
    """A CUDA error, here a pretended one, stays with its process: another does the rest."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu_session
gpu_session.health = lambda device: "illegal memory access"
words = ["--out", "out", "--device", "cpu", "--quick", "--only", "recordings"]
print("code", gpu_session.main([*words, "--time-limit", "1000"]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert "code 1" in done.stdout, done.stdout + done.stderr[-3000:]
    assert statuses(tmp_path) == {"facts": "ok", "recordings": "handed on"}
    after = json.loads((tmp_path / "out" / "after" / "session.json").read_text())
    assert [s["status"] for s in after["sections"]] == ["ok", "ok"]
    assert (tmp_path / "out" / "after" / "recordings" / "latency.json").is_file()


def test_the_summary_shows_what_only_a_gpu_gives(tmp_path):
    """Energy in millijoules an image, and a row for each way to run with a batch a column."""
    energy = Energy(
        joules_per_image=0.0125, joules_per_image_above_idle=0.0093, mean_watts=410.0,
        idle_watts=90.0, window_joules=(615.0,), window_s=(1.5,), window_images=(49_200,),
        counter="NVML total energy", doubts=("few windows: 1",),
    )  # fmt: skip
    session = Session(out=tmp_path, device="cuda", plan=full(()))
    for batch, seconds in ((64, 0.002), (1, 0.001)):
        plain = profile("tiny", latency=False, dtype="bf16", batch_size=batch)
        measured = Measurement(quantity="latency_s", samples=(seconds,) * 3)
        session.keep(replace(plain, measurement=measured, energy=energy if batch == 64 else None))
    session.keep(replace(profile("tiny", latency=False, batch_size=512), failure="does not fit"))
    session.write(Runner([], limit_s=1))
    text = (tmp_path / "summary.md").read_text()
    assert "cannot be shown" not in text
    assert "| tiny | inference | bf16 | eager |  | 1000 | 32000 |  |" in text
    assert "| tiny | inference | fp32 | eager |  |  |  | - |" in text
    assert "| tiny | bf16 | 64 | 12.5 | 9.3 | 410 | 90 | 1 | few windows: 1 |" in text
    assert "- tiny-b64-224-bf16: energy: few windows: 1" in text
    assert "- sweep: base inference bf16 eager batch 1,8,64,128: not reached" in text
