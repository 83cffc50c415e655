"""Group: the workers of a training as one of them sees them; one alone needs no other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Group"]


@dataclass(frozen=True)
class Group:
    """This worker's rank among ``world``, and its device.

    With more than one, torch's process group must have been set up (Ray Train does).
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this worker is the one that writes and tells."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the workers at each backward pass."""
        if self.world == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        ids = [self.device.index or 0] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def sum(self, values: list[float]) -> list[float]:
        """The sums over the workers, each of which must call."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        numbers: list[float] = total.tolist()
        return numbers

    def share_buffers(self, model: nn.Module) -> None:
        """Batch norm's statistics are each worker's own: those of the first hold for all."""
        if self.world == 1:
            return
        buffers: list[Tensor] = list(model.buffers())
        for buffer in buffers:
            torch.distributed.broadcast(buffer, src=0)
