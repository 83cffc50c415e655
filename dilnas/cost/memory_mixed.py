"""The peak of a training step under autocast on CUDA, in closed form: fp16 or bf16.

The step is that of ``dilnas.cost.memory`` with the forward pass under ``torch.autocast``: weights,
their gradients and images are fp32, the loss is computed outside of it. MSDA is the operator
``dilnas::msda`` on Triton's kernels. Counted is what ``dilnas.cost.memory`` counts: tensors.

Sources: derived from ``dilnas.model``, the casts that ``torch.autocast("cuda")`` makes and the
order of torch's autograd engine; equal to the tally of live tensors under the CPU's autocast with
layer norms cast as CUDA casts them (tests/cost/test_cost_memory_mixed.py). It has not been compared
with a GPU's allocator yet; ``dilnas profile`` does so wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from dilnas.arch import Architecture
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE, KERNELS
from dilnas.cost.memory import image_copies, running_statistics
from dilnas.cost.memory_mixed_parts import (
    HALF,
    MixedVisit,
    block_bytes,
    downsample_bytes,
    head_bytes,
    stem_bytes,
    step_peak_bytes,
)

__all__ = ["mixed_peak_bytes", "mixed_saved_bytes"]


def mixed_saved_bytes(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    batch_size: int = 1,
    *,
    channels_last: bool = False,
) -> int:
    """Bytes that autograd keeps at the end of the forward pass, casts of weights included.

    Arguments and errors as of ``saved_elements``.
    """
    visits = _visits(architecture, height, width, batch_size, channels_last)
    logits = HALF * batch_size * architecture.num_classes  # held by the caller, not by autograd
    return int(sum(visit.repeats * visit.saved for visit in visits)) - logits


def mixed_peak_bytes(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    batch_size: int = 1,
    *,
    channels_last: bool = False,
) -> int:
    """Most bytes that tensors hold at once in the step, weights and images included.

    Exact on networks of the default space; of toy networks, a few channels wide on maps of a few
    pixels, one in 25 is off, by 4 % at most of those tried. Images of one channel are not modelled
    apart, as in ``training_peak_bytes``. Arguments and errors as of ``training_peak_bytes``.
    """
    visits = _visits(architecture, height, width, batch_size, channels_last)
    images = batch_size * architecture.in_chans * height * (height if width is None else width)
    weights = int(sum(visit.repeats * visit.grads for visit in visits))
    statistics, norms = running_statistics(architecture)
    return weights + 4 * (statistics + images) + 8 * norms + step_peak_bytes(visits)


def _visits(
    architecture: Architecture, height: int, width: int | None, batch: int, channels_last: bool
) -> list[MixedVisit]:
    """The parts of a network in the order of the forward pass; checks the sizes."""
    width = height if width is None else width
    copies = image_copies(architecture, height, width, batch, channels_last)
    return list(_network(architecture, height, width, batch, copies))


def _network(
    a: Architecture, height: int, width: int, batch: int, copies: int
) -> Iterator[MixedVisit]:
    yield stem_bytes(
        a.stem, in_chans=a.in_chans, dim=a.stages[0].dim, height=height, width=width, batch=batch,
        copies=copies,
    )  # fmt: skip
    tokens = height // 4 * (width // 4)
    by_block, by_stage = int(a.pos_embed in BY_BLOCK), int(a.pos_embed in BY_STAGE)
    for i, stage in enumerate(a.stages):
        # The last of the equal blocks counts: it is the stage's first one, or has one before it.
        for depth, last in (
            (stage.msda_depth, stage.msda_depth),
            (stage.global_depth, stage.depth),
        ):
            if depth:
                visit = block_bytes(
                    dim=stage.dim, hidden=stage.mlp_hidden, heads=stage.num_heads, tokens=tokens,
                    batch=batch, qkv_bias=int(a.qkv_bias), pos_conv=by_block, callers=min(last, 2),
                )  # fmt: skip
                visit.repeats = depth
                yield visit
        if i + 1 < len(a.stages):
            yield downsample_bytes(
                dim=stage.dim, out_dim=a.stages[i + 1].dim, kernel=KERNELS[a.downsample],
                tokens=tokens, batch=batch, pos_conv=by_stage, copies=copies, callers=1 - by_block,
            )  # fmt: skip
            tokens //= 4
    yield head_bytes(dim=a.stages[-1].dim, num_classes=a.num_classes, tokens=tokens, batch=batch)
