"""Cost of one architecture, in Python integers."""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.cost.formulas import (
    BY_BLOCK,
    BY_STAGE,
    KERNELS,
    NetworkNumbers,
    Placed,
    StageNumbers,
    network_parts,
    stem_part,
)
from dilnas.records import OPERATORS, Cost, CostRow

__all__ = ["cost", "network_numbers"]


def cost(architecture: Architecture, height: int = 224, width: int | None = None) -> Cost:
    """Exact cost of ``architecture`` for one image of ``height`` x ``width`` pixels.

    Counts equal fvcore's on the official code, operator by operator (``dilnas.cost.formulas``).
    Rows bear module names: ``patch_embed``, ``stages.0.blocks.0``, ``stages.0.downsample``, …,
    ``head`` (final norm, average and classifier); their kinds are stem, msda, global, downsample
    and head. ``params`` are the trainable ones: the running statistics of batch norm are not.

    ``activation_elements`` are the elements written in one eager inference pass by convolutions,
    linear layers, norms, GELU, attention and sums: attention with dilations writes its logits,
    its probabilities and its output (the portable operator reads keys and values in place, so
    nothing is unfolded), global attention its output alone (the operator is fused). Reshaped
    views, layout copies and the statistics of norms and softmax are not counted.

    ``peak_activation_elements`` is the largest set of those elements alive while one operator
    runs: its inputs and outputs, what a later operator reads (residuals), q, k and v until the
    block has projected, and the inputs of the stage, block, attention or MLP being run, which
    their callers hold, the image among them. An operator's scratch memory is not in it.

    Args:
        architecture: the network.
        height: pixels, a multiple of ``architecture.stride``.
        width: pixels, likewise; None for a square image.

    Raises:
        InputError: a side that the network's strides do not divide.
    """
    width = height if width is None else width
    architecture.check_input(height, width)
    placed = list(network_parts(network_numbers(architecture, height, width), height, width))
    image = architecture.in_chans * height * width
    peak = max(live for p in placed if p.repeats for live in p.part.live)
    return Cost(
        height=height, width=width, rows=tuple(_rows(placed)), peak_activation_elements=image + peak
    )


def network_numbers(architecture: Architecture, height: int, width: int) -> NetworkNumbers:
    """The fields of ``architecture`` as the formulas take them, for maps of that size in pixels."""
    stages = [
        StageNumbers(
            s.dim, s.num_heads, s.msda_depth, s.global_depth, s.window_size or 0, s.mlp_hidden
        )
        for s in architecture.stages
    ]
    return NetworkNumbers(
        stages=stages,
        stem=stem_part(architecture.stem, architecture.in_chans, stages[0].dim, height, width),
        kernel=KERNELS[architecture.downsample],
        by_block=int(architecture.pos_embed in BY_BLOCK),
        by_stage=int(architecture.pos_embed in BY_STAGE),
        qkv_bias=int(architecture.qkv_bias),
        num_classes=architecture.num_classes,
        classifier=int(architecture.num_classes > 0),
    )


def _rows(placed: list[Placed]) -> list[CostRow]:
    rows = []
    block = 0
    for p in placed:
        if p.kind == "downsample":
            rows.append(_row(f"stages.{p.stage}.downsample", p))
            block = 0
        elif p.stage is None:
            rows.append(_row("patch_embed" if p.kind == "stem" else p.kind, p))
        else:
            rows += [_row(f"stages.{p.stage}.blocks.{block + i}", p) for i in range(p.repeats)]
            block += p.repeats
    return rows


def _row(name: str, placed: Placed) -> CostRow:
    part = placed.part
    counts = {operator: getattr(part, operator) for operator in OPERATORS}
    return CostRow(
        name=name,
        kind=placed.kind,
        stage=placed.stage,
        height=placed.height,
        width=placed.width,
        params=part.params,
        operators={operator: count for operator, count in counts.items() if count},
        activation_elements=part.written,
    )
