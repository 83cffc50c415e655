"""The closed form of Mask R-CNN and UPerNet against fvcore on torchvision's and transformers' own
modules, operator by operator, and against their parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost, detection_cost, pyramid_cost, segmentation_cost, task_cost
from dilnas.count.by_fvcore import run_fvcore
from dilnas.count.visible import _as_products
from dilnas.dense import NormedPyramid, detector, segmenter
from dilnas.errors import InputError
from dilnas.model.attention import MultiScaleDilatedAttention
from dilnas.records import TaskCost
from dilnas.variants import variant

FOUR = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, msda_depth=2, global_depth=1),
        Stage(dim=36, num_heads=3, global_depth=1),
        Stage(dim=48, num_heads=6, global_depth=1),
    ),
)
TWO = Architecture(stages=FOUR.stages[:2], pos_embed="both", in_chans=3)
SIDES = {FOUR: (96, 160), TWO: (40, 56)}
"""A last map of odd height for the level that detection adds; height and width differ."""

both = pytest.mark.parametrize("architecture", [FOUR, TWO], ids=["four stages", "two stages"])


class Called(nn.Module):
    """A function of tensors as a module, for fvcore, which traces modules."""

    def __init__(self, owner: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.owner, self.call = owner, call

    def forward(self, *x: Tensor) -> Any:
        return self.call(*x)


def counted(owner: nn.Module, call: Callable[..., Any], *x: Tensor) -> dict[str, int]:
    """fvcore's count of ``call(*x)``."""
    return run_fvcore(Called(owner, call), x)[0]  # type: ignore[arg-type]


