"""What a counter is blind to in a module as it stands: operators that do multiply-adds uncounted.

A counter knows operators by name. One that it has no formula for counts as nothing, and nothing is
said: fused attention on a CPU, a fused encoder layer, a custom kernel. The guard runs a copy of the
module, sees every operator and names those. Elementwise products that are added up cannot be told
from other elementwise work; of dilnas's own MSDA it is known, so that is named too. As the fused
operator ``dilnas::msda`` it has a formula in torch's counter and none in the others.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dilnas.count.by_fvcore import run_fvcore
from dilnas.count.by_ptflops import ptflops_engine, run_ptflops
from dilnas.count.by_torch import run_torch
from dilnas.count.copies import copy_of, forward, sample_for, undisturbed
from dilnas.model.attention import MultiScaleDilatedAttention
from dilnas.ops import ENVIRONMENT_VARIABLE

__all__ = ["BlindSpot", "blind_spots", "multiplies", "observe"]

WORDS = frozenset((
    "mm", "bmm", "addmm", "addbmm", "baddbmm", "mv", "addmv", "dot", "vdot", "matmul", "linear",
    "einsum", "bilinear", "trilinear", "convolution", "conv", "conv1d", "conv2d", "conv3d",
    "attention", "mha", "rnn", "lstm", "gru", "cdist",
))  # fmt: skip
"""Words in the name of an operator that does multiply-adds: ``_int_mm``, ``mkldnn_rnn_layer``."""

FUSED = frozenset(("_transformer_encoder_layer_fwd", "_native_multi_head_attention"))
ELEMENTWISE = frozenset(("upsample", "interpolate", "thnn"))
"""Words of operators that have one of ``WORDS`` in their name and multiply no matrices."""

OWN = frozenset(("aten", "prim", "prims", "profiler", "onnx"))
"""Namespaces of torch's own operators. What the others do is anybody's guess."""

MSDA = "dilated attention"
"""The operator name under which MSDA is reported that works elementwise."""

FUSED_MSDA = "dilnas::msda"

BIAS = "linear layers on maps that do not lie contiguous"
"""torch runs such a layer as a product, then a sum: ptflops counts biases in addmm alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindSpot:
    """Calls of one operator whose operations a counter does not count.

    ``macs`` are its multiply-adds for one input, None where they cannot be told. ``additions`` are
    those of biases, which only a counter that otherwise counts them can miss.
    """

    operator: str
    calls: int
    macs: int | None
    additions: int = 0

    @property
    def sentence(self) -> str:
        """What a user should know: how much is missed, in which operator."""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        missed = "unknown multiply-adds" if self.macs is None else f"{self.macs:,} multiply-adds"
        what = self.operator
        if what == BIAS:
            missed = f"{self.additions:,} additions of biases"
        elif what == MSDA:
            what += ", which runs as elementwise products and sums"
        elif what == FUSED_MSDA:
            what = f"fused dilated attention, {what}"
        elif "scaled_dot_product" in what:
            what = f"fused attention, {what}"
        elif what.partition("::")[0] not in OWN:
            what = f"the custom operator {what}"
        return f"{missed} in {calls} of {what}"


def blind_spots(
    module: nn.Module, shape: tuple[int, ...], counter: str, *, device: str = "cpu"
) -> tuple[BlindSpot, ...]:
    """What ``counter`` does not see in a forward pass of a copy of ``module``.

    Args:
        module: any module that takes one tensor.
        shape: of one input, without the batch.
        counter: "fvcore", "ptflops" or "torch".
        device: "cpu" or "cuda", as a user runs it, or "meta", where torch takes other operators and
            fvcore cannot run.

    Raises:
        InputError: the module cannot be copied.
        DependencyError: the counter cannot be imported.
    """
    copied = copy_of(module, device)
    return observe(copied, sample_for(copied, shape, device), counter)[1]


def observe(
    module: nn.Module, sample: Tensor, counter: str
) -> tuple[dict[str, int], tuple[BlindSpot, ...]]:
    """A counter's figures for ``module(sample)`` by operator, and what it does not see there.

    Runs ``module`` itself, so hand it a copy.
    """
    if counter == "fvcore":
        counts, skipped = run_fvcore(module, sample)
        seen = [(name, calls) for name, calls in skipped.items() if multiplies(name)]
        return counts, _fvcore_spots(module, sample, seen)
    counts = (run_ptflops if counter == "ptflops" else run_torch)(module, sample)
    recorder = _Recorder(_registry(counter), decompose=counter == "torch")
    with undisturbed(), recorder:
        forward(module, sample)
    return counts, (*recorder.spots(), *_second_look(module, sample, counter))


def _fvcore_spots(
    module: nn.Module, sample: Tensor, skipped: list[tuple[str, int]]
) -> tuple[BlindSpot, ...]:
    """Operators of the trace that fvcore skips; of MSDA the multiply-adds are known.

    While ``torch.jit`` traces, MSDA is written as matrix products, unless a backend is forced.
    """
    elementwise = os.environ.get(ENVIRONMENT_VARIABLE) in ("portable", "oracle")
    each: list[int] = []
    if elementwise or FUSED_MSDA in dict(skipped):
        each = _Hooked(module, sample).msda
    spots = []
    for name, calls in skipped:
        own = name == FUSED_MSDA and calls == len(each)
        spots.append(BlindSpot(operator=name, calls=calls, macs=sum(each) if own else None))
    if elementwise and each:
        spots.append(BlindSpot(operator=MSDA, calls=len(each), macs=sum(each)))
    return tuple(spots)


