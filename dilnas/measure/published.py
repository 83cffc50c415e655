"""What the paper prints, held against the closed form: said where it agrees and where not."""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.records import Cost
from dilnas.variants import PUBLISHED, VARIANTS

__all__ = ["published_notes", "variant_of"]

PAPER_SIDE = 224
"""Published FLOPs are at 224 x 224."""


def variant_of(architecture: Architecture) -> str | None:
    """Name of the paper's variant that ``architecture`` is; None if it is none of them."""
    for name, known in VARIANTS.items():
        if architecture == known:
            return name
    return None


def published_notes(architecture: Architecture, cost: Cost) -> tuple[str, ...]:
    """A sentence for each published FLOPs figure of this network, at its printed precision."""
    name = variant_of(architecture)
    if name is None or (cost.height, cost.width) != (PAPER_SIDE, PAPER_SIDE):
        return ()
    notes = []
    for row in PUBLISHED:
        if row.variant != name or row.layout != "DDGG" or row.gflops is None:
            continue
        printed = str(row.gflops)
        digits = len(printed.partition(".")[2])
        whose = name.capitalize() + (" with token labeling" if row.token_labeling else "")
        if f"{cost.flops / 1e9:.{digits}f}" == printed:
            notes.append(f"the paper prints {printed} G for {whose}: the same at its precision")
        else:
            exact = f"{cost.flops / 1e9:.3f} G"
            notes.append(
                f"the paper prints {printed} G for {whose}; the official code gives {exact}"
            )
    return tuple(notes)
