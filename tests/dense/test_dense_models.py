"""Mask R-CNN of torchvision and UPerNet of transformers on the backbone: run, trained, stored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dilnas.arch import Architecture, Stage
from dilnas.dense import NormedPyramid, detector, register, segmenter
from dilnas.errors import CheckpointError, InputError
from dilnas.model import build_model, save_weights

FOUR = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, global_depth=1),
        Stage(dim=48, num_heads=6, global_depth=1),
    ),
    num_classes=7,
)
TWO = Architecture(stages=FOUR.stages[1:3], num_classes=0)


def target(height: int, width: int) -> dict[str, Tensor]:
    """Two boxes with a mask each, of labels 1 and 3."""
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 10.0, 60.0, 60.0]])
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}


IMAGES = ((64, 96), (80, 70))
"""Height and width of two images of one batch: neither square nor alike."""


def detection_step(architecture: Architecture) -> tuple[nn.Module, dict[str, Tensor]]:
    """A new detector from seed 0 and its losses on two synthetic images, gradients taken."""
    torch.manual_seed(0)
    model = detector(architecture, 4, min_size=64, max_size=128)
    images = [torch.rand(3, *sides) for sides in IMAGES]
    losses = model.train()(images, [target(*sides) for sides in IMAGES])
    torch.stack(list(losses.values())).sum().backward()
    return model, losses


def without_gradient(model: nn.Module) -> list[str]:
    """Parameters that the loss does not reach."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]


@pytest.fixture(scope="module")
def stepped() -> tuple[nn.Module, dict[str, Tensor]]:
    return detection_step(FOUR)


