"""Command line: parse, call the library, print, exit code; nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from dilnas.errors import DilnasError
from dilnas.files import full_disk

__all__ = ["main"]

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a bug, 2 the user's input, 130 interrupted.

    A reader of the output that goes away (``dilnas … | head``) ends the command quietly with 0.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(words)
    if not debug:
        sys.excepthook = _one_line
    try:
        code = _run(words)
        sys.stdout.flush()  # here, where a reader that has gone can still be answered
    except DilnasError as error:
        if debug:
            raise
        _say(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:
        _mute()
        code = 0
    except SystemExit as end:
        # Rich turns a broken pipe into an exit of its own.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        code = 0
    except OSError as error:
        if debug or not full_disk(error):  # nobody's mistake in what was typed, and no bug
            raise
        _mute()
        _say(f"error: cannot write {error.filename or 'the output'}: {error.strerror}")
        code = 2
    sys.exit(code)


def _mute() -> None:
    """Let what is still buffered go nowhere: Python would complain about it on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    from dilnas.cli.app import app
    from dilnas.cli.usage import USAGE_ERRORS, usage_line

    try:
        code = app(args=words, prog_name="dilnas", standalone_mode=False)
    except USAGE_ERRORS as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # click before typer 0.22: an Abort
            raise KeyboardInterrupt from error
        if not (line := usage_line(error)):
            return 0
        _say(f"error: {line}")
        return 2
    return code if isinstance(code, int) else 0


def _take_debug(words: list[str]) -> bool:
    """Remove ``--debug`` from wherever it stands before a lone ``--``."""
    end = words.index("--") if "--" in words else len(words)
    found = [i for i, word in enumerate(words[:end]) if word == "--debug"]
    for i in reversed(found):
        del words[i]
    return bool(found) or os.environ.get("DILNAS_DEBUG", "") not in ("", "0")


def _say(text: str) -> None:
    print(f"dilnas: {text}", file=sys.stderr)


def _one_line(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """What an unexpected exception looks like: short, and how to see the rest."""
    text = " ".join(str(error).split())
    _say(f"unexpected {kind.__name__}: {text} (a bug; --debug shows where)")
