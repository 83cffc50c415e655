"""The wheel holds everything that the commands need, and works from any directory."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPACES = ("dilateformer", "dilateformer-mobile", "paper-ablations", "smoke")


def tree_files() -> list[str]:
    """Files of the source tree: what git has or would add; without git, all but build leftovers."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    left_over = {"__pycache__", "build", "dist", "dilnas.egg-info", "runs", "exports"}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [str(f) for f in files if not any(p in left_over or p[0] == "." for p in f.parts)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the checkout gets no build/ or egg-info."""
    folder = tmp_path_factory.mktemp("packaging")
    for name in tree_files():
        copy = folder / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    run(["-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist"], folder / "tree")
    (built,) = (folder / "dist").glob("dilnas-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel's contents as installed by pip, outside of every virtual environment."""
    site = tmp_path_factory.mktemp("site")
    arguments = ["--no-deps", "--no-index", "--no-compile", "--target", site]
    run(["-m", "pip", "install", "--quiet", *arguments, wheel], site)
    return site


def run(arguments, folder, **environment) -> str:
    """Standard output of ``python arguments`` in ``folder``; fails with its output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture
def run_installed(installed, tmp_path):
    """Run the installed package from an empty directory."""

    def call(*arguments: str) -> str:
        path = {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
        output = run(arguments, tmp_path, **path)
        assert not any(tmp_path.iterdir())
        return output

    return call


def test_the_wheel_has_spaces_types_data_and_licence(wheel):
    """Search spaces, py.typed, the embedded data with its notice; no tests, no caches."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for space in SPACES:
        assert any(name.endswith(f"/{space}.yaml") for name in names), space
    assert "dilnas/py.typed" in names
    assert "dilnas/records/schema/profile.schema.json" in names
    for asset in ("page.css", "page.js", "run.js", "comparison.js"):
        assert f"dilnas/report/{asset}" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    data = [Path(name) for name in names if name.startswith("dilnas/data/")]
    folders = {path.parent for path in data if path.suffix == ".gz"}
    assert folders
    assert all(folder / "NOTICE" in data for folder in folders)
    assert not [n for n in names if "__pycache__" in n or n.startswith(("tests", "benchmarks"))]
    assert wheel.stat().st_size < 8 << 20  # the data may take 6 MB


def test_the_installed_package_is_the_one_that_runs(run_installed, installed):
    """Guards the tests below against testing the checkout."""
    place = run_installed("-c", "import dilnas; print(dilnas.__file__)").strip()
    assert Path(place).is_relative_to(installed)


def test_the_installed_commands_work_from_an_empty_directory(run_installed):
    """Version, a shipped space by name, a profile."""
    assert run_installed("-m", "dilnas", "--version").startswith("dilnas ")
    assert "smoke" in run_installed("-m", "dilnas", "space", "show", "smoke")
    profile = ["profile", "--variant", "tiny", "--no-latency", "--json"]
    cost = json.loads(run_installed("-m", "dilnas", *profile))["cost"]
    assert (cost["params"], cost["flops"]) == (17_238_744, 3_177_221_696)


def test_the_embedded_data_loads_from_the_wheel(run_installed):
    """The default search needs no download and no file beside the package."""
    code = "from dilnas.data import load_data; s = load_data('embedded'); print(len(s.train))"
    assert int(run_installed("-c", code)) >= 1000
