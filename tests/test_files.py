"""Files are read safely, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError, DilnasError, ExportError, InputError, RunError
from dilnas.files import MAX_TEXT_BYTES, parse_yaml, read_text, write_atomic, write_with
from dilnas.variants import variant

HOSTILE = [
    '!!python/object/apply:os.system ["touch /tmp/owned"]',
    "!!python/name:os.system",
    "a: &x [1, 2]\nb: *x",
    "&a [*a]",
    "<<: {stem: pointconv}",
    "stem: pointconv\nstem: overlapping",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "[" * 20_000,
    "{a: " * 5_000,
    "a: 1\n---\nb: 2",
    "a: [1, 2",
    "\ta: 1",
    "a: \x00",
    "a: \x1b[31m",
    '!!int ""',
    '!!int "x"',
    '!!float ""',
    "!!bool perhaps",
    "!!timestamp soon",
    "!!map [[1, 2]]",
    "!!set [a]",
    "!!binary é",
    "2001-99-99",
    "9" * 5_000,
    "!<tag:" + "x" * 10_000 + "> 1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: repr(t[:24]))
def test_hostile_yaml_is_one_clear_line(text: str) -> None:
    """No code runs, nothing hangs, and the error is of the kind asked for and short."""
    with pytest.raises(RunError) as caught:
        parse_yaml(text, kind=RunError, where="space.yaml")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500
    assert caught.value.where == "space.yaml"


@pytest.mark.parametrize(
    "text",
    ["stages: 0x" + "f" * 5_000, 'stem: "\\e[31m"\nstages: []', "dim: 1:30", "- a", "", "3",
     "stages: [{dim: 0x" + "f" * 5_000 + ", num_heads: 1}]", "'" + "k" * 9_000 + "': 1",
     '"\\e[31m": 1', "stages: [{dim: 24, num_heads: 3, msda_depth: 1, mlp_ratio: .nan}]",
     "stages: [{dim: 24, num_heads: 3, msda_depth: 1, dilations: [2001-01-01]}]",
     "stages: !!set {a, b}", "stages: !!binary aGFsbG8="],
    ids=lambda t: repr(t[:24]),
)  # fmt: skip
def test_yaml_that_is_no_network_is_one_clear_line(text: str) -> None:
    """Acceptable YAML, unacceptable data: long numbers and escape sequences stay harmless."""
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_yaml(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


@given(st.text(max_size=60))
def test_any_text_parses_or_raises_a_dilnas_error(text: str) -> None:
    """No other exception leaves the parser, and its message can be printed."""
    try:
        Architecture.from_yaml(text)
    except DilnasError as error:
        assert str(error).isprintable()


@given(st.lists(st.sampled_from([*"{}[]:,-!&*?|>'\"#%@` \n\tab1.~<=", "!!int ", "!!set "])))
def test_any_heap_of_yaml_signs_parses_or_raises_a_dilnas_error(signs: list[str]) -> None:
    """The same for text made of YAML's own syntax."""
    try:
        parse_yaml("".join(signs))
    except DilnasError as error:
        assert str(error).isprintable()


def test_errors_of_yaml_give_the_line() -> None:
    """A repeated key in line 3."""
    with pytest.raises(InputError, match="in line 3: repeated or unusable key 'a'"):
        parse_yaml("a: 1\nb: 2\na: 3\n")


def test_reading_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    """Missing, a folder, not text, too large, endless, a name that no file can have."""
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "large").write_bytes(b"a" * (MAX_TEXT_BYTES + 1))
    for name, rule in [
        ("missing", "cannot be read: No such file"),
        (".", "this is a folder"),
        ("latin", "not UTF-8"),
        ("large", "too large"),
        ("latin/x", "cannot be read"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(RunError, match=rule) as caught:
            read_text(tmp_path / name, kind=RunError)
        assert str(caught.value).isprintable()
    if Path("/dev/zero").exists():
        with pytest.raises(InputError, match="too large"):
            read_text("/dev/zero")


def test_a_file_of_a_network_reads_back(tmp_path: Path) -> None:
    """Written, read, the same network."""
    path = tmp_path / "deep" / "er" / "tiny.yaml"
    write_atomic(path, variant("tiny").to_yaml())
    assert Architecture.from_yaml(read_text(path)) == variant("tiny")
    assert os.listdir(path.parent) == ["tiny.yaml"]  # noqa: PTH208


def test_a_written_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    """Those that the umask leaves, not a temporary file's 0600."""
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
        write_atomic(tmp_path / "a", b"y")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert (tmp_path / "a").read_text() == "y"


@pytest.mark.parametrize("failure", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file(tmp_path: Path, failure: type) -> None:
    """Half-written content never shows, and nothing is left beside it."""
    path = tmp_path / "front.csv"
    path.write_text("old")
    with pytest.raises((failure, RunError)), write_with(path, kind=RunError) as temporary:
        temporary.write_text("ha")
        raise failure("disk full")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["front.csv"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that is a file, a target that is a folder: one error, nothing left over."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "x.json", tmp_path / "folder"):
        with pytest.raises(ExportError, match="cannot be written") as caught:
            write_atomic(target, "new", kind=ExportError)
        assert caught.value.where == str(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    """One clear error, and the old file stays."""
    path = tmp_path / "run.json"
    path.write_text("old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match="cannot be written: Permission denied"):
            write_atomic(path, "new", kind=RunError)
    finally:
        tmp_path.chmod(0o700)
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a Linux /proc")
def test_a_file_system_that_nobody_may_write_is_refused() -> None:
    """Also as root: /proc takes no files."""
    with pytest.raises(RunError, match="cannot be written"):
        write_atomic("/proc/dilnas/run.json", "new", kind=RunError)
