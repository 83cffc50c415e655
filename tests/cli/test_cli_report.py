"""`dilnas report`: what it prints where, what it writes, and how it answers bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from dilnas.cli.report import report
from dilnas.errors import DilnasError, InputError
from dilnas.files import write_atomic
from dilnas.measure import profile
from dilnas.records import Environment, Profile, load_profiles, profile_path
from dilnas.report.document import profile_json

app = typer.Typer()
app.command()(report)

OLD = Path(__file__).parents[1] / "records" / "old"
EXAMPLE = Path(__file__).parents[1] / "reference" / "older_run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three profiles where ``profile_path`` puts them, one of them measured by an older version."""
    (measured,) = load_profiles(OLD / "format-1-measured.json")
    assert isinstance(measured.environment, Environment)
    elsewhere = replace(measured.environment, device_name="NVIDIA H200")
    kept: list[Profile] = [
        measured, replace(measured, environment=elsewhere, name="other"),
        profile("small", latency=False),
    ]  # fmt: skip
    for one in kept:
        write_atomic(tmp_path / "profiles" / profile_path(one), profile_json(one))
    (tmp_path / "profiles" / "README.md").write_text("not a profile")
    return tmp_path / "profiles"


def run(*words: object) -> Result:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result


def error_of(*words: object) -> DilnasError:
    """The error of a command that must fail with one."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(result.exception, DilnasError), result.exception
    assert "\n" not in str(result.exception)
    return result.exception


def test_a_folder_is_a_table_over_devices(folder: Path) -> None:
    """Devices, networks, the paper's figures and doubts, on stdout."""
    done = run(folder)
    assert done.stderr == ""
    for text in ("AMD EPYC", "NVIDIA H200", "no device", "tinyarch", "7.824", "paper: 4.8 GFLOPs",
                 "spread: the middle half"):  # fmt: skip
        assert text in done.stdout


def test_files_of_any_version_are_taken_together(folder: Path) -> None:
    """By name, older ones beside new ones."""
    done = run(OLD / "format-1-measured.json", folder / "no-device" / "small-b1-224-fp32.json")
    assert "tinyarch" in done.stdout and "small" in done.stdout


def test_json_is_one_document_that_is_read_again(folder: Path, tmp_path: Path) -> None:
    """On stdout, with the table on stderr; the same profiles in the table's order."""
    done = run(folder, "--json")
    assert "AMD EPYC" in done.stderr
    assert len(json.loads(done.stdout)["profiles"]) == 3
    (tmp_path / "again.json").write_text(done.stdout)
    again = load_profiles(tmp_path / "again.json")
    assert set(map(profile_json, again)) == set(map(profile_json, load_profiles(folder)))
    assert run(tmp_path / "again.json", "--json").stdout == done.stdout


def test_csv_has_a_row_a_profile(folder: Path, tmp_path: Path) -> None:
    """With units in the headings, of the profiles that are shown."""
    out = tmp_path / "new" / "table.csv"
    done = run(folder, "--csv", out)
    assert f"written: {out}" in done.stderr
    frame = pd.read_csv(out)
    assert sorted(frame["name"]) == ["other", "small", "tinyarch"]
    assert frame.set_index("name")["median_ms"]["tinyarch"] == pytest.approx(7.82397)
    run(folder, "--csv", out, "--device", "h200")
    assert list(pd.read_csv(out)["device"]) == ["NVIDIA H200"]


def test_profiles_are_chosen_by_device_and_name(folder: Path) -> None:
    """Parts of names; nothing left is an error that says what there is."""
    assert "AMD" not in run(folder, "--device", "h200").stdout
    assert "H200" not in run(folder, "--name", "tinyarch").stdout
    error = error_of(folder, "--device", "A100")
    assert "AMD EPYC | NVIDIA H200 | no device" in str(error)


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """The committed example run, elsewhere."""
    return copied(tmp_path / "searched")


def copied(folder: Path) -> Path:
    shutil.copytree(EXAMPLE, folder)
    return folder


def test_a_run_gets_a_page_and_its_front_as_a_table(searched: Path, tmp_path: Path) -> None:
    """Where the page is, on stderr; made anew each time; its run.json stands for the run."""
    done = run(searched)
    assert f"written: {searched / 'report.html'}" in done.stderr
    assert "82.65   82.97 ±0.53    83.10    3.177" in done.stdout and "tiny" in done.stdout
    assert f"dilnas export {searched} --pick knee" in done.stdout.replace("\n", "")
    for text in (
        "hypervolume ▃",
        "0.6589 after 24",
        "trained again at the end",
        "0.122",
        "NSC (free)",
    ):
        assert text in done.stdout, text
    first = (searched / "report.html").stat().st_mtime_ns
    run(searched / "run.json")
    assert (searched / "report.html").stat().st_mtime_ns > first
    out = tmp_path / "new" / "page.html"
    assert f"written: {out}" in run(searched, "--out", out).stderr
    assert out.read_bytes() == (searched / "report.html").read_bytes()


