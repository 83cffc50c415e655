"""Which calibration is for a device: that of its name and, where a name hides it, of its model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic import calibration, environment

from dilnas.errors import InputError
from dilnas.predict import LatencyPredictor
from dilnas.predict.beside import check_beside
from dilnas.predict.stored import calibrations_of, write_calibration


def guest(model):
    """What a virtual machine shows of its processor."""
    facts = {"cpu_model": model} if model else {}
    return replace(environment("Intel(R) Xeon(R) Processor"), facts=facts)


MINE, OTHER, OLDER = map(guest, ("family 6 model 207", "family 6 model 85", None))


@pytest.fixture(scope="module")
def found():
    return calibration(networks=60)


def test_processors_of_one_name_are_told_apart_by_their_model(found):
    """By name it is refused, and the line says what differs."""
    predictor = LatencyPredictor(replace(found, environment=OTHER))
    with pytest.raises(InputError) as error:
        check_beside(predictor, [found.workload], MINE)
    text = str(error.value)
    assert "another device" in text and "model 207" in text and "model 85" in text
    check_beside(predictor, [found.workload], OTHER)


def test_a_calibration_that_did_not_note_the_model_is_for_its_name(found):
    """Files of before go on being used; another name never is."""
    check_beside(LatencyPredictor(replace(found, environment=OLDER)), [found.workload], MINE)
    assert OLDER.other_device(MINE) == MINE.other_device(OLDER) == ""
    assert environment("AMD EPYC").other_device(OLDER) == "AMD EPYC"


def test_nobodys_choice_is_a_calibration_of_this_model(found, tmp_path, monkeypatch):
    """Both lie in the folder of the name."""
    monkeypatch.chdir(tmp_path)
    for name, place in (("a", OTHER), ("b", MINE)):
        write_calibration(
            replace(found, environment=place),
            tmp_path / "profiles" / "intel-xeon-processor" / f"{name}.json",
        )
    assert [path.stem for path, _ in calibrations_of(MINE)] == ["b"]
    assert [path.stem for path, _ in calibrations_of(OTHER)] == ["a"]
    assert [path.stem for path, _ in calibrations_of(OLDER)] == ["a", "b"]
