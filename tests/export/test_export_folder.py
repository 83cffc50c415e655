"""An export's folder is there whole or not at all, and nothing of the user's is ever deleted."""

import errno
import os
import subprocess
import sys

import pytest

from dilnas.errors import ExportError
from dilnas.export.bundle import OWNED
from dilnas.export.folder import check_target, staged_folder


def everything_below(folder):
    """Relative paths of all files and folders, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_finished_block_becomes_the_folder(tmp_path):
    """Files written into the staged folder are found under the target; nothing else is left."""
    target = tmp_path / "a" / "b"
    with staged_folder(target) as folder:
        (folder / "card.md").write_text("card")
        assert not target.exists()
    assert everything_below(tmp_path) == ["a", "a/b", "a/b/card.md"]
    assert target.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_block_leaves_nothing_behind(tmp_path):
    """Neither the folder nor the parents that were made for it."""
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path / "a" / "b") as folder:
        (folder / "card.md").write_text("card")
        raise KeyboardInterrupt
    assert everything_below(tmp_path) == []


def test_a_failed_block_leaves_the_earlier_export_as_it_was(tmp_path):
    """--force replaces only once the new one is whole."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "architecture.yaml").write_text("old")
    with pytest.raises(ZeroDivisionError), staged_folder(target) as folder:
        (folder / "card.md").write_text("new")
        raise ZeroDivisionError
    assert everything_below(tmp_path) == ["out", "out/architecture.yaml"]
    assert (target / "architecture.yaml").read_text() == "old"


def test_a_full_disk_is_one_clear_line(tmp_path):
    """Whatever part of the block meets it."""
    with pytest.raises(ExportError, match="No space left"), staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert everything_below(tmp_path) == []


def test_an_earlier_export_is_replaced_whole(tmp_path):
    """Files of the old one do not mix with those of the new one."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "proxy").mkdir()
    (target / "architecture.yaml").write_text("old")
    with staged_folder(check_target(target, OWNED, force=True)) as folder:
        (folder / "card.md").write_text("new")
    assert everything_below(tmp_path) == ["out", "out/card.md"]


def test_an_empty_folder_and_a_new_one_may_be_written_to(tmp_path):
    """Also through a symbolic link, which then points to the export."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    target = check_target(tmp_path / "link", OWNED, force=False)
    with staged_folder(target) as folder:
        (folder / "card.md").write_text("card")
    assert (tmp_path / "link" / "card.md").read_text() == "card"
    assert check_target(tmp_path / "new", OWNED, force=False) == tmp_path / "new"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_other_files_is_refused_even_with_force(tmp_path, force):
    """--force on the wrong folder deletes nothing."""
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "card.md").write_text("old")
    with pytest.raises(ExportError, match=r"no export wrote.*thesis\.tex"):
        check_target(tmp_path, OWNED, force=force)


def test_a_folder_of_names_that_anybody_uses_is_no_export(tmp_path):
    """README.md and model.py may be a user's own work: --force needs an architecture beside."""
    (tmp_path / "README.md").write_text("years of work")
    (tmp_path / "model.py").write_text("years of work")
    with pytest.raises(ExportError, match=r"no export wrote.*README\.md"):
        check_target(tmp_path, OWNED, force=True)


def test_an_earlier_export_needs_force(tmp_path):
    """Without it the error names --force."""
    (tmp_path / "architecture.yaml").write_text("old")
    (tmp_path / "card.md").write_text("of an older version")
    with pytest.raises(ExportError, match="--force"):
        check_target(tmp_path, OWNED, force=False)
    assert check_target(tmp_path, OWNED, force=True) == tmp_path


def test_a_file_and_the_present_folder_are_refused(tmp_path, monkeypatch):
    """A folder cannot be moved over a file, nor under the shell that runs in it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file"):
        check_target(tmp_path / "file", OWNED, force=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ExportError, match="runs in"):
        check_target(".", OWNED, force=False)


def test_a_parent_that_is_a_file_is_one_clear_line(tmp_path):
    """``--out file/x``: the operating system's reason, the path, nothing left."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExportError, match="cannot be written"),
        staged_folder(check_target(tmp_path / "file" / "x", OWNED, force=False)),
    ):
        raise AssertionError("the block must not run")
    assert everything_below(tmp_path) == ["file"]


READ_ONLY = """
import os, sys
from dilnas.errors import ExportError
from dilnas.export.bundle import OWNED
from dilnas.export.folder import check_target, staged_folder
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    with staged_folder(check_target(sys.argv[1], OWNED, force=False)):
        print("written")
except ExportError as error:
    print(error)
"""


def test_a_read_only_parent_is_one_clear_line():
    """A folder of the system that an ordinary user cannot write to."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, "/usr/dilnas-export"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "/usr/dilnas-export: cannot be written: Permission denied" in done.stdout
