"""What makes a table's figures doubtful or is missing from it, said once for all its lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from rich.text import Text

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.errors import DilnasError
from dilnas.records import Cost, Profile
from dilnas.report.sweep import grouped

__all__ = ["Footnotes", "printable"]

_FIGURE = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")
"""A number in a sentence, as ``grouped`` sees it."""

Wrap = Callable[[str, int], Iterable[Text]]
"""Lines of a text at an indentation."""


class Footnotes:
    """Numbered doubts of some profiles; two that differ in their figures alone share a number."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._texts: dict[str, list[str]] = {}
        self._missing: dict[str, int] = {}
        for profile in profiles:
            for text in _doubts(profile):
                self._texts.setdefault(_FIGURE.sub("#", text), []).append(text)
            for quantity, reason in sorted((profile.missing or {}).items()):
                why = f"no {quantity}: {reason}"
                self._missing[why] = self._missing.get(why, 0) + 1
        self._numbers = {kind: i for i, kind in enumerate(self._texts, 1)}
        self._profiles = len(profiles)

    def of(self, profile: Profile) -> str:
        """Numbers of a profile's doubts: ``1,3``; empty without doubts."""
        kinds = {self._numbers[_FIGURE.sub("#", text)] for text in _doubts(profile)}
        return ",".join(map(str, sorted(kinds)))

    def lines(self, wrap: Wrap) -> Iterator[Text]:
        """The doubts by number, then what was asked for and is missing."""
        if self._texts:
            yield Text("  doubts", style="yellow")
        for number, texts in enumerate(self._texts.values(), 1):
            for sentence in grouped([texts]):
                yield from wrap(f"{number}  {printable(sentence)}", 4)
        for why, count in self._missing.items():
            some = "" if count == self._profiles else f" ({count} of {self._profiles} profiles)"
            yield from wrap(f"{printable(why)}{some}", 2)


def _doubts(profile: Profile) -> tuple[str, ...]:
    """Those of the profile, and one where its exact cost is not what is counted here and now."""
    recount = _recounted(profile.architecture, profile.cost.height, profile.cost.width)
    if recount == profile.cost:
        return profile.doubts
    return (*profile.doubts, "cost: the dilnas that wrote it counted something else than this one")


@lru_cache(maxsize=256)
def _recounted(architecture: Architecture, height: int, width: int) -> Cost | None:
    try:
        return cost(architecture, height, width)
    except DilnasError:  # a size that the strides do not allow: nothing that could be equal
        return None


def printable(text: str) -> str:
    """On one line, without escape sequences: what a file says must not reach the terminal raw."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(
        c if c.isprintable() else ascii(c)[1:-1] for c in line
    )  # fmt: skip