def multiplies(name: str) -> bool:
    """Whether the operator ``name`` ("aten::_int_mm") does multiply-adds, or may: is custom."""
    namespace, _, own = name.rpartition("::")
    if namespace and namespace not in OWN:
        return True
    words = set(re.split(r"[_.]+", own.lower()))
    return own in FUSED or bool(words & WORDS and not words & ELEMENTWISE)


def _registry(counter: str) -> Mapping[Any, Any]:
    """The operators that a counter of dispatched operators has a formula for."""
    if counter == "ptflops":
        found: Mapping[Any, Any] = ptflops_engine().ATEN_OPS_MAPPING
        return found
    from torch.utils.flop_counter import flop_registry

    return flop_registry


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operator that runs and keeps those that a counter has no formula for.

    ``decompose``: operators made of others are taken apart first, as torch's counter does; it
    matters inside of ``torch.inference_mode``, where they arrive whole.
    """

    supports_higher_order_operators = True

    def __init__(self, known: Mapping[Any, Any], *, decompose: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known, self.decompose = known, decompose
        self.found: dict[str, list[int | None]] = {}
        self.addmm = self.products = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        packet = getattr(func, "_overloadpacket", func)
        if self.decompose and packet not in self.known and hasattr(func, "decompose"):
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        self.addmm += packet is torch.ops.aten.addmm
        self.products += packet in (torch.ops.aten.bmm, torch.ops.dilnas.msda)
        if packet not in self.known:
            namespace = getattr(func, "namespace", "higher_order")
            name = f"{namespace}::{str(packet).rpartition('.')[2]}"
            if multiplies(name):
                self.found.setdefault(name, []).append(_macs_of(packet, name, args, kwargs, out))
        return out

    def spots(self) -> tuple[BlindSpot, ...]:
        """Calls and multiply-adds by operator."""
        return tuple(
            BlindSpot(operator=name, calls=len(each), macs=_total(each))
            for name, each in self.found.items()
        )


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _macs_of(packet: Any, name: str, args: Any, kwargs: Any, out: Any) -> int | None:
    """Multiply-adds of one call, by torch's own formula where there is one; None: unknown."""
    from torch.utils.flop_counter import flop_registry

    if packet in flop_registry:
        return int(flop_registry[packet](*args, **(kwargs or {}), out_val=out)) // 2
    if "scaled_dot_product" in name:
        query, key, value = (tensor.shape for tensor in args[:3])
        # q·k and p·v for each of the queries: (…, S, d) with (…, L, d) and (…, L, e)
        return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))
    return None


def _second_look(module: nn.Module, sample: Tensor, counter: str) -> tuple[BlindSpot, ...]:
    """What operators alone do not tell: MSDA that works elementwise, biases counted elsewhere."""
    found = _Hooked(module, sample, biases=counter == "ptflops")
    spots = []
    if found.elementwise:
        macs = sum(found.elementwise)
        spots.append(BlindSpot(operator=MSDA, calls=len(found.elementwise), macs=macs))
    if found.biases:
        added = sum(found.biases)
        spots.append(BlindSpot(operator=BIAS, calls=len(found.biases), macs=0, additions=added))
    return tuple(spots)


class _Hooked:
    """What hooks see in a pass of its own, for they change fast paths; no pass if none is set.

    Attributes:
        msda: multiply-adds, 2·w²·N·C, of each call of dilnas's MSDA.
        elementwise: those of the calls that ran neither products nor the fused operator.
        biases: with ``biases``, additions of each linear layer's bias outside of ``addmm``.
    """

    def __init__(self, module: nn.Module, sample: Tensor, *, biases: bool = False) -> None:
        self.msda: list[int] = []
        self.elementwise: list[int] = []
        self.biases: list[int] = []
        self._recorder = _Recorder(_registry("torch"))
        self._before: list[tuple[int, int]] = []
        handles = []
        for part in module.modules():
            dilated = isinstance(part, MultiScaleDilatedAttention)
            if dilated or (biases and isinstance(part, nn.Linear) and part.bias is not None):
                handles.append(part.register_forward_pre_hook(self._enter))
                leave = self._leave_msda if dilated else self._leave_linear
                handles.append(part.register_forward_hook(leave))
        if handles:
            with undisturbed(), self._recorder:
                forward(module, sample)
        for handle in handles:
            handle.remove()

    def _enter(self, _: nn.Module, __: Any) -> None:
        self._before.append((self._recorder.products, self._recorder.addmm))

    def _leave_msda(self, part: nn.Module, _: Any, out: Tensor) -> None:
        assert isinstance(part, MultiScaleDilatedAttention)
        self.msda.append(2 * part.window_size**2 * out.numel())
        if self._before.pop()[0] == self._recorder.products:
            self.elementwise.append(self.msda[-1])

    def _leave_linear(self, _: nn.Module, __: Any, out: Tensor) -> None:
        if self._before.pop()[1] == self._recorder.addmm:
            self.biases.append(out.numel())
