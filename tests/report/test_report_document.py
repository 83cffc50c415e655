"""Documents on disk: one file, or a file a profile where a folder is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dilnas.errors import InputError
from dilnas.measure import profile
from dilnas.records import Profile, load_profiles, profile_path
from dilnas.report.document import profile_json, profiles_json, write_profiles


@pytest.fixture
def two() -> list[Profile]:
    """The same network with two batches."""
    tiny = profile("tiny", latency=False)
    return [tiny, replace(tiny, workload=replace(tiny.workload, batch_size=8))]


def test_a_file_holds_one_document(tmp_path: Path, two: list[Profile]) -> None:
    """The profile itself, or the list of them."""
    one, several = tmp_path / "one.json", tmp_path / "new" / "several.json"
    assert write_profiles(two[:1], one) == [one]
    assert one.read_text() == profile_json(two[0]) + "\n"
    assert write_profiles(two, several) == [several]
    assert several.read_text() == profiles_json(two) + "\n"
    assert load_profiles(several) == tuple(two)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_holds_a_file_a_profile(tmp_path: Path, two: list[Profile], there: bool) -> None:
    """Named after device, network and workload; written again, replaced."""
    folder = tmp_path / "profiles"
    if there:
        folder.mkdir()
    written = write_profiles(two, folder)
    assert written == [folder / profile_path(p) for p in two] == write_profiles(two, folder)
    assert load_profiles(folder) == tuple(two)
    assert len(list(folder.rglob("*"))) == 3


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, two: list[Profile]) -> None:
    """A file where a folder should be."""
    (tmp_path / "file.json").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_profiles(two, tmp_path / "file.json" / "profiles.json")
