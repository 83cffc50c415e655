"""Files read safely and written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dilnas.errors import DilnasError, InputError

__all__ = ["MAX_TEXT_BYTES", "parse_yaml", "read_text", "write_atomic", "write_with"]

MAX_TEXT_BYTES = 4 << 20
"""A configuration file larger than this is refused before it is parsed."""


NO_SPACE = frozenset((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG))
"""Errors of a full disk, a used-up quota, a limit on the size of files."""


def full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk that ``error`` is or stems from, if it does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return error
        error = error.__cause__ or error.__context__
    return None


def read_text(path: str | os.PathLike[str], *, kind: type[DilnasError] = InputError) -> str:
    """The UTF-8 text of a small file. Raises ``kind`` if it cannot be read or is too large."""
    file = Path(path)
    try:
        if file.is_dir():
            raise kind("a file is needed, this is a folder", where=str(file))
        with file.open("rb") as opened:
            data = opened.read(MAX_TEXT_BYTES + 1)  # a device has no end and no size
        if len(data) > MAX_TEXT_BYTES:
            raise kind("file too large", where=str(file), expected=f"<= {MAX_TEXT_BYTES} bytes")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise kind("not UTF-8 text", where=str(file)) from error
    except ValueError as error:  # a NUL in the name
        raise kind(f"cannot be read: {error}", where=str(file)) from error
    except OSError as error:
        raise kind(f"cannot be read: {error.strerror or error}", where=str(file)) from error


def parse_yaml(text: str, *, kind: type[DilnasError] = InputError, where: str = "") -> Any:
    """Data of a YAML text: plain types only, no aliases (they can blow up), no repeated keys.

    Raises ``kind`` with the line at fault.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses what a configuration never needs."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str | int | float | bool) or key in seen:
                    problem = f"repeated or unusable key {str(key)[:40]!r}"
                    raise yaml.constructor.ConstructorError(
                        None, None, problem, key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - Loader derives from SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise kind(f"not acceptable YAML{line}: {error.problem}", where=where) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise kind(f"not acceptable YAML: {error}", where=where) from error
    except (LookupError, TypeError, AttributeError) as error:
        # What PyYAML raises for a tag whose value does not fit it: !!int "", !!bool maybe, …
        raise kind("not acceptable YAML: a tag that its value does not fit", where=where) from error


@contextmanager
def write_with(
    path: str | os.PathLike[str], *, kind: type[DilnasError] = InputError
) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; move it there when the block ends well.

    A block that fails leaves ``path`` as it was and nothing beside it. Raises ``kind`` when the
    folder cannot be written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise kind(f"cannot be written: {error.strerror or error}", where=str(target)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise kind(f"cannot be written: {error.strerror or error}", where=str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that writers killed in the middle of ``write_with`` left there."""
    for entry in Path(folder).glob(".*.????????"):
        if re.fullmatch(r"\..+\.[a-z0-9_]{8}", entry.name) and entry.is_file():
            entry.unlink(missing_ok=True)


def write_atomic(
    path: str | os.PathLike[str], content: str | bytes, *, kind: type[DilnasError] = InputError
) -> None:
    """Write ``content`` to ``path``: after a crash there is the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    with write_with(path, kind=kind) as temporary:
        temporary.write_bytes(data)
