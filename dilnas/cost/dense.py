"""Exact cost of dense tasks: Mask R-CNN and UPerNet on an architecture, part by part.

Counts equal fvcore's on torchvision's and transformers' modules, operator by operator. Beside the
operators of a classifier these have nearest (1) and bilinear upsampling (4 an output element) and
adaptive pooling (1 an input element). RoIAlign, anchors and suppression count 0, as they do there.

Sources of the heads: Lin et al., "Feature Pyramid Networks", 2017; He et al., "Mask R-CNN", 2017;
Xiao et al., "Unified Perceptual Parsing", 2018; widths as torchvision and transformers have them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from dilnas.arch import Architecture
from dilnas.cost.closed_form import cost
from dilnas.cost.formulas import Part
from dilnas.errors import InputError
from dilnas.records import OPERATORS, Cost, TaskCost, TaskPart

__all__ = [
    "DETECTION_CLASSES",
    "IMAGE_SIZES",
    "SEGMENTATION_CLASSES",
    "TASKS",
    "detection_cost",
    "pyramid_cost",
    "segmentation_cost",
    "task_cost",
]

TASKS = ("detection", "segmentation")
IMAGE_SIZES = {"detection": (800, 1280), "segmentation": (512, 2048)}
"""Height and width at which papers state the cost of each task."""

DETECTION_CLASSES = 91
"""COCO's labels with the background, as torchvision numbers them."""
SEGMENTATION_CLASSES = 150
"""ADE20K's."""

PROPOSALS, DETECTIONS = 1000, 100
"""Regions that the box head and the mask head see: the most that torchvision keeps by default."""

FPN_WIDTH, ANCHORS = 256, 3
BOX_SIDE, BOX_HIDDEN = 7, 1024
MASK_SIDE, MASK_CONVS = 14, 4
UPER_WIDTH, UPER_POOLS = 512, (1, 2, 3, 6)
AUXILIARY_WIDTH, AUXILIARY_STAGE = 256, 2


def task_cost(
    task: str, architecture: Architecture, height: int | None = None, width: int | None = None
) -> TaskCost:
    """Cost of ``task`` with its usual classes; at the size of ``IMAGE_SIZES`` if none is given.

    Raises:
        InputError: an unknown task, or a side that the network's strides do not divide.
    """
    if task not in TASKS:
        raise InputError("unknown task", where="--task", expected=" | ".join(TASKS), got=task)
    if height is None:
        height, width = IMAGE_SIZES[task]
    known: dict[str, Callable[..., TaskCost]] = {
        "detection": detection_cost, "segmentation": segmentation_cost,
    }  # fmt: skip
    return known[task](architecture, height, height if width is None else width)


def pyramid_cost(
    architecture: Architecture, height: int, width: int, *, norms: bool = True
) -> TaskPart:
    """The backbone: stem and stages without the classifier, and a layer norm on each map.

    Raises:
        InputError: a side that the network's strides do not divide.
    """
    exact = cost(architecture, height, width)
    rows = [row for row in exact.rows if row.kind != "head"]
    norm = Part()
    if norms:
        maps = _maps(architecture, height, width)
        for stage, (h, w) in zip(architecture.stages, maps, strict=True):
            norm.add_layer_norm(stage.dim, h * w)
    counts = {name: sum(row.operators.get(name, 0) for row in rows) for name in OPERATORS}
    counts["layer_norm"] += norm.layer_norm
    return TaskPart(
        name="backbone", role="backbone", params=sum(row.params for row in rows) + norm.params,
        operators={name: count for name, count in counts.items() if count},
    )  # fmt: skip


