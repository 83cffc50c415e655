"""Exact peaks of the tensors alive at once, in inference and in a training step, in closed form.

Counted are storages of tensors, once each: weights, buffers, images, what operators write, and
temporary tensors at the worst moment. Scratch space inside of one kernel is not. Eager, with the
portable MSDA or, where ``fused`` is true, with the operator ``dilnas::msda`` on Triton's kernels.
Under autograd, in fp32 (autocast: ``dilnas.cost.memory_mixed``), without stochastic depth and
without an optimiser step: a training step is ``model(images).float().square().mean().backward()``,
from gradients that do not exist yet, as ``dilnas.measure`` runs it.

Everything in the graph keeps its own input for the backward pass, and:

    conv, linear      nothing else
    layer norm        mean and 1/deviation of each token
    batch norm        mean and 1/deviation of each channel
    GELU              nothing else
    global attention  q k v, the output, log-sum-exp of each head and token
    MSDA              q k v, the probabilities of each group, the output (the projection's input)
    MSDA, fused       q k v, the output, log-sum-exp of each head and token

so a block keeps 8 maps (9 with a position embedding), 2 hidden layers and its statistics. The
backward pass visits the parts in reverse. While one part is visited there are held: what it and
the parts before it kept, gradients of all later weights, and the part's own temporaries, each of
them from the operator that makes it until the last node that reads it is done.

Sources: derived from ``dilnas.ops.portable``, ``dilnas.model`` and the order in which torch's
autograd engine frees; checked against the tally of live tensors on random architectures
(tests/cost/test_cost_memory.py). On an H200 the fused form equals the tally of Base's inference in
bf16 to the byte. The formulas are in ``dilnas.cost.memory_parts``.
"""

from __future__ import annotations

from collections.abc import Iterator

from dilnas.arch import Architecture, Stage
from dilnas.cost.closed_form import network_numbers
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE, KERNELS, STEM_CONVS, Placed, network_parts
from dilnas.cost.memory_parts import (
    Attention,
    Visit,
    block_visit,
    downsample_visit,
    fused_attention,
    head_visit,
    msda_attention,
    peak_of,
    probability_rows,
    stem_visit,
)
from dilnas.errors import InputError

__all__ = [
    "image_copies",
    "inference_peak_bytes",
    "running_statistics",
    "saved_elements",
    "training_peak_bytes",
]


def saved_elements(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    batch_size: int = 1,
    *,
    channels_last: bool = False,
    fused: bool = False,
) -> int:
    """Elements that autograd keeps at the end of the forward pass, weights and images not counted.

    ``height`` and ``width`` in pixels; ``channels_last``: images and weights lie so; ``fused``:
    MSDA is the fused operator. Raises InputError like ``cost``, and for a batch below 1.
    """
    visits = _visits(architecture, height, width, batch_size, channels_last, fused)
    return sum(visit.repeats * visit.saved for visit in visits)


def training_peak_bytes(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    batch_size: int = 1,
    bytes_per_element: int = 4,
    *,
    channels_last: bool = False,
    fused: bool = False,
    reordered: int = 0,
) -> int:
    """Most bytes that tensors hold at once in a training step, weights and images included.

    Exact where images and stages have more than one channel; images of one channel
    make torch copy some gradients that are not modelled (up to 2 % more on small networks).

    Args:
        architecture: the network.
        height: pixels.
        width: pixels; None for a square image.
        batch_size: images in a batch.
        bytes_per_element: 4: the formulas are those of fp32.
        channels_last: images and weights lie so, and need no copies.
        fused: MSDA is the fused operator, not the portable one.
        reordered: copies of a strided convolution's weights that its kernel makes while it runs:
            0 for tensors alone.

    Raises InputError like ``cost``, and for a batch below 1.
    """
    visits = _visits(architecture, height, width, batch_size, channels_last, fused, reordered)
    width = height if width is None else width
    images = batch_size * architecture.in_chans * height * width
    params = sum(visit.repeats * visit.grads for visit in visits)
    statistics, norms = running_statistics(architecture)
    elements = params + statistics + images + peak_of(visits)
    return int(bytes_per_element * elements + 8 * norms)  # each batch norm counts batches in int64


def inference_peak_bytes(
    architecture: Architecture,
    height: int = 224,
    width: int | None = None,
    batch_size: int = 1,
    bytes_per_element: int = 4,
    *,
    channels_last: bool = False,
    fused: bool = False,
    reordered: int = 0,
) -> int:
    """Most bytes that tensors hold at once in eager inference, weights and images included.

    ``Cost.memory_bytes`` plus what it leaves out: running statistics of batch norm, the copy of
    the images in the other layout, and what the portable MSDA operator holds inside: planes of
    q, k, v and its result, always in fp32, and one group's logits and probabilities at a time.
    ``fused``: MSDA holds q, k, v and its result, nothing more. ``reordered``: as in
    ``training_peak_bytes``.
    ``peak_activation_elements`` counts logits and probabilities of all groups instead, whatever
    the operator. Arguments and errors like ``training_peak_bytes``; 2 or 4 bytes an element.
    """
    width = height if width is None else width
    copies = image_copies(architecture, height, width, batch_size, channels_last)
    image = architecture.in_chans * height * width
    last_dim = architecture.stages[-1].dim
    logits = last_dim + architecture.num_classes
    params = 0
    live = []
    for placed in network_parts(network_numbers(architecture, height, width), height, width):
        params += placed.repeats * placed.part.params
        own = [bytes_per_element * count for count in placed.part.live]
        if placed.kind == "stem":
            own = [count + bytes_per_element * copies * image for count in own]
        elif placed.kind == "msda" and placed.stage is not None and placed.repeats:
            beside = own.pop(0)
            own += [
                beside + bytes_per_element * fixed + 4 * scratch
                for fixed, scratch in _msda_inference(
                    architecture.stages[placed.stage], placed.height, placed.width, fused
                )
            ]
        elif placed.kind == "head":  # the average and the logits
            own = [own[0] + bytes_per_element * last_dim, bytes_per_element * logits]
        elif placed.kind == "downsample" and reordered:
            own.append(
                own[0] + _reordered(architecture, placed, reordered, bytes_per_element, batch_size)
            )
        live += own if placed.repeats else []
    statistics, norms = running_statistics(architecture)
    held = bytes_per_element * (params + statistics) + 8 * norms
    return int(held + batch_size * (bytes_per_element * image + max(live)))


