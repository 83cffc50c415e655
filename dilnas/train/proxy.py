"""Proxy: a named low-fidelity training setting on which a search compares candidates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dilnas.arch import Architecture, Stage
from dilnas.data import DataSplits, ImageSet
from dilnas.data.resize import check_image_size
from dilnas.errors import InputError
from dilnas.train.recipe import Recipe

__all__ = ["PROXIES", "Proxy", "proxy", "proxy_architecture", "training_share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What a candidate goes through: cheap, and the same for all.

    Attributes:
        name: its name in ``PROXIES``.
        image_size: side of the images, in pixels.
        images: images seen, repeats counted, when each rung is reached; ascending.
        width: factor on every stage's ``dim``.
        data_share: share of the training split that is used, all classes in proportion.
        recipe: how it is trained.
    """

    name: str
    image_size: int = 32
    images: tuple[int, ...]
    width: float = 1.0
    data_share: float = 1.0
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(self.images))
        check_image_size(self.image_size)
        rising = all(a < b for a, b in zip((0, *self.images), self.images, strict=False))
        if not self.images or not rising:
            raise InputError("must rise from rung to rung", where="images", got=self.images)
        for name in ("width", "data_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError("must be in (0, 1]", where=name, got=getattr(self, name))

    @property
    def rungs(self) -> int:
        """Number of rungs."""
        return len(self.images)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        out = asdict(self)
        out["images"] = list(self.images)
        out["recipe"]["betas"] = list(self.recipe.betas)
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Proxy:
        """Inverse of ``to_dict``."""
        try:
            return cls(**{**data, "recipe": Recipe(**data["recipe"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"not a proxy: {error}", where="proxy") from error


PROXIES: dict[str, Proxy] = {
    "smoke": Proxy(
        name="smoke", images=(256, 768), width=0.25, data_share=0.1,
        recipe=Recipe(batch_size=16, lr=2e-3, warmup_images=128),
    ),
    "quick": Proxy(
        name="quick", images=(2048, 6144), width=1 / 4,
        recipe=Recipe(batch_size=32, lr=2e-4, warmup_images=512),
    ),
    "standard": Proxy(
        name="standard", image_size=64, images=(100_000, 300_000, 900_000),
        recipe=Recipe(batch_size=256, lr=1e-3, warmup_images=25_600, shift=4, flip=True,
                      drop_path_rate=0.1),
    ),
}  # fmt: skip
"""smoke: about a second, for tests. quick: the default, seconds a candidate on one CPU core.
standard: full width at 64 pixels, for a GPU.

quick, measured on the embedded data (2,000 val images, so one standard error is 0.9 points): Tiny
at width 1/3 reached 0.824 at 6,144 images with batches of 32 at rate 1e-3 (0.790 at 2e-3; 0.823
with batches of 16); the last weights were 2 to 3 points below their average. A 1 GFLOPs network
reached 0.831 at width 1/3, 0.833 at 1/4 and 0.823 at 1/8: the data, not the width, is what limits
so short a run. At 1/4 the widths of the default space stay distinct. A convolutional stem has the
same cost at every width: 6.8 of the 10.2 M that Tiny has in the proxy. Scores hardly grow with cost
here (4.0 GFLOPs, 22 blocks: 0.824; 1.0 GFLOPs, 8 blocks: 0.833): they compare designs of like
cost, they do not show what size is worth on a full training."""


def proxy(name: str) -> Proxy:
    """The proxy of that name. Raises InputError for an unknown one."""
    if name not in PROXIES:
        raise InputError("unknown proxy", where=repr(name), expected=" | ".join(PROXIES))
    return PROXIES[name]


def proxy_architecture(
    architecture: Architecture, proxy: Proxy, splits: DataSplits
) -> Architecture:
    """The network that is really trained for ``architecture``.

    Each stage's ``dim`` times ``proxy.width``, rounded to a multiple of ``num_heads`` (heads,
    dilations, windows, depths and ratios stay); classes and input channels are those of the data.
    """
    stages = tuple(_narrowed(stage, proxy.width) for stage in architecture.stages)
    return architecture.replace(
        stages=stages, num_classes=splits.num_classes, in_chans=splits.in_chans
    )


def _narrowed(stage: Stage, width: float) -> Stage:
    if width == 1:
        return stage
    head_dim = max(1, round(stage.dim * width / stage.num_heads))
    return replace(stage, dim=head_dim * stage.num_heads)


def training_share(splits: DataSplits, proxy: Proxy) -> ImageSet:
    """The part of the training split that ``proxy`` uses: every class in proportion."""
    from dilnas.data.sets import carve

    if proxy.data_share == 1:
        return splits.train
    import torch

    labels = splits.train.labels.tolist()
    names = [str(i) for i in range(len(labels))]
    kept, _ = carve(labels, names, (proxy.data_share,), where=splits.name)
    return splits.train.subset(torch.tensor(kept))
