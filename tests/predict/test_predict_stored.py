"""Calibrations in files: read as written, and never used when damaged."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import calibration, measured

from dilnas.errors import InputError
from dilnas.predict.stored import (
    known_calibrations,
    load_calibration,
    read_calibration,
    write_calibration,
)
from dilnas.records import load_profiles


@pytest.fixture(scope="module")
def found():
    return calibration(networks=40, runs=2)


@pytest.fixture
def file(found, tmp_path):
    path = tmp_path / "it.json"
    write_calibration(found, path)
    return path


def test_a_calibration_is_read_as_it_was_written(found, file):
    """To the last bit, and its figures follow from its samples."""
    assert load_calibration(file) == found
    assert not list(file.parent.glob(".*"))


def test_by_name_under_profiles_here(found, tmp_path, monkeypatch):
    """DEVICE/SPACE-WORKLOAD; a wrong name lists those that there are."""
    path = tmp_path / "profiles" / f"{found.name}.json"
    write_calibration(found, path)
    monkeypatch.chdir(tmp_path)
    assert load_calibration(found.name) == found
    assert found.name in known_calibrations()
    with pytest.raises(InputError, match="no calibration of that name") as error:
        load_calibration("formula-1/nothing")
    assert found.name in str(error.value)


def test_profiles_and_calibrations_share_a_folder(found, tmp_path):
    """A folder of profiles is read whatever calibrations lie in it."""
    write_calibration(found, tmp_path / "dev" / "calibrated.json")
    with pytest.raises(InputError, match="no profiles in this folder"):
        load_profiles(tmp_path)


def _edit(file, change):
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.update(dilnas_calibration=2), "unknown format"),
        (lambda d: d.pop("dilnas_calibration"), "not a calibration"),
        (lambda d: d.pop("networks"), "missing field"),
        (lambda d: d.update(extra=1), "unknown field"),
        (lambda d: d["networks"][3].update(role="?"), "unknown role"),
        (lambda d: d["networks"][3].update(parts=[10_000]), "no such piece"),
        (lambda d: d.update(anchor_parts=[-1]), "no such piece"),
        (lambda d: d["networks"][3]["anchors_s"].pop(), "one more than runs"),
        (lambda d: d["networks"][3]["anchors_s"][0].pop(), "each part of the anchor"),
        (lambda d: d["networks"][3]["runs_s"][0].pop(), "positive seconds of each part"),
        (lambda d: d["networks"][3]["runs_s"][0].__setitem__(0, -1.0), "positive seconds"),
        (lambda d: d["pieces"][0].update(kind="wheel"), "no part of a network"),
        (lambda d: d["fit"].update(scale=1.2), "damaged: it does not follow"),
        (lambda d: d["fit"].update(error_median=0.001), "damaged: it does not follow"),
        (lambda d: d["fit"].update(reach=0.0001), "damaged: it does not follow"),
        (lambda d: d["fit"].update(model="oracle"), "damaged: there is no such model"),
        (lambda d: d.update(fit=None), "was not finished"),
        (lambda d: d.update(networks=d["networks"][:6]), "damaged: too few"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(file, change, why):
    """Whatever was changed: a field, a figure of the fit, the samples."""
    _edit(file, change)
    with pytest.raises(InputError, match=why) as error:
        load_calibration(file)
    assert "it.json" in str(error.value) and "\n" not in str(error.value)


def test_a_sample_that_was_changed_is_noticed(file):
    """The figures beside the samples do not follow any more."""

    def slower(data):
        for network in data["networks"]:
            if network["role"] == "held out":
                network["runs_s"] = [[1.1 * s for s in run] for run in network["runs_s"]]

    _edit(file, slower)
    with pytest.raises(InputError, match="does not follow from the samples"):
        load_calibration(file)


@settings(max_examples=40)
@given(share=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_an_input_error(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "it.json"
    write_calibration(calibration(networks=40, runs=2), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * (len(whole) - 3))])
    with pytest.raises(InputError):
        read_calibration(path)


def test_what_is_no_file_is_an_input_error(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError):
            read_calibration(path)


def test_it_is_written_whole_or_not_at_all(found, tmp_path):
    """Into a folder that cannot be: one line, nothing left."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_calibration(measured(networks=12), tmp_path / "file" / "it.json")
    shutil.rmtree(tmp_path, ignore_errors=True)
