"""The paper's networks as data, and the published numbers that are certain.

A number whose source was not seen (the paper's own tables were not at hand) is not in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError

__all__ = ["PUBLISHED", "VARIANTS", "Published", "variant"]

VARIANTS: dict[str, Architecture] = {
    "tiny": Architecture.from_official(depths=[2, 2, 6, 2], embed_dim=72),
    "small": Architecture.from_official(depths=[3, 5, 8, 3], embed_dim=72),
    "base": Architecture.from_official(depths=[4, 8, 10, 3], embed_dim=96),
}
"""DilateFormer-Tiny, -Small and -Base, as the official code builds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published result on ImageNet-1K.

    Attributes:
        variant: a name in ``VARIANTS``.
        layout: MSDA (D) or global (G) in each stage; "DDGG" is the default.
        top1_percent: accuracy in percent at 224 x 224; None where not recovered.
        gflops: FLOPs in 10^9 as printed, at 224 x 224; None where not recovered.
        token_labeling: trained with token labeling.
        source: where the number was seen.
    """

    variant: str
    layout: str = "DDGG"
    top1_percent: float | None = None
    gflops: float | None = None
    token_labeling: bool = False
    source: str = "reading note that quotes the paper"


PUBLISHED: tuple[Published, ...] = (
    Published(variant="tiny", top1_percent=82.1, gflops=3.2),
    Published(variant="small", top1_percent=83.3, gflops=4.8),
    Published(variant="small", top1_percent=83.9, gflops=4.9, token_labeling=True),
    Published(variant="base", top1_percent=84.9, gflops=10.0, token_labeling=True),
    Published(variant="tiny", layout="DGGG", top1_percent=82.2),
    Published(variant="tiny", layout="DDDD", top1_percent=80.5),
)
"""Rows marked [A] or [N] in the project's reference; none from memory. GGGG (81.8) is left out:
it was derived from a difference, not printed."""


def variant(name: str, **changes: Any) -> Architecture:
    """The paper's network of that name ("tiny", "small", "base"), some fields changed.

    Raises ArchitectureError for an unknown name or field.

        >>> variant("tiny", num_classes=10).num_classes
        10
    """
    if name not in VARIANTS:
        raise ArchitectureError("unknown variant", where=repr(name), expected=" | ".join(VARIANTS))
    return VARIANTS[name].replace(**changes)