def test_table_csv_parquet_and_json_carry_the_same_numbers(searched: Path, tmp_path: Path) -> None:
    """A row a trial and a paper's variant, whole numbers whole; the front's are front.csv's."""
    written = tmp_path / "rows.csv", tmp_path / "rows.parquet"
    done = run(searched, "--csv", written[0], "--parquet", written[1], "--json")
    assert "82.97 ±0.53" in done.stderr
    (document,) = json.loads(done.stdout)["runs"]
    frames = [
        pd.read_csv(written[0], dtype={"trial": "Int64"}), pd.read_parquet(written[1]),
        pd.DataFrame(document["rows"]).astype({"trial": "Int64"}),
    ]  # fmt: skip
    front = pd.read_csv(searched / "front.csv")
    for frame in frames:
        assert list(frame["group"].value_counts().sort_index()) == [17, 7, 2, 2]
        assert frame["trial"].isna().sum() == 2
        for name in ("val_accuracy", "final_accuracy", "final_std", "gflops", "mparams"):
            assert list(frame[name][:7]) == pytest.approx(list(front[name][:7]))
    assert document["so_far"] is False and len(document["history"]) == 24


def test_tensorboard_gets_its_folder(searched: Path) -> None:
    """A run a trial."""
    done = run(searched, "--tensorboard")
    assert str(searched / "tensorboard") in done.stderr
    assert (searched / "tensorboard" / "trial-24").is_dir()


def test_several_runs_are_compared(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with one hypervolume, what differs; a page here, or where --out says."""
    other = copied(tmp_path / "other")
    settings = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**settings, "proxy": "standard", "seed": 5}))
    monkeypatch.chdir(tmp_path)
    done = run(searched, other)
    assert "written: comparison.html" in done.stderr
    assert (tmp_path / "comparison.html").is_file()
    for text in ("searched", "0.6589", "accuracies do not compare", "seed: 0 | 5"):
        assert text in done.stdout
    rows = pd.DataFrame(json.loads(run(searched, other, "--json").stdout)["runs"])
    assert len(rows) == 2
    run(searched, other, "--csv", tmp_path / "both.csv")
    assert set(pd.read_csv(tmp_path / "both.csv")["run"]) == {"searched", "other"}


def test_runs_and_profiles_are_not_mixed_nor_their_options(
    searched: Path, folder: Path, tmp_path: Path
) -> None:
    """One line that says what does not belong; nothing is written."""
    assert "cannot be reported together" in str(error_of(searched, folder))
    assert "is for profiles" in str(error_of(searched, "--device", "h200"))
    assert "is for a run" in str(error_of(folder, "--out", tmp_path / "x.html"))
    assert "is for a run" in str(error_of(folder, "--tensorboard"))
    assert "must be an HTML file" in str(error_of(searched, "--out", tmp_path / "x.pdf"))
    assert "with itself" in str(error_of(searched, searched))
    assert not (searched / "report.html").exists()


def test_a_run_without_a_finished_trial_is_one_line(tmp_path: Path) -> None:
    """Nothing is written."""
    (tmp_path / "run.json").write_text("{}")
    for path in (tmp_path, tmp_path / "run.json"):
        assert "nothing to report yet" in str(error_of(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_names_that_a_terminal_would_obey_are_shown(tmp_path: Path) -> None:
    """Markup in a run's name and escape sequences in its settings are text."""
    one, other = copied(tmp_path / "[red]a"), copied(tmp_path / "b")
    settings = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**settings, "data": "x\x1b[31my"}))
    done = run(one, other, "--out", tmp_path / "out.html")
    assert "[red]a" in done.stdout and "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("absent", None, "cannot be read: No such file"),
        ("x.json", "{", "not JSON"),
        ("x.json", '{"dilnas_profile": 99}', "written by a newer dilnas"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    """With the file's name in it."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    error = error_of(path)
    assert isinstance(error, InputError)
    assert says in str(error) and str(path) in str(error)


def test_an_empty_folder_says_how_profiles_are_made(tmp_path: Path) -> None:
    """It is what a fresh clone may have."""
    assert "dilnas profile … --out" in str(error_of(tmp_path))


def test_the_report_needs_no_torch(folder: Path) -> None:
    """A table of files is there at once."""
    code = (
        "import sys, typer; from typer.testing import CliRunner; from dilnas.cli.report import"
        " report; app = typer.Typer(); app.command()(report);"
        f" assert CliRunner().invoke(app, [{str(folder)!r}, '--json']).exit_code == 0;"
        " print([m for m in ('torch', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