# --- the backbone -------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(64, 96), (70, 101), (33, 1)])
def test_maps_are_at_their_strides_whatever_the_image(sides: tuple[int, int]) -> None:
    """Strides 4, 8, 16, 32, the stages' own widths, a part of a pixel rounded up."""
    pyramid = NormedPyramid(FOUR).eval()
    assert (pyramid.channels, pyramid.strides) == ((12, 24, 24, 48), (4, 8, 16, 32))
    with torch.inference_mode():
        maps = pyramid(torch.randn(2, 3, *sides))
    for features, dim, stride in zip(maps, pyramid.channels, pyramid.strides, strict=True):
        assert features.shape == (2, dim, -(-sides[0] // stride), -(-sides[1] // stride))


def test_norms_are_on_the_maps_or_not() -> None:
    """With them each position has mean 0 and deviation 1 at the start; without, the maps are
    those of the plain pyramid."""
    torch.manual_seed(0)
    pyramid = NormedPyramid(FOUR).eval()
    plain = NormedPyramid(FOUR, norms=False).eval()
    plain.body.load_state_dict(pyramid.body.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        normed, raw, body = pyramid(x), plain(x), pyramid.body(x)
    for a, b, c in zip(normed, raw, body, strict=True):
        assert torch.equal(b, c)
        torch.testing.assert_close(a.mean(1), torch.zeros_like(a[:, 0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            a.var(1, correction=0), torch.ones_like(a[:, 0]), atol=1e-3, rtol=0
        )


def test_a_classifiers_checkpoint_loads_into_both_models(tmp_path: Path) -> None:
    """Its weights, to the last bit; that of another architecture is refused."""
    torch.manual_seed(1)
    classifier = build_model(FOUR)
    save_weights(classifier, tmp_path / "weights.safetensors")
    weights = classifier.state_dict()
    bodies: list[Any] = [
        detector(FOUR, 4, checkpoint=tmp_path / "weights.safetensors").backbone.body.body,
        segmenter(
            FOUR, 5, checkpoint=tmp_path / "weights.safetensors", hidden_size=16
        ).backbone.pyramid.body,
    ]
    for body in bodies:
        for name, tensor in body.state_dict().items():
            assert torch.equal(tensor, weights[name]), name
    with pytest.raises(CheckpointError, match="another architecture"):
        detector(TWO, 4, checkpoint=tmp_path / "weights.safetensors")


# --- Mask R-CNN ---------------------------------------------------------------------------------


def test_a_detection_step_reaches_every_parameter(stepped: tuple[nn.Module, Any]) -> None:
    """Five finite losses on synthetic boxes and masks; a gradient in backbone, neck and heads."""
    model, losses = stepped
    assert set(losses) == {
        "loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg",
    }  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert without_gradient(model) == []


def test_a_detection_step_is_the_same_under_the_same_seed(stepped: tuple[nn.Module, Any]) -> None:
    """Weights, sampled proposals and losses."""
    _, losses = detection_step(FOUR)
    for name, loss in stepped[1].items():
        assert torch.equal(loss, losses[name]), name


def test_detections_have_boxes_and_masks_of_each_image(stepped: tuple[nn.Module, Any]) -> None:
    """In the image's own pixels, although the batch was scaled and padded."""
    model = stepped[0].eval()
    with torch.inference_mode():
        found = model([torch.rand(3, *sides) for sides in IMAGES])
    model.train()
    for one, (height, width) in zip(found, IMAGES, strict=True):
        count = len(one["boxes"])
        assert 0 < count <= 100
        assert one["masks"].shape == (count, 1, height, width)
        assert (one["boxes"][:, 2::2] <= width).all()
        assert (one["boxes"][:, 1::2] <= height).all()


def test_images_are_padded_to_the_architectures_own_stride() -> None:
    """Of two stages: 8 pixels, three levels with anchors of 32, 64 and 128 pixels."""
    model = detector(TWO, 4, min_size=44, max_size=100)
    assert model.rpn.anchor_generator.sizes == ((32,), (64,), (128,))
    batch, _ = model.transform([torch.rand(3, 44, 61)])
    assert batch.tensors.shape[-2:] == (48, 64)
    maps = model.backbone(batch.tensors)
    assert [tuple(m.shape[-2:]) for m in maps.values()] == [(12, 16), (6, 8), (3, 4)]
    assert list(maps) == ["0", "1", "pool"]


def test_the_anchors_are_torchvisions_own_for_four_stages(stepped: tuple[nn.Module, Any]) -> None:
    """What a user of ``maskrcnn_resnet50_fpn`` has."""
    from torchvision.models.detection.faster_rcnn import _default_anchorgen

    own, theirs = stepped[0].rpn.anchor_generator, _default_anchorgen()  # type: ignore[union-attr]
    assert own.sizes == theirs.sizes  # type: ignore[union-attr]
    assert own.aspect_ratios == theirs.aspect_ratios  # type: ignore[union-attr]


@pytest.mark.parametrize("classes", [1, 0, True, "91"])
def test_a_number_of_classes_is_checked(classes: Any) -> None:
    """Fewer than two tell nothing apart."""
    for build in (detector, segmenter):
        with pytest.raises(InputError, match="num_classes"):
            build(FOUR, classes)


def test_a_detector_of_other_channels_needs_their_mean() -> None:
    """torchvision's are of red, green and blue."""
    five = TWO.replace(in_chans=5)
    with pytest.raises(InputError, match="image_mean and image_std"):
        detector(five, 4)
    moments = {"image_mean": [0.5] * 5, "image_std": [0.25] * 5}
    model = detector(five, 4, min_size=32, max_size=64, **moments).eval()
    with torch.inference_mode():
        assert len(model([torch.rand(5, 32, 40)])) == 1


def test_a_missing_library_is_one_line_that_names_the_command() -> None:
    """In a process in which neither can be imported."""
    code = """
import sys
sys.modules |= {"torchvision": None, "torchvision.models": None, "transformers": None}
from dilnas.dense import NormedPyramid, detector, register, segmenter
from dilnas.errors import DependencyError
from dilnas.variants import variant
for build in (detector, segmenter):
    try:
        build(variant("tiny"))
    except DependencyError as error:
        print(error)
NormedPyramid(variant("tiny"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("detector: torchvision is needed")
    assert lines[1].startswith("segmenter: transformers is needed")
    assert all("pip install 'dilnas[dense]'" in line for line in lines)


# --- UPerNet ------------------------------------------------------------------------------------


def small_segmenter(architecture: Architecture = FOUR, **more: Any) -> Any:
    torch.manual_seed(0)
    return segmenter(architecture, 5, hidden_size=16, auxiliary_channels=8, **more)


def test_a_segmentation_step_reaches_every_parameter() -> None:
    """A finite loss on synthetic labels, some of them ignored; the same under the same seed."""
    losses = []
    for _ in range(2):
        model = small_segmenter(drop_path_rate=0.1).train()
        labels = torch.randint(0, 5, (2, 64, 96))
        labels[:, :8] = 255  # as data sets mark what nobody labelled
        out = model(pixel_values=torch.randn(2, 3, 64, 96), labels=labels)
        losses.append(out.loss)
    assert torch.isfinite(losses[0])
    assert torch.equal(*losses)
    out.loss.backward()
    assert without_gradient(model) == []


@pytest.mark.parametrize("sides", [(64, 96), (70, 101)])
def test_logits_are_as_large_as_the_image(sides: tuple[int, int]) -> None:
    """Also where the stride divides no side."""
    with torch.inference_mode():
        logits = small_segmenter().eval()(torch.randn(1, 3, *sides)).logits
    assert logits.shape == (1, 5, *sides)


def test_a_network_of_two_stages_goes_without_the_auxiliary_head() -> None:
    """There is no third map to put it on."""
    model = small_segmenter(TWO)
    assert model.auxiliary_head is None
    with torch.inference_mode():
        assert model.eval()(torch.randn(1, 3, 24, 40)).logits.shape == (1, 5, 24, 40)


def test_a_saved_segmenter_loads_to_the_last_bit(tmp_path: Path) -> None:
    """With its architecture and its batch statistics, by transformers' own from_pretrained."""
    from transformers import AutoBackbone, AutoConfig, UperNetForSemanticSegmentation

    model = small_segmenter(norms=False).train()
    x = torch.randn(2, 3, 64, 96)
    model(x)  # the statistics move
    model.eval().save_pretrained(tmp_path)
    register()
    back = UperNetForSemanticSegmentation.from_pretrained(tmp_path).eval()
    found = AutoConfig.from_pretrained(tmp_path).backbone_config
    assert Architecture.from_dict(found.architecture) == FOUR
    with torch.inference_mode():
        assert torch.equal(back(x).logits, model(x).logits)
        backbone = AutoBackbone.from_config(found)
        backbone.out_features = ["stage2", "stage4"]
        assert backbone.channels == [24, 48]
        assert [m.shape[1] for m in backbone.eval()(x).feature_maps] == [24, 48]
