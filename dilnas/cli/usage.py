"""Usage errors of the command-line parser, as one line.

Typer carries its own copy of click since 0.22 and uses the installed click before that.
"""

from __future__ import annotations

import typer

__all__ = ["USAGE_ERRORS", "usage_line"]

if hasattr(typer, "TyperException"):
    USAGE_ERRORS: tuple[type[Exception], ...] = (typer.TyperException, typer.Abort)
else:
    import click

    USAGE_ERRORS = (click.ClickException, click.Abort)


def usage_line(error: Exception) -> str:
    """The parser's complaint and where help is; empty if it only showed the help text."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(getattr(error, "message", ""))
        return ""
    if isinstance(error, typer.Abort):
        return "aborted"
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dilnas"
    return f"{message}; see '{command} --help'"