def maps_of(architecture: Architecture, channels: int | None = None) -> tuple[Tensor, ...]:
    """Zeros in the shapes of the backbone's maps, or of that many channels."""
    height, width = SIDES[architecture]
    return tuple(
        torch.zeros(1, channels or stage.dim, height // (4 << i), width // (4 << i))
        for i, stage in enumerate(architecture.stages)
    )


def params(*modules: nn.Module) -> int:
    """Parameters, each once."""
    return sum(p.numel() for p in {p for m in modules for p in m.parameters()} if p.requires_grad)


def part(found: TaskCost, name: str) -> tuple[int, dict[str, int]]:
    (one,) = (p for p in found.parts if p.name == name)
    return one.params, one.operators


@both
@pytest.mark.parametrize("norms", [True, False])
def test_the_backbone_is_counted_as_fvcore_counts_it(architecture: Architecture, norms: bool):
    """Stem, stages and the norms of the maps; without the classifier and its norm."""
    model = NormedPyramid(architecture, norms=norms).eval()
    for module in model.modules():
        if isinstance(module, MultiScaleDilatedAttention):
            module.forward = partial(_as_products, module)  # type: ignore[method-assign]
    found = pyramid_cost(architecture, *SIDES[architecture], norms=norms)
    image = torch.zeros(1, 3, *SIDES[architecture])
    assert found.params == params(model)
    assert found.operators == run_fvcore(model, image)[0]


@both
def test_mask_rcnn_is_counted_as_fvcore_counts_torchvisions_modules(architecture: Architecture):
    """FPN, RPN, box head and mask head, each operator by operator; 5 proposals, 2 detections."""
    model: Any = detector(architecture, 7).eval()
    found = detection_cost(
        architecture, *SIDES[architecture], num_classes=7, proposals=5, detections=2
    )
    names = [str(i) for i in range(len(architecture.stages))]
    fpn, rpn, roi = model.backbone.fpn, model.rpn.head, model.roi_heads
    levels = fpn(dict(zip(names, maps_of(architecture), strict=True)))
    expected = {
        "FPN": (
            params(fpn),
            counted(fpn, lambda *x: list(fpn(dict(zip(names, x, strict=True))).values()),
                    *maps_of(architecture)),
        ),
        "RPN head": (
            params(rpn), counted(rpn, lambda *x: [*chain(*rpn(list(x)))], *levels.values()),
        ),
        "box head": (
            params(roi.box_head, roi.box_predictor),
            counted(roi, lambda x: roi.box_predictor(roi.box_head(x)), torch.zeros(5, 256, 7, 7)),
        ),
        "mask head": (
            params(roi.mask_head, roi.mask_predictor),
            counted(roi, lambda x: roi.mask_predictor(roi.mask_head(x)),
                    torch.zeros(2, 256, 14, 14)),
        ),
    }  # fmt: skip
    for name, (weights, operators) in expected.items():
        assert part(found, name) == (weights, operators), name
    assert found.params == params(model)


@both
def test_upernet_is_counted_as_fvcore_counts_transformers_modules(architecture: Architecture):
    """Pyramid pooling alone, then the whole decoding head, then the auxiliary one."""
    model: Any = segmenter(architecture, 7).eval()
    sides = SIDES[architecture]
    found = segmentation_cost(architecture, *sides, num_classes=7)
    head, maps = model.decode_head, maps_of(architecture)

    def to_image(logits: Tensor) -> Tensor:
        return interpolate(logits, size=sides, mode="bilinear", align_corners=False)

    pooling = counted(head, lambda *x: head.psp_forward(list(x)), *maps)
    assert part(found, "pyramid pooling") == (params(head.psp_modules, head.bottleneck), pooling)
    whole = counted(head, lambda *x: to_image(head(list(x))), *maps)
    parts = [part(found, name)[1] for name in ("pyramid pooling", "FPN", "fusion, classifier")]
    assert {k: sum(p.get(k, 0) for p in parts) for k in whole} == whole
    assert part(found, "FPN")[0] == params(head.lateral_convs, head.fpn_convs)
    assert part(found, "fusion, classifier")[0] == params(head.fpn_bottleneck, head.classifier)
    without = found.params
    if (auxiliary := model.auxiliary_head) is not None:
        expected = counted(auxiliary, lambda *x: to_image(auxiliary(list(x))), *maps)
        assert part(found, "auxiliary head") == (params(auxiliary), expected)
        without += params(auxiliary)
    assert without == params(model)


def test_the_parameters_of_the_papers_small_are_those_of_the_built_models():
    """As large as a user builds them, without running them."""
    with torch.device("meta"):
        mask_rcnn = detector(variant("small"))
    assert task_cost("detection", variant("small")).params == params(mask_rcnn)
    upernet = segmenter(variant("small"))
    found = task_cost("segmentation", variant("small"))
    assert found.params + found.by_role()["auxiliary"][0] == params(upernet)


def test_global_attention_is_told_apart_and_grows_with_the_square_of_the_area():
    """Twice as wide: four times its products; MSDA's, twice."""
    narrow, wide = (detection_cost(FOUR, 96, width) for width in (160, 320))
    assert wide.global_matmul == 4 * narrow.global_matmul > 0

    def dilated(found: TaskCost) -> int:
        return found.parts[0].operators["matmul"] - found.global_matmul

    assert dilated(wide) == 2 * dilated(narrow) > 0


def test_the_backbone_is_the_classifier_without_its_head():
    """To the last integer, at a size that is not square."""
    architecture = variant("base")
    exact = cost(architecture, 800, 1280)
    (head,) = (row for row in exact.rows if row.kind == "head")
    found = pyramid_cost(architecture, 800, 1280, norms=False)
    assert (found.params, found.flops) == (exact.params - head.params, exact.flops - head.flops)


def test_roles_sum_to_the_totals_and_the_auxiliary_head_is_in_none():
    """Backbone, neck and heads."""
    found = task_cost("segmentation", variant("small"))
    assert (found.height, found.width) == (512, 2048)
    roles = found.by_role()
    assert list(roles) == ["backbone", "neck", "head", "auxiliary"]
    counted_roles = [roles[name] for name in ("backbone", "neck", "head")]
    assert found.params == sum(weights for weights, _ in counted_roles)
    assert found.flops == sum(flops for _, flops in counted_roles)


@pytest.mark.parametrize(
    ("task", "sides", "message"),
    [("pose", (), "unknown task"), ("detection", (800, 1300), "multiples of the network's stride")],
)
def test_what_cannot_be_counted_is_told(task: str, sides: tuple[int, ...], message: str):
    """An unknown task, a size that the strides do not divide."""
    with pytest.raises(InputError, match=message):
        task_cost(task, FOUR, *sides)
