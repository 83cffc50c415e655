"""A measurement in a Python process of its own, without what something else left in memory.

    parent                                        child: python -P -m MODULE
    request as JSON              -> stdin         reads it whole
    waits, at most timeout_s                      measures
    {"result": …} or {"error": …} <- stdout       one JSON document; all other output is on stderr

A child that dies, hangs or answers something else is one DeviceError line; Ctrl-C ends it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dilnas import errors
from dilnas.errors import DeviceError, DilnasError

__all__ = ["answer", "run_fresh"]

TIMEOUT_S = 600.0
TAIL = 4000
"""Characters of a child's stderr that are kept as a note of the error."""


def run_fresh(
    module: str, request: Mapping[str, Any], *, where: str = "", timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """What ``module``, run in a fresh process, answers to ``request``.

    The process has this one's environment, working directory and interpreter, and imports the
    same dilnas. It is ended when this call ends, however it ends.

    Args:
        module: a module that calls ``answer`` when it is run, by its dotted name.
        request: plain data.
        where: the option or field at fault in an error of the process itself.
        timeout_s: seconds after which the child is ended.

    Raises:
        DilnasError: of the kind, and with the words, that the child raised.
        DeviceError: the child died, was killed, took too long or answered nonsense; its last
            words on stderr are a note of the exception.
    """
    if not sys.executable:
        raise DeviceError("Python does not know its own interpreter's path", where=where)
    command = [sys.executable, "-P", "-m", module]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace", env=_environment(),
    )  # fmt: skip
    try:
        out, err = process.communicate(json.dumps(dict(request)), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        raise _noted(
            DeviceError(
                "the measuring process did not finish", where=where,
                expected=f"within {timeout_s:g} s",
            ),
            err,
        ) from None  # fmt: skip
    finally:  # Ctrl-C and whatever else comes while waiting
        if process.poll() is None:
            process.kill()
            process.wait()
    return _read(out, err, process.returncode, where)


def _environment() -> dict[str, str]:
    """This process's, with the folder that dilnas lies in where an interpreter would not look."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    paths = sysconfig.get_paths()
    if root not in (paths["purelib"], paths["platlib"]):
        found = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([root, *([found] if found else [])])
    environment.setdefault("PYTHONIOENCODING", "utf-8")
    return environment


def _read(out: str, err: str, code: int, where: str) -> dict[str, Any]:
    """The result in a child's answer, or what it raised."""
    if code < 0:
        name = _signal_name(-code)
        why = f"the measuring process was killed by {name}"
        if name == "SIGKILL":
            why += ": most likely the system ran out of memory"
        raise _noted(DeviceError(why, where=where), err)
    try:
        document = json.loads(out)
        failure = document.get("error")
        result = document.get("result")
    except (ValueError, AttributeError):
        failure = result = None
    if isinstance(failure, dict):
        raise _noted(_rebuilt(failure), err)
    if code != 0 or not isinstance(result, dict):
        last = next((line for line in reversed(err.splitlines()) if line.strip()), "no message")
        raise _noted(
            DeviceError(f"the measuring process failed: {last}", where=where, got=f"exit {code}"),
            err,
        )
    return result


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _noted(error: DilnasError, err: str) -> DilnasError:
    if err.strip():
        error.add_note(err[-TAIL:])
    return error


def _rebuilt(failure: Mapping[str, Any]) -> DilnasError:
    """The child's error, of its own kind."""
    kind = getattr(errors, str(failure.get("kind")), DeviceError)
    if not (isinstance(kind, type) and issubclass(kind, DilnasError)):
        kind = DeviceError
    return kind(
        str(failure.get("rule")), where=str(failure.get("where") or ""),
        expected=failure.get("expected"), got=failure.get("got"),
    )  # fmt: skip


def answer(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """In the child: answer the request on stdin by what ``measure`` makes of it; an exit code.

    Only the answer goes to stdout: what libraries print there goes to stderr. A DilnasError is
    answered and exits with 2; any other exception is a bug, shown on stderr, and exits with 1.
    """
    _die_with_parent()
    with _own_stdout() as channel:
        request = json.loads(sys.stdin.read())
        code = 0
        try:
            document: dict[str, Any] = {"result": measure(request)}
        except DilnasError as error:
            code = error.exit_code
            document = {
                "error": {
                    "kind": type(error).__name__, "rule": error.rule, "where": error.where,
                    "expected": _plain(error.expected), "got": _plain(error.got),
                }
            }  # fmt: skip
        json.dump(document, channel)
    return code


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else repr(value)


@contextlib.contextmanager
def _own_stdout() -> Iterator[IO[str]]:
    """The real stdout, while everybody else's, native libraries' too, is stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        yield channel


def _die_with_parent() -> None:
    """On Linux: be killed when the parent dies, even by SIGKILL (man 2 prctl)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