def _reordered(
    architecture: Architecture, placed: Placed, copies: int, bytes_per_element: int, batch: int
) -> float:
    """Bytes an image that the kernel of a strided convolution holds beside what is counted for it.

    Its own copies of the weights, while the batch norm's output is not there yet.
    """
    before, after = (architecture.stages[(placed.stage or 0) + i].dim for i in (0, 1))
    kernel = KERNELS[architecture.downsample]
    weights = kernel * kernel * before * after
    return bytes_per_element * (copies * weights / batch - after * placed.height * placed.width)


def _msda_inference(stage: Stage, height: int, width: int, fused: bool) -> list[tuple[int, int]]:
    """Candidates for what MSDA holds beside q, k, v: (elements of the map's type, of fp32).

    Relative to what ``formulas.block_part`` counts for it, for one image.
    """
    n, size, count = height * width, height * width * stage.dim, len(stage.dilations)
    window = stage.window_size or 1
    counted = 2 * n * stage.num_heads * window * window + size
    if fused:
        return [(size - counted, 0)]
    rows = [
        n * (stage.num_heads // count) * probability_rows(window, dilation, height, width)[1]
        for dilation in stage.dilations
    ]
    # The probabilities of a group live until those of the next one are there.
    found = [
        (-counted, 4 * size + before + own + max(own, size // count))
        for before, own in zip([0, *rows], rows, strict=False)
    ]
    return [*found, (size - counted, 4 * size + rows[-1])]


def _visits(  # noqa: PLR0917
    architecture: Architecture, height: int, width: int | None, batch: int, channels_last: bool,
    fused: bool, reordered: int = 0,
) -> list[Visit]:  # fmt: skip
    """The parts of a network in the order of the forward pass; checks the sizes."""
    width = height if width is None else width
    copies = image_copies(architecture, height, width, batch, channels_last)
    return list(_network(architecture, height, width, batch, copies, fused, reordered))


def image_copies(
    architecture: Architecture, height: int, width: int, batch: int, channels_last: bool
) -> int:
    """1 where the images are copied to channels-last, else 0; checks the sizes.

    A map of one channel is both layouts at once: not copied, and torch stays with the other one.
    """
    architecture.check_input(height, width)
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError("out of range", where="batch_size", expected="1, 2, …", got=batch)
    return int(architecture.in_chans > 1 and not channels_last)


def _network(  # noqa: PLR0917
    a: Architecture, height: int, width: int, batch: int, copies: int, fused: bool, reordered: int
) -> Iterator[Visit]:
    yield stem_visit(
        a.stem, in_chans=a.in_chans, dim=a.stages[0].dim, height=height, width=width, batch=batch,
        copies=copies,
    )  # fmt: skip
    height, width = height // 4, width // 4
    for i, stage in enumerate(a.stages):
        tokens = height * width
        for kind, depth in (("msda", stage.msda_depth), ("global", stage.global_depth)):
            if depth:
                visit = block_visit(
                    dim=stage.dim, hidden=stage.mlp_hidden, tokens=tokens, batch=batch,
                    qkv_bias=int(a.qkv_bias), pos_conv=int(a.pos_embed in BY_BLOCK),
                    attention=_attention(kind, stage, height, width, batch, fused),
                )  # fmt: skip
                visit.repeats = depth
                yield visit
        if i + 1 < len(a.stages):
            yield downsample_visit(
                dim=stage.dim, out_dim=a.stages[i + 1].dim, kernel=KERNELS[a.downsample],
                tokens=tokens, batch=batch, pos_conv=int(a.pos_embed in BY_STAGE),
                copies=copies, reordered=reordered,
            )  # fmt: skip
            height, width = height // 2, width // 2
    yield head_visit(
        dim=a.stages[-1].dim, num_classes=a.num_classes, tokens=height * width, batch=batch,
        classifier=int(a.num_classes > 0),
    )  # fmt: skip


def _attention(  # noqa: PLR0917
    kind: str, stage: Stage, height: int, width: int, batch: int, fused: bool
) -> Attention:
    tokens, dim = height * width, stage.dim
    if kind == "global" or fused:
        return fused_attention(dim=dim, heads=stage.num_heads, tokens=tokens, batch=batch)
    heads = stage.num_heads // len(stage.dilations)
    groups = [
        (heads, *probability_rows(stage.window_size or 1, dilation, height, width))
        for dilation in stage.dilations
    ]
    return msda_attention(dim=dim, tokens=tokens, batch=batch, groups=groups)


def running_statistics(a: Architecture) -> tuple[int, int]:
    """(elements of running means and variances, number of batch norms)."""
    widths = [outputs for outputs, _, _ in STEM_CONVS[a.stem][:-1]]
    widths += [stage.dim for stage in a.stages[1:]]
    return 2 * sum(widths), len(widths)