def detection_cost(
    architecture: Architecture,
    height: int,
    width: int,
    *,
    num_classes: int = DETECTION_CLASSES,
    proposals: int = PROPOSALS,
    detections: int = DETECTIONS,
    norms: bool = True,
) -> TaskCost:
    """Mask R-CNN as torchvision builds it (``dilnas.dense.detector``), for one padded image.

    Args:
        architecture: the backbone.
        height: pixels, a multiple of ``architecture.stride``.
        width: pixels, likewise.
        num_classes: with the background.
        proposals: regions that pass the box head.
        detections: regions that pass the mask head.
        norms: a layer norm on each of the backbone's maps.

    Raises:
        InputError: a side that the network's strides do not divide.
    """
    backbone = pyramid_cost(architecture, height, width, norms=norms)
    maps = _maps(architecture, height, width)
    neck = Part()
    for stage, (h, w) in zip(architecture.stages, maps, strict=True):
        neck.add_conv(stage.dim, FPN_WIDTH, 1, h * w, bias=1)
        neck.add_conv(FPN_WIDTH, FPN_WIDTH, 3, h * w, bias=1)
    pooled = ((maps[-1][0] + 1) // 2, (maps[-1][1] + 1) // 2)  # one map more, subsampled
    rpn, positions = Part(), sum(h * w for h, w in (*maps, pooled))
    rpn.add_conv(FPN_WIDTH, FPN_WIDTH, 3, positions, bias=1)
    rpn.add_conv(FPN_WIDTH, ANCHORS, 1, positions, bias=1)
    rpn.add_conv(FPN_WIDTH, 4 * ANCHORS, 1, positions, bias=1)
    return TaskCost(
        task="detection", model="Mask R-CNN on an FPN", height=height, width=width,
        num_classes=num_classes, global_matmul=_global_matmul(architecture, height, width),
        parts=(
            backbone,
            _part("FPN", "neck", neck, upsample_nearest2d=FPN_WIDTH * _area(maps[:-1])),
            _part("RPN head", "head", rpn),
            _part("box head", "head", _box_head(num_classes, proposals)),
            _part("mask head", "head", _mask_head(num_classes, detections)),
        ),
        assumptions=(
            f"{proposals:,} proposals pass the box head and {detections:,} detections the mask "
            "head; RoIAlign and suppression count 0",
        ),
    )  # fmt: skip


def _box_head(num_classes: int, regions: int) -> Part:
    part = Part()
    part.add_linear(FPN_WIDTH * BOX_SIDE**2, BOX_HIDDEN, regions, bias=1)
    part.add_linear(BOX_HIDDEN, BOX_HIDDEN, regions, bias=1)
    part.add_linear(BOX_HIDDEN, num_classes, regions, bias=1)
    part.add_linear(BOX_HIDDEN, 4 * num_classes, regions, bias=1)
    return part


def _mask_head(num_classes: int, regions: int) -> Part:
    part, positions = Part(), regions * MASK_SIDE**2
    for _ in range(MASK_CONVS):
        part.add_conv(FPN_WIDTH, FPN_WIDTH, 3, positions, bias=1)
    # A transposed convolution multiplies its whole kernel once an input pixel.
    part.add_conv(FPN_WIDTH, FPN_WIDTH, 2, positions, bias=1)
    part.add_conv(FPN_WIDTH, num_classes, 1, 4 * positions, bias=1)
    return part


def segmentation_cost(
    architecture: Architecture,
    height: int,
    width: int,
    *,
    num_classes: int = SEGMENTATION_CLASSES,
    norms: bool = True,
) -> TaskCost:
    """UPerNet as transformers builds it (``dilnas.dense.segmenter``), for one image.

    The auxiliary head, which networks of three stages and more have, serves the loss alone, so the
    totals leave it out; transformers runs it in every forward pass all the same.

    Args:
        architecture: the backbone.
        height: pixels, a multiple of ``architecture.stride``.
        width: pixels, likewise.
        num_classes: labels.
        norms: a layer norm on each of the backbone's maps.

    Raises:
        InputError: a side that the network's strides do not divide.
    """
    backbone = pyramid_cost(architecture, height, width, norms=norms)
    maps, dims = _maps(architecture, height, width), [s.dim for s in architecture.stages]
    first, last = maps[0][0] * maps[0][1], maps[-1][0] * maps[-1][1]
    pooling, pools = Part(), len(UPER_POOLS)
    for side in UPER_POOLS:
        _conv_norm(pooling, dims[-1], UPER_WIDTH, 1, side * side)
    _conv_norm(pooling, dims[-1] + pools * UPER_WIDTH, UPER_WIDTH, 3, last)
    neck = Part()
    for dim, (h, w) in zip(dims[:-1], maps[:-1], strict=True):
        _conv_norm(neck, dim, UPER_WIDTH, 1, h * w)
        _conv_norm(neck, UPER_WIDTH, UPER_WIDTH, 3, h * w)
    head = Part()
    _conv_norm(head, len(maps) * UPER_WIDTH, UPER_WIDTH, 3, first)
    head.add_conv(UPER_WIDTH, num_classes, 1, first, bias=1)
    logits = 4 * num_classes * height * width  # bilinear, to the image's size
    parts = [
        backbone,
        _part(
            "pyramid pooling", "neck", pooling,
            adaptive_avg_pool2d=pools * dims[-1] * last,
            upsample_bilinear2d=4 * pools * UPER_WIDTH * last,
        ),
        _part("FPN", "neck", neck, upsample_bilinear2d=4 * UPER_WIDTH * _area(maps[:-1])),
        _part(
            "fusion, classifier", "head", head,
            upsample_bilinear2d=4 * UPER_WIDTH * first * (len(maps) - 1) + logits,
        ),
    ]  # fmt: skip
    if len(maps) > AUXILIARY_STAGE:
        auxiliary, (h, w) = Part(), maps[AUXILIARY_STAGE]
        _conv_norm(auxiliary, dims[AUXILIARY_STAGE], AUXILIARY_WIDTH, 3, h * w)
        auxiliary.add_conv(AUXILIARY_WIDTH, num_classes, 1, h * w, bias=1)
        parts.append(_part("auxiliary head", "auxiliary", auxiliary, upsample_bilinear2d=logits))
    return TaskCost(
        task="segmentation", model="UPerNet", height=height, width=width,
        num_classes=num_classes, global_matmul=_global_matmul(architecture, height, width),
        parts=tuple(parts),
        assumptions=("the auxiliary head serves training and is in no total",)
        if len(maps) > AUXILIARY_STAGE else (),
    )  # fmt: skip


def _conv_norm(part: Part, inputs: int, outputs: int, kernel: int, positions: int) -> None:
    """A convolution without bias and its batch norm."""
    part.add_conv(inputs, outputs, kernel, positions)
    part.add_batch_norm(outputs, positions)


def _maps(architecture: Architecture, height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each stage's map."""
    return [(height // (4 << i), width // (4 << i)) for i in range(len(architecture.stages))]


def _area(maps: Sequence[tuple[int, int]]) -> int:
    return sum(map(prod, maps))


def _global_matmul(architecture: Architecture, height: int, width: int) -> int:
    exact: Cost = cost(architecture, height, width)
    return sum(row.operators.get("matmul", 0) for row in exact.rows if row.kind == "global")


def _part(name: str, role: str, part: Part, **resampling: int) -> TaskPart:
    counts = {operator: getattr(part, operator) for operator in OPERATORS} | resampling
    return TaskPart(
        name=name, role=role, params=part.params,
        operators={operator: count for operator, count in counts.items() if count},
    )  # fmt: skip
