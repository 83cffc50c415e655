"""What other rooms rely on when they read a run directory or resolve what the user typed."""

import json

import pytest

from dilnas.errors import ArchitectureError, DilnasError, RunError
from dilnas.runs import RunDirectory, load_architecture, resolve
from dilnas.variants import VARIANTS, variant

TINY = VARIANTS["tiny"]


@pytest.fixture
def run(tmp_path):
    """A run with the candidates 0 and 12 and both tables."""
    folder = tmp_path / "runs" / "first"
    for number, architecture in ((0, TINY), (12, variant("tiny", num_classes=7))):
        trial = folder / "trials" / str(number)
        trial.mkdir(parents=True)
        (trial / "architecture.yaml").write_text(architecture.to_yaml())
    (folder / "trials" / "notes").mkdir()
    (folder / "run.json").write_text(json.dumps({"space": "smoke", "seed": 3}))
    (folder / "front.csv").write_text(
        "trial,val_accuracy,key,reference\n12,0.5,00ab,\n,,00cd,tiny\n"
    )
    (folder / "trials.csv").write_text('trial,state,rung_scores\n0,pruned,"[0.1, 0.2]"\n')
    return RunDirectory.open(folder)


def test_a_run_gives_its_settings_architectures_and_tables(run):
    """Numbers come back as numbers, empty cells as None, quoted lists whole."""
    assert run.run_json() == {"space": "smoke", "seed": 3}
    assert run.trial_numbers() == [0, 12]
    assert run.architecture(12).num_classes == 7
    assert run.front_rows()[0] == {
        "trial": 12, "val_accuracy": 0.5, "key": "00ab", "reference": None,
    }  # fmt: skip
    assert run.front_rows()[1]["trial"] is None
    assert run.trial_rows() == [{"trial": 0, "state": "pruned", "rung_scores": "[0.1, 0.2]"}]


def test_everything_of_a_run_lies_below_its_folder(run):
    """Moving the folder moves the run."""
    paths = [
        run.run_json_path, run.ledger_path, run.front_csv, run.trials_csv, run.report_html,
        run.trial_directory(3), run.architecture_path(3),
    ]  # fmt: skip
    assert all(path.is_relative_to(run.path) for path in paths)


def test_a_folder_without_run_json_is_not_a_run(tmp_path):
    """An empty folder and a missing one give one line that names them."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=r"run\.json is missing"):
            RunDirectory.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"text"'])
def test_damaged_settings_are_named(run, text):
    """A run.json that is no JSON object is an error with its path."""
    run.run_json_path.write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        run.run_json()


def test_a_missing_trial_is_refused_with_the_range(run):
    """The error says which numbers there are."""
    with pytest.raises(RunError, match=r"no such trial.*0\.\.12"):
        run.architecture(5)


def test_a_missing_table_asks_whether_the_search_has_finished(run):
    """front.csv is written at the end of a search."""
    run.front_csv.unlink()
    with pytest.raises(RunError, match="has the search finished"):
        run.front_rows()


def test_resolve_takes_a_variant_a_file_a_trial_and_an_exported_folder(run, tmp_path):
    """The four spellings that profile and export accept give the same architecture."""
    yaml, as_json = tmp_path / "mine.yaml", tmp_path / "mine.json"
    yaml.write_text(TINY.to_yaml())
    as_json.write_text(TINY.to_json())
    assert resolve("tiny") == ("tiny", TINY)
    assert resolve(str(yaml)) == ("mine", TINY)
    assert resolve(str(as_json)) == ("mine", TINY)
    assert resolve(f"{run.path}#0") == (f"{run.path}#0", TINY)
    assert resolve(str(run.trial_directory(0)))[1] == TINY


@pytest.mark.parametrize(
    "spec", ["giant", "missing.yaml", "nowhere#1", "#1", "", "tiny#", "tiny#x", "-", "\t"]
)
def test_what_cannot_be_resolved_is_one_clear_line(spec):
    """No traceback, no guess: a user error in one line."""
    with pytest.raises(DilnasError) as caught:
        resolve(spec)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_architecture_is_named(tmp_path):
    """Malformed, hostile, or of the right form with a wrong field: the path stands in the line."""
    for text in ("stages: [", "!!python/object/apply:os.system ['true']", "stages: []", "a: 1"):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ArchitectureError, match=r"bad\.yaml"):
            load_architecture(path)
