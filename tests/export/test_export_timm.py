"""The registered models do what timm's scripts, and its own tests of every model, ask for."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models import FeatureInfo
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from toys import TOY, python_without, trained

import dilnas.timm_models  # noqa: F401 - importing registers
from dilnas.errors import ArchitectureError, DilnasError, InputError
from dilnas.model import build_model, save_weights
from dilnas.variants import VARIANTS

NAMES = [f"dilateformer_{name}" for name in VARIANTS]


def toy(**options):
    """The toy by timm's door."""
    return timm.create_model("dilateformer", architecture=TOY.to_dict(), **options)


def drawn(*size):
    return torch.randn(size, generator=torch.Generator().manual_seed(5))


def test_importing_the_module_registers_four_models_and_nothing_else_does(tmp_path):
    """``import dilnas`` needs no timm and adds nothing to its list."""
    assert timm.list_models("dilateformer*") == sorted(["dilateformer", *NAMES])
    code = "import dilnas, timm\nprint(timm.list_models('dilate*'))"
    assert python_without((), code, tmp_path).stdout.strip() == "[]"
    done = python_without(("timm",), "import dilnas\nimport dilnas.timm_models", tmp_path)
    assert "pip install 'dilnas[timm]'" in done.stderr


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_have_the_papers_parameters_and_the_official_names(name):
    """On the meta device: the state dict is that of dilnas's own network."""
    with torch.device("meta"):
        model = timm.create_model(f"dilateformer_{name}")
        own = build_model(VARIANTS[name])
    mine = {n: t.shape for n, t in model.state_dict().items()}
    assert mine == {n: t.shape for n, t in own.state_dict().items()}
    assert model.default_cfg["input_size"] == (3, 224, 224)
    assert f"{model.default_cfg['classifier']}.weight" in mine
    assert f"{model.default_cfg['first_conv']}.weight" in mine


@torch.inference_mode()
def test_tiny_at_its_default_size_gives_finite_logits_and_the_pool_size_it_says():
    """The unpooled map, the head in two steps, and the whole are one."""
    model = timm.create_model("dilateformer_tiny").eval()
    images = drawn(1, *model.default_cfg["input_size"])
    features = model.forward_features(images)
    assert features.shape == (1, model.num_features, *model.default_cfg["pool_size"])
    logits = model(images)
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()
    torch.testing.assert_close(model.forward_head(features), logits)


@torch.inference_mode()
def test_an_architectures_network_is_dilnass_to_the_bit(tmp_path):
    """From a dict, a file, a folder and an Architecture; same weights, same logits."""
    own = trained(TOY, tmp_path / "weights.safetensors")
    (tmp_path / "architecture.yaml").write_text(TOY.to_yaml())
    images = drawn(2, 3, 32, 48)
    for given in (TOY, TOY.to_dict(), tmp_path, str(tmp_path / "architecture.yaml")):
        model = timm.create_model(
            "dilateformer", architecture=given, checkpoint_path=tmp_path / "weights.safetensors"
        ).eval()
        assert torch.equal(model(images), own(images))


def test_every_parameter_gets_a_gradient():
    """In training mode with stochastic depth, dropout and activation checkpointing, as without."""
    for options in ({}, {"drop_path_rate": 0.1, "drop_rate": 0.1}):
        model = toy(num_classes=42, **options).train()
        model.set_grad_checkpointing(bool(options))
        out = model(drawn(4, 3, 32, 48))
        assert out.shape == (4, 42)
        out.square().mean().backward()
        assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_checkpointing_changes_neither_outputs_nor_gradients():
    """Only what is kept in between."""
    model, images = toy().train(), drawn(2, 3, 16, 32)
    found = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        out = model(images)
        out.square().sum().backward()
        found.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_scripted_model_computes_the_same_and_can_be_saved(tmp_path):
    """By torch.jit.script: outputs, gradients, the eval mode's and another size's."""
    model = toy().train()
    torch.jit.save(torch.jit.script(model), tmp_path / "scripted.pt")
    loaded = torch.jit.load(tmp_path / "scripted.pt")
    for size in ((2, 3, 16, 32), (1, 3, 48, 16)):
        ours, theirs = model(drawn(*size)), loaded(drawn(*size))
        torch.testing.assert_close(theirs, ours)
        mine = torch.autograd.grad(ours.square().sum(), list(model.parameters()))
        other = torch.autograd.grad(theirs.square().sum(), list(loaded.parameters()))
        for a, b in zip(other, mine, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    model.eval(), loaded.eval()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(drawn(1, 3, 32, 32)), model(drawn(1, 3, 32, 32)))


