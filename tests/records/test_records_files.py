"""Files and folders of profiles: what is read, what is passed over, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dilnas.errors import InputError
from dilnas.measure import profile as run_profile
from dilnas.records import load_profiles
from dilnas.report.document import profile_json, profiles_json
from dilnas.variants import VARIANTS


def folder_of(tmp_path: Path) -> Path:
    """Two devices' folders, a list of profiles, and documents that are something else."""
    tiny, base = (run_profile(name, latency=False) for name in ("tiny", "base"))
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "deep" / "tiny.json").write_text(profile_json(tiny))
    (tmp_path / "b" / "all.json").write_text(profiles_json([base, tiny]))
    (tmp_path / "b" / "calibration.json").write_text('{"dilnas_calibration": 1}')
    (tmp_path / "b" / ".hidden.json").write_text("not JSON")
    (tmp_path / "b" / "notes.txt").write_text("not JSON")
    return tmp_path


def test_a_folder_is_read_in_path_order(tmp_path: Path) -> None:
    """With sub-folders and lists; other documents of dilnas and hidden files are passed over."""
    folder = folder_of(tmp_path)
    assert [p.name for p in load_profiles(folder)] == ["tiny", "base", "tiny"]
    assert [p.name for p in load_profiles(folder / "b" / "all.json")] == ["base", "tiny"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ('{"dilnas_profile": 1,', "not JSON"),
        ("[1, 2]", "must be an object (got list)"),
        ("{}", "not a profile"),
        ('{"dilnas_profile": NaN}', "NaN is no JSON number"),
        ('{"dilnas_profile": 2, "dilnas_profile": 2}', "'dilnas_profile' is there twice"),
        ('{"dilnas_profile": ' + "9" * 5000 + "}", "not JSON"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON"),
        ('{"dilnas_profiles": 2}', "profiles: must be a list"),
        ('{"dilnas_profiles": 9, "profiles": []}', "written by a newer dilnas"),
        ('{"dilnas_profiles": 2, "profiles": [], "x": 1}', "x: unknown field"),
        ('{"dilnas_profiles": 2, "profiles": [{}]}', "profiles[0].dilnas_profile: missing field"),
        ("\x00\xff", "not JSON"),
    ],
)
def test_a_damaged_file_is_named_alone_and_in_a_folder(
    tmp_path: Path, text: str, says: str
) -> None:
    """Truncated, empty, of another kind, or hostile."""
    file = tmp_path / "damaged.json"
    file.write_text(text, encoding="latin-1")
    for path in (file, tmp_path):
        with pytest.raises(InputError) as caught:
            load_profiles(path)
        assert says in str(caught.value) and "damaged.json" in str(caught.value)


def test_another_document_alone_is_not_a_profile(tmp_path: Path) -> None:
    """In a folder it is passed over, by its own name it is an error; then nothing is left."""
    (tmp_path / "network.json").write_text(VARIANTS["tiny"].to_json())
    with pytest.raises(InputError, match=r"network.json: not a profile .*dilnas_architecture"):
        load_profiles(tmp_path / "network.json")
    with pytest.raises(InputError, match=r"no profiles in this folder.*got 1 JSON files"):
        load_profiles(tmp_path)


@pytest.mark.parametrize("name", ["absent.json", "a\x00b"])
def test_a_path_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    """Absent, or no path at all."""
    with pytest.raises(InputError, match="cannot be read"):
        load_profiles(tmp_path / name)
