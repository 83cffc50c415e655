"""What can go wrong through a user's input, as exceptions.

Every one is shown as a single line, *rule, where, expected, got*, and ends the command with exit
code 2. Anything else that escapes is a bug in dilnas and is shown as one.
"""

from __future__ import annotations

__all__ = [
    "ArchitectureError",
    "BudgetError",
    "CheckpointError",
    "CounterError",
    "DataError",
    "DependencyError",
    "DeviceError",
    "DilnasError",
    "ExportError",
    "InputError",
    "RunError",
    "SpaceError",
]


class DilnasError(Exception):
    """A rule that the user's input breaks.

    Args:
        rule: the rule, as a sentence without a full stop ("num_heads must divide dim").
        where: the field, file or option at fault ("stages[1].num_heads", "--budget-gflops").
        expected: what would have been right; left out when the rule says it.
        got: what was there instead; shown with ``repr`` unless it is a string.
    """

    exit_code = 2

    def __init__(
        self, rule: str, *, where: str = "", expected: object = None, got: object = None
    ) -> None:
        self.rule = rule
        self.where = where
        self.expected = expected
        self.got = got
        super().__init__(rule, where, expected, got)

    def __str__(self) -> str:
        rule = _shown(self.rule, 600)
        text = f"{_shown(self.where, 300)}: {rule}" if self.where else rule
        details = []
        if self.expected is not None:
            details.append(f"expected {_shown(self.expected)}")
        if self.got is not None:
            details.append(f"got {_shown(self.got)}")
        if details:
            text += f" ({', '.join(details)})"
        line = " ".join(text.split())
        if line.isprintable():
            return line
        # Escape sequences and lone surrogates from a hostile file must not reach a terminal.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.rule, self.where, self.expected, self.got)


def _rebuild(
    kind: type[DilnasError], rule: str, where: str, expected: object, got: object
) -> DilnasError:
    """Undo pickling: errors cross process borders when a worker raises one."""
    return kind(rule, where=where, expected=expected, got=got)


def _shown(value: object, limit: int = 120) -> str:
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to print the longest
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class ArchitectureError(DilnasError):
    """An architecture that cannot be built, or a name or file that holds none."""


class SpaceError(DilnasError):
    """A search-space file that is malformed, contradicts itself or is unknown."""


class InputError(DilnasError):
    """An option or argument out of range: a batch of 0, an image size that the strides forbid."""


class BudgetError(DilnasError):
    """A budget that no architecture of the space meets."""


class CounterError(DilnasError):
    """A counter and the closed form differ by what nobody explains: one of them is wrong."""


class DataError(DilnasError):
    """A data set that is missing, empty or corrupt."""


class CheckpointError(DilnasError):
    """A checkpoint that is unsafe, damaged or of another architecture."""


class RunError(DilnasError):
    """A run directory or ledger that is missing, damaged or belongs to another search."""


class DeviceError(DilnasError):
    """A device, or something a device must report, that this machine does not have."""


class DependencyError(DilnasError):
    """An optional or broken dependency that a command needs."""


class ExportError(DilnasError):
    """An export whose artefact could not be written or did not equal its source."""