@torch.inference_mode()
def test_the_classifier_and_the_pooling_can_be_exchanged():
    """num_classes=0 gives pooled features, global_pool='' maps; at creation and afterwards."""
    images = drawn(2, 3, 32, 48)
    model = toy().eval()
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size) == (2, model.num_features)
    model.reset_classifier(0)
    assert model.num_classes == model.architecture.num_classes == 0
    torch.testing.assert_close(model(images), pooled)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, 32, 4, 6)
    assert toy(num_classes=0, global_pool="").eval()(images).shape == (2, 32, 4, 6)
    model.reset_classifier(5)
    assert model(images).shape == (2, 5, 4, 6)
    model.reset_classifier(5, "catavgmax")
    assert (model.get_classifier().in_features, model(images).shape) == (64, (2, 5))
    assert toy(global_pool="catavgmax").eval()(images).shape == (2, 7)
    maximum = toy(global_pool="max", num_classes=0).eval()
    maximum.load_state_dict(model.state_dict() | {}, strict=False)
    torch.testing.assert_close(maximum(images), model.forward_features(images).amax((2, 3)))


@torch.inference_mode()
def test_features_are_the_stages_own_maps():
    """Strides 4, 8, … before each downsampling; selected, reversed, by a hook, and pruned."""
    images = drawn(2, 3, 32, 48)
    model = toy().eval()
    final, maps = model.forward_intermediates(images)
    assert torch.equal(final, model.forward_features(images))
    info = FeatureInfo(model.feature_info, len(model.feature_info))
    assert (info.channels(), info.reduction()) == ([24, 32], [4, 8])
    pyramid = build_model(TOY, features_only=True).eval()
    kept = {n: t for n, t in model.state_dict().items() if not n.startswith(("norm.", "head."))}
    pyramid.load_state_dict(kept)
    for a, b in zip(maps, pyramid(images), strict=True):
        assert torch.equal(a, b)
    (normed,) = model.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
    assert torch.equal(normed, final)
    for options in ({}, {"feature_cls": "hook"}, {"out_indices": (0,)}, {"out_indices": (-1,)}):
        backbone = toy(features_only=True, **options).eval()
        for map_, channels, stride in zip(
            backbone(images), backbone.feature_info.channels(), backbone.feature_info.reduction(),
            strict=True,
        ):  # fmt: skip
            assert map_.shape == (2, channels, 32 // stride, 48 // stride)
    first = toy(features_only=True, out_indices=(0,))
    assert all("stages.1" not in name for name, _ in first.named_parameters())


def test_layers_are_in_order_for_layerwise_learning_rates():
    """The stem first, the classifier last; a downsampling goes with the block before it."""
    from timm.models import group_parameters

    model = toy()
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert groups["patch_embed.proj.0.weight"] == 0
    assert groups["stages.0.downsample.proj.0.weight"] == groups["stages.0.blocks.0.norm1.weight"]
    assert groups["stages.1.blocks.1.norm1.weight"] == groups["norm.weight"] == 3
    assert groups["head.weight"] == max(groups.values()) == 4
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) == 5


