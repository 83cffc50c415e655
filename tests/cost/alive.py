"""Networks that are really there, and the bytes of their tensors that are alive at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import torch
from drawn import architectures, sides
from hypothesis import assume
from hypothesis import strategies as st

import dilnas.ops
from dilnas.arch import Architecture
from dilnas.measure.memory import tally_bytes
from dilnas.model import attention, build_model
from dilnas.ops import operator
from dilnas.ops.groups import working_dtype


class World:
    """A network and a batch, really there.

    ``half``: the forward pass goes under the CPU's autocast in bfloat16; ``form``: of the weights
    and images.
    """

    def __init__(
        self,
        architecture: Architecture,
        size: tuple[int, int],
        batch: int,
        *,
        half: bool = False,
        **form: object,
    ) -> None:
        self.half = half
        self.model = build_model(architecture).to(**form)
        self.images = torch.randn(batch, architecture.in_chans, *size).to(**form)
        kept = (*self.model.parameters(), *self.model.buffers(), self.images)
        self.own = {t.untyped_storage().data_ptr() for t in kept if t.numel()}
        self.own_bytes = sum(t.untyped_storage().nbytes() for t in kept)

    def logits(self) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            out: torch.Tensor = self.model.train()(self.images)
        return out

    def inference(self) -> int:
        """Bytes at the peak of an inference call."""
        self.model.eval()

        def call() -> None:
            with torch.inference_mode():
                self.model(self.images)

        return self.own_bytes + tally_bytes(call)

    def training(self) -> int:
        """Bytes at the peak of a training step."""

        def call() -> None:
            self.model.zero_grad(set_to_none=True)
            out = self.logits()
            out.float().square().mean().backward()

        return self.own_bytes + tally_bytes(call)

    def saved(self) -> int:
        """Bytes of the storages that autograd keeps, each once."""
        kept: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.own:
                kept[storage._cdata] = storage  # alive: nobody else gets the address
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.logits().float().square().mean()
        return sum(storage.nbytes() for storage in kept.values())


@st.composite
def cases(draw: Callable) -> tuple[Architecture, tuple[int, int], int]:
    """Networks that can be trained: a batch norm needs more than one value a channel."""
    architecture = draw(architectures(max_stages=3, max_dim=32))
    size, batch = draw(sides(architecture)), draw(st.integers(1, 4))
    assume(batch * size[0] * size[1] > architecture.stride**2)
    return architecture, size, batch


@contextmanager
def fused_msda() -> Iterator[None]:
    """MSDA by the operator, with kernels that only write their results."""
    kernels = ModuleType("dilnas.ops.triton_launch")

    def forward(qkv: torch.Tensor, heads: int, *_: object, keep: bool) -> tuple:
        batch, height, width, tripled = qkv.shape
        kept = (heads, batch * height * width) if keep else (0,)
        out = qkv.new_zeros(batch, height, width, tripled // 3)
        return out, qkv.new_zeros(kept, dtype=working_dtype(qkv.dtype))

    def backward(grad: torch.Tensor, qkv: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.zeros_like(qkv, memory_format=torch.contiguous_format)

    kernels.forward, kernels.backward = forward, backward
    with (
        mock.patch.object(dilnas.ops, "triton_launch", kernels, create=True),
        mock.patch.object(operator, "_fused", lambda qkv: True),
        mock.patch.object(attention, "msda", operator.msda_operator),
    ):
        yield
