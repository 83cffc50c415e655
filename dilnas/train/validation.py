"""Validation: every image once, whatever the number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from dilnas.errors import DataError
from dilnas.train.group import Group
from dilnas.train.loader import val_batches
from dilnas.train.transforms import Transform

if TYPE_CHECKING:
    from dilnas.data.stream import Items

__all__ = ["validate"]


@torch.inference_mode()
def validate(
    model: nn.Module, items: Items, transform: Transform, group: Group, *, size: int,
    loaders: int, skip: bool,
) -> dict[str, float]:  # fmt: skip
    """``top1``, ``top5`` (shares, 0..1; of all classes where there are fewer than 5), mean
    cross-entropy ``loss`` and the number of ``images`` of ``model``, left in evaluation mode.

    Worker r takes the images r, r + world, …; counts are summed, so that nothing is seen twice.
    Each worker must call. Batches are of at most ``size`` images.
    """
    model.eval()
    indices = range(group.rank, len(items.labels), group.world)
    top1, top5, loss, images = 0.0, 0.0, 0.0, 0
    pin = group.device.type == "cuda"
    for batch in val_batches(items, transform, indices, size, loaders=loaders, skip=skip, pin=pin):
        floats = batch.images.to(group.device, non_blocking=True, memory_format=torch.channels_last)
        labels = batch.labels.to(group.device, non_blocking=True)
        logits = model(floats).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        top1 += float(best[:, 0].sum())
        top5 += float(best.any(1).sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        images += len(labels)
    top1, top5, loss, count = group.sum([top1, top5, loss, float(images)])
    if not count:
        raise DataError("not one image of the validation split can be read", where="--data")
    return {"top1": top1 / count, "top5": top5 / count, "loss": loss / count, "images": count}
