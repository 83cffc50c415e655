"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dilnas.errors import ExportError

__all__ = ["check_target", "staged_folder"]

MARK = "architecture.yaml"
"""What every export holds. Names such as README.md and model.py are anybody's."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What a disk does while a block writes: the user's to solve, whoever met it."""


def check_target(out: str | os.PathLike[str], owned: Collection[str], *, force: bool) -> Path:
    """The absolute path of ``out`` if an export may be written there; else ExportError.

    It may be absent or an empty folder. With ``force`` it may also hold an earlier export: names
    in ``owned`` and nothing else, ``MARK`` among them, so that ``--force`` never deletes what no
    export wrote.
    """
    target = Path(os.path.realpath(out))
    try:
        if not target.exists():
            return target
        if not target.is_dir():
            raise ExportError("is a file, a folder is needed", where=str(out))
        names = sorted(entry.name for entry in target.iterdir())
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror or error}", where=str(out)) from error
    _check_contents(names, str(out), owned, force=force)
    if target == Path.cwd() or target in Path.cwd().parents:
        raise ExportError(
            "is the folder that the command runs in", where=str(out), expected="a folder below it"
        )
    return target


def _check_contents(names: list[str], out: str, owned: Collection[str], *, force: bool) -> None:
    foreign = [name for name in names if name not in owned]
    if foreign or (names and MARK not in names):
        raise ExportError(
            "the folder holds files that no export wrote", where=out,
            expected="a new or empty folder", got=", ".join((foreign or names)[:3]),
        )  # fmt: skip
    if names and not force:
        raise ExportError(
            "the folder holds an earlier export", where=out,
            expected="a new or empty folder, or --force",
        )  # fmt: skip


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; it becomes ``target`` when the block ends well.

    What ``target`` held before is replaced. A block that fails leaves everything as it was:
    ``target``, its parents, and nothing beside it. Raises ExportError where nothing can be
    written.
    """
    made: list[Path] = []
    staged: Path | None = None
    try:
        try:
            made = _missing_parents(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError as error:
            raise _unwritable(target, error) from error
        yield staged
        try:
            umask = os.umask(0)
            os.umask(umask)
            staged.chmod(0o777 & ~umask)
            _move_into_place(staged, target)
        except OSError as error:
            raise _unwritable(target, error) from error
    except BaseException as error:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        _remove_empty(made)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise _unwritable(target, error) from error
        raise


def _move_into_place(staged: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        staged.replace(target)  # rename replaces an empty folder
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.replace(aside)
    try:
        staged.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _missing_parents(target: Path) -> list[Path]:
    """Parents that do not exist yet, deepest first."""
    return [parent for parent in target.parents if not parent.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # never made, or somebody else put something there
            folder.rmdir()


def _unwritable(target: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot be written: {error.strerror or error}", where=str(target))
