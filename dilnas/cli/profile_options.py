"""What ``dilnas profile`` reads from its options: lists, sizes, files that must be writable."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from dilnas.errors import DependencyError, InputError

__all__ = ["check_roofline", "check_writable", "compile_choice", "image_sides", "numbers", "words"]


def words(where: str, text: str) -> tuple[str, ...]:
    """The items of a comma list. Raises InputError for an empty one."""
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise InputError("an empty item in the list", where=where, got=text or "nothing")
    return items


def numbers(where: str, text: str) -> tuple[int, ...]:
    """Whole numbers of a comma list. Raises InputError for anything else."""
    out = []
    for item in words(where, text):
        digits = item.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 40):
            raise InputError("must be a whole number", where=where, expected="1,8,64", got=item)
        out.append(int(item))
    return tuple(out)


def image_sides(text: str) -> tuple[int, int]:
    """(height, width) of "224" or "800x1280". Raises InputError for anything else."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isascii() and s.isdecimal() and len(s) <= 6 for s in sides):
        raise InputError(
            "must be a side or HEIGHTxWIDTH",
            where="--img-size",
            expected="224 | 800x1280",
            got=text,
        )
    return int(sides[0]), int(sides[-1])


def compile_choice(*, compile_it: bool, cuda_graph: bool) -> str:
    """eager, compile or graph. Raises InputError for both at once."""
    if compile_it and cuda_graph:
        raise InputError("choose one", where="--compile and --cuda-graph")
    return "compile" if compile_it else "graph" if cuda_graph else "eager"


def check_writable(path: Path, where: str, *, folder_too: bool = False) -> None:
    """Raise InputError if ``path`` cannot be written; asked before anything is measured.

    Nothing is left behind; a folder that is not there yet is made when there is a file for it.
    ``folder_too``: ``path`` may be a folder that gets files.
    """
    try:
        if path.is_dir() and not folder_too:
            raise InputError("a file is needed, this is a folder", where=where, got=str(path))
        folder = path if path.is_dir() else path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be written: {why}", where=where, got=str(path)) from error


def check_roofline(path: Path, *, workloads: int, latency: bool) -> None:
    """Raise what would keep the roofline from being drawn, before anything is measured."""
    where = "--roofline"
    if not latency:
        raise InputError("needs a measurement", where=where, got="--no-latency")
    if workloads != 1:
        raise InputError("is drawn for one workload", where=where, got=f"{workloads} workloads")
    if find_spec("plotly") is None:
        raise DependencyError("needs plotly, which is not installed", where=where)
    check_writable(path, where)