def test_other_channels_classes_and_types(tmp_path):
    """in_chans, num_classes and dtype at creation; checkpoints of the authors' form load."""
    model = toy(in_chans=1, num_classes=3, dtype=torch.float64).eval()
    assert model(drawn(1, 1, 16, 24).double()).shape == (1, 3)
    assert model.architecture.in_chans == 1
    own = build_model(TOY)
    torch.save({"model": own.state_dict(), "epoch": 3}, tmp_path / "official.pth")
    loaded = toy(checkpoint_path=tmp_path / "official.pth")
    assert torch.equal(loaded.head.weight, own.head.weight)
    save_weights(own, tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    fine = toy(pretrained=True, pretrained_cfg_overlay=overlay, num_classes=2)
    assert torch.equal(fine.norm.weight, own.norm.weight)
    maps = toy(pretrained=True, pretrained_cfg_overlay=overlay, features_only=True)
    assert torch.equal(maps.model.patch_embed.proj[0].weight, own.patch_embed.proj[0].weight)
    assert ModelEmaV3(loaded, decay=0.9).module.num_classes == 7  # it is copied deeply


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_fx_traces_it_as_timms_feature_extractors_do():
    """With timm's list of modules that fx takes as they are; what comes of it can be scripted."""
    from timm.models import get_notrace_functions, get_notrace_modules
    from torchvision.models.feature_extraction import create_feature_extractor

    model, images = toy().eval(), drawn(2, 3, 32, 48)
    options = {
        "leaf_modules": get_notrace_modules(),
        "autowrap_functions": get_notrace_functions(),
        "param_shapes_constant": True,
    }
    extractor = create_feature_extractor(model, ["head"], tracer_kwargs=options)
    assert torch.equal(extractor(images)["head"], model(images))
    torch.testing.assert_close(torch.jit.script(extractor)(images)["head"], model(images))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"architecture": "nowhere.yaml"}, ArchitectureError, "nowhere.yaml"),
        ({"architecture": {"stages": []}}, ArchitectureError, "stages"),
        ({"architecture": 3}, InputError, "a file, a folder"),
        ({"global_pool": "median"}, InputError, "avg | max"),
        ({"num_classes": -3}, ArchitectureError, "num_classes"),
    ],
)
def test_bad_arguments_are_dilnass_clear_lines(options, kind, said):
    """Not an assertion somewhere in timm."""
    with pytest.raises(kind) as caught:
        timm.create_model("dilateformer", **options)
    assert said in str(caught.value)
    with pytest.raises(DilnasError, match="multiples of"):
        toy()(drawn(1, 3, 20, 24))


def test_a_script_of_timms_runs_with_the_models_registered(tmp_path):
    """``python -m dilnas.timm_models SCRIPT ARGUMENTS``; without a script, one line.

    Its augmentation posterises to nothing too, where the recipe asks for it.
    """
    (tmp_path / "beside.py").write_text("NAME = 'dilateformer_tiny'")
    (tmp_path / "script.py").write_text(
        "import sys, timm\nfrom beside import NAME\nfrom PIL import Image\n"
        "from timm.data.auto_augment import AugmentOp\n"
        "strongest = AugmentOp('PosterizeIncreasing', 1.0, 10)\n"
        "black = strongest(Image.new('RGB', (2, 2), (255, 9, 3))).getpixel((0, 0))\n"
        "print(timm.is_model(NAME), __name__, sys.argv[1:], black)"
    )
    code = """
import runpy
for words in (["gone.py"], ["script.py", "--lr", "1"]):
    sys.argv = ["x", *words]
    try:
        runpy.run_module("dilnas.timm_models", run_name="__main__")
    except SystemExit as stopped:
        print(stopped.code)
"""
    done = python_without((), code, tmp_path)
    printed = "True __main__ ['--lr', '1'] (0, 0, 0)"
    assert done.stdout.split("\n")[:2] == ["2", printed], done.stderr[-2000:]
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("dilnas: error: "))
    assert "a script is needed" in said
