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

quick learns slowly on purpose. At a rate of 2e-4 the val accuracy of 8 networks of 1.2 to 4.0
GFLOPs ranked with their cost: Spearman 0.71 at rung 0 and 0.93 at rung 1, from 80.8 to 83.4 %;
at 1e-3 it did not (1.0 GFLOPs, 8 blocks: 0.833; 4.0 GFLOPs, 22 blocks: 0.824). The
doubt that remains: it was one seed, and with 2,000 val images one standard error is about 0.9
points, so neighbours on a front may trade places under another seed; and a rank on 28-pixel clothes
need not be the rank of a full training on other images.

At width 1/4 the widths of the default space stay distinct. A convolutional stem costs nearly
the same at every width: 6.8 of the 10.2 M FLOPs that Tiny has there. The scores are those of the
averaged weights; the last weights were 2 to 3 points below them (measured at 1e-3)."""


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
