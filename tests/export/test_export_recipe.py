"""recipe.yaml is read by timm's own functions, and means there what the authors' script does."""

from __future__ import annotations

import argparse
import re
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from timm.data import Mixup, auto_augment, create_transform
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from toys import TOY

from dilnas.export.recipe import OFFICIAL_RECIPE, recipe_yaml
from dilnas.model import build_model
from dilnas.posterizing import mend_timm
from dilnas.train.transforms import seeded
from dilnas.variants import VARIANTS

TIMM_ARGUMENTS = frozenset(
    (
        "img_size", "input_size", "in_chans", "epochs", "batch_size", "opt", "lr", "lr_base",
        "lr_base_size", "lr_base_scale", "weight_decay", "clip_grad", "sched", "warmup_epochs",
        "warmup_lr", "min_lr", "cooldown_epochs", "drop_path", "smoothing", "mixup", "cutmix",
        "mixup_prob", "mixup_switch_prob", "aa", "color_jitter", "reprob", "remode", "recount",
        "aug_repeats", "train_interpolation", "model_ema", "model_ema_decay", "amp",
    )
)  # fmt: skip
"""Of timm's train.py 1.0.31; the others are not the recipe's."""

DEFAULTS = {
    "momentum": 0.9, "opt_eps": None, "opt_betas": None, "layer_decay": None, "opt_kwargs": {},
    "lr": None, "sched_on_updates": False, "decay_epochs": 90, "decay_milestones": [],
    "decay_rate": 0.1, "patience_epochs": 10, "warmup_prefix": False, "lr_noise": None,
    "lr_noise_pct": 0.67, "lr_noise_std": 1.0, "seed": 42, "lr_cycle_mul": 1.0,
    "lr_cycle_decay": 0.5, "lr_cycle_limit": 1, "lr_k_decay": 1.0, "eval_metric": "top1",
}  # fmt: skip
"""What timm's train.py has for the arguments that the recipe leaves alone."""


def arguments(text):
    """As timm's script reads a file: the parser's defaults, then the file's, by set_defaults."""
    parser = argparse.ArgumentParser()
    for name in sorted({*DEFAULTS, *TIMM_ARGUMENTS}):
        parser.add_argument(f"--{name.replace('_', '-')}", default=DEFAULTS.get(name))
    parser.set_defaults(**yaml.safe_load(text))
    return parser.parse_args([])


@pytest.fixture(scope="module")
def args():
    return arguments(recipe_yaml(VARIANTS["tiny"]))


def test_every_name_is_an_argument_of_timms_train_script():
    """An unknown one would be ignored there in silence."""
    assert OFFICIAL_RECIPE.keys() <= TIMM_ARGUMENTS
    assert yaml.safe_load(recipe_yaml(VARIANTS["tiny"])).keys() == OFFICIAL_RECIPE.keys()


def test_the_values_are_the_authors_and_read_as_what_they_are():
    """YAML 1.1 takes 1e-6 without a point for text; each line says where its value is from."""
    text = recipe_yaml(VARIANTS["tiny"])
    recipe = yaml.safe_load(text)
    for name, (value, source) in OFFICIAL_RECIPE.items():
        assert (type(recipe[name]), recipe[name]) == (type(value), value)
        (line,) = re.findall(rf"^{name}: .*$", text, re.M)
        assert line.endswith(f"# {source}")
    assert "never published" in text


@pytest.mark.parametrize(
    ("processes", "each", "rate"), [(8, 128, 2e-3), (1, 1024, 2e-3), (2, 64, 2.5e-4)]
)
def test_the_learning_rate_follows_the_batch_of_all_processes(args, processes, each, rate):
    """timm's rule: without lr, lr_base times batch over lr_base_size, linear as it is asked."""
    assert args.lr is None
    assert args.lr_base_scale == "linear"
    assert args.lr_base * (processes * each) / args.lr_base_size == pytest.approx(rate)


def test_timms_optimizer_and_schedule_take_it(args):
    """AdamW without decay on biases and norms; 1e-6 up in 10 epochs, cosine down to 1e-5 at 300."""
    given = SimpleNamespace(**{**vars(args), "lr": 2e-3})
    optimizer = create_optimizer_v2(build_model(TOY), **optimizer_kwargs(cfg=given))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}
    schedule, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(given))
    assert epochs == 300
    rates = {}
    for epoch in (0, 10, 155, 299):
        schedule.step(epoch)
        rates[epoch] = optimizer.param_groups[0]["lr"]
    assert rates[0] == pytest.approx(1e-6)
    assert rates[10] == pytest.approx(2e-3, rel=0.01)  # on the cosine, which began at 0
    assert rates[155] == pytest.approx(1e-3, rel=0.1)
    assert rates[299] == pytest.approx(1e-5, rel=0.01)


def test_timms_augmentation_and_mixing_take_it(args, monkeypatch):
    """As ``python -m dilnas.timm_models`` runs them; 300 seeds have the strongest posterising."""
    monkeypatch.setattr(auto_augment, "NAME_TO_OP", dict(auto_augment.NAME_TO_OP))
    mend_timm()
    transform = create_transform(
        args.img_size, is_training=True, auto_augment=args.aa, color_jitter=args.color_jitter,
        re_prob=args.reprob, re_mode=args.remode, re_count=args.recount,
        interpolation=args.train_interpolation,
    )  # fmt: skip
    pictures = [seeded(transform, seed)(Image.new("RGB", (60, 50))) for seed in range(300)]
    mix = Mixup(
        mixup_alpha=args.mixup, cutmix_alpha=args.cutmix, prob=args.mixup_prob,
        switch_prob=args.mixup_switch_prob, label_smoothing=args.smoothing, num_classes=7,
    )  # fmt: skip
    mixed, labels = mix(torch.stack(pictures[:2]), torch.tensor([1, 4]))
    assert mixed.shape == (2, 3, 224, 224)
    assert labels.shape == (2, 7)
    torch.testing.assert_close(labels.sum(1), torch.ones(2))
    assert (mix.mixup_alpha, mix.cutmix_alpha, mix.label_smoothing) == (0.8, 1.0, 0.1)


def test_other_sizes_and_channels_are_said_in_timms_words():
    """A side for squares, (channels, height, width) otherwise; in_chans where they are not 3."""
    gray = TOY.replace(in_chans=1)
    assert yaml.safe_load(recipe_yaml(gray))["in_chans"] == 1
    wide = yaml.safe_load(recipe_yaml(gray, (64, 96)))
    assert wide["input_size"] == [1, 64, 96]
    assert "img_size" not in wide
    assert yaml.safe_load(recipe_yaml(TOY, (96, 96)))["img_size"] == 96
    deep = VARIANTS["tiny"].replace(stages=VARIANTS["tiny"].stages[:1] * 7)
    text = recipe_yaml(deep)  # stride 256
    assert yaml.safe_load(text)["img_size"] == 256
    assert "raised to what the strides allow" in text
