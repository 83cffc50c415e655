"""Command line: parse, call the library, print, exit code; nothing else."""


def main() -> None:
    """Entry point."""
