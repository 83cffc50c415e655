"""The recipe of full training and its learning rate, number by number."""

import math
from dataclasses import replace

import pytest

from dilnas.errors import InputError
from dilnas.train import TrainRecipe, read_recipe
from dilnas.train.schedule import learning_rate

PAPER = TrainRecipe()


def test_the_default_recipe_is_the_papers():
    """As the authors' dist_train.sh and main.py have it (reference/paper.md, section 4)."""
    expected = {
        "epochs": 300, "batch_size": 1024, "warmup_epochs": 10, "warmup_lr": 1e-6, "min_lr": 1e-5,
        "weight_decay": 0.05, "clip_grad": None, "drop_path": 0.1, "smoothing": 0.1, "mixup": 0.8,
        "cutmix": 1.0, "reprob": 0.25, "remode": "pixel", "aa": "rand-m9-mstd0.5-inc1",
        "color_jitter": 0.4, "aug_repeats": 3, "model_ema_decay": 0.99996, "opt": "adamw",
        "interpolation": "bicubic", "img_size": 224, "amp": True, "mixup_switch_prob": 0.5,
    }  # fmt: skip
    assert {name: getattr(PAPER, name) for name in expected} == expected
    assert PAPER.total_epochs == 300


@pytest.mark.parametrize("batch", [1024, 512, 64])
def test_the_rate_is_scaled_as_the_authors_code_does(batch):
    """1e-3 times the global batch by 512: 2e-3 at the paper's 1024."""
    assert PAPER.at_batch(batch).peak_lr == pytest.approx(1e-3 * batch / 512, rel=1e-12)
    by_base = TrainRecipe.from_dict({"lr_base": 1e-3, "lr_base_size": 512}).at_batch(batch)
    assert by_base.peak_lr == pytest.approx(1e-3 * batch / 512, rel=1e-12)


def test_the_rate_is_timms_cosine_with_a_linear_warm_up():
    """Epoch by epoch, against timm's own scheduler with the paper's numbers."""
    import torch
    from timm.scheduler import CosineLRScheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    timms = CosineLRScheduler(
        optimizer, t_initial=300, lr_min=1e-5, warmup_t=10, warmup_lr_init=1e-6
    )
    for epoch in range(300):
        timms.step(epoch)
        for inside in (0, 3, 6):
            rate = learning_rate(PAPER, epoch * 7 + inside, 7)
            assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_the_ends_of_the_schedule_are_the_papers():
    """1e-6 first, halfway 1e-6..2e-3 in the middle of the warm-up, 1e-5 at the end."""
    assert learning_rate(PAPER, 0, 1251) == 1e-6
    assert learning_rate(PAPER, 5 * 1251, 1251) == pytest.approx((1e-6 + 2e-3) / 2)
    last = 1e-5 + (2e-3 - 1e-5) / 2 * (1 + math.cos(math.pi * 299 / 300))
    assert learning_rate(PAPER, 300 * 1251 - 1, 1251) == pytest.approx(last)
    cooled = TrainRecipe(cooldown_epochs=10)
    assert cooled.total_epochs == 310
    assert learning_rate(cooled, 305 * 9, 9) == 1e-5


def test_fewer_epochs_keep_the_shape_of_the_schedule():
    """A warm-up of 10 epochs does not fit into 2: it shrinks, and the rate goes by the update."""
    short = PAPER.shortened(2)
    assert short.warmup_epochs == pytest.approx(20 / 300)
    assert (short.sched_on_updates, short.total_epochs) == (True, 2)
    assert PAPER.shortened(300) == PAPER
    rates = [learning_rate(short, update, 30) for update in range(60)]
    assert rates[0] == 1e-6
    assert max(rates) == rates[2] == pytest.approx(2e-3, rel=0.01)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_recipe_file_is_read_by_timms_names(tmp_path):
    """What it leaves out is the paper's; what timm calls null is as usual."""
    file = tmp_path / "r.yaml"
    file.write_text("epochs: 5\nwarmup_epochs: 1\naa: null\ncrop_pct: null\nmodel: x\n")
    found = read_recipe(file)
    assert (found.epochs, found.aa, found.crop_pct, found.mixup) == (5, None, 0.875, 0.8)
    assert TrainRecipe.from_dict(found.to_dict()) == found


def test_the_recipe_of_an_export_is_the_papers(tmp_path):
    """Every line that dilnas export writes is read, and means what the default is."""
    from dilnas import variant
    from dilnas.export.recipe import recipe_yaml

    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(variant("tiny")))
    found, default = read_recipe(path), TrainRecipe()
    assert found.peak_lr == default.peak_lr == 2e-3
    assert replace(found, lr=default.lr, lr_base=None) == default
    path.write_text(recipe_yaml(variant("tiny"), (64, 96)))
    with pytest.raises(InputError, match="square images"):
        read_recipe(path)
    path.write_text("input_size: [3, 64, 64]")
    assert read_recipe(path).img_size == 64


def test_a_recipe_file_that_dilnas_once_wrote_is_understood(tmp_path):
    """Its names were not timm's."""
    file = tmp_path / "r.yaml"
    file.write_text(
        "dilnas_recipe: 1\ndataset: imagenet-1k\nimage_size: 224\noptimizer: adamw\n"
        "learning_rate: 2.0e-03\nschedule: cosine\ngradient_clip: null\nlabel_smoothing: 0.2\n"
        "rand_augment: rand-m9-mstd0.5-inc1\nrepeated_augmentation: true\nema_decay: 0.99996\n"
    )
    assert read_recipe(file) == TrainRecipe(smoothing=0.2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochz: 5", "epochz: not a setting"),
        ("momentum: 0.9", "momentum: not a setting"),
        ("opt: lamb", "opt: unknown choice"),
        ("sched: step", "sched: unknown choice"),
        ("epochs: many", "epochs: must be a whole number"),
        ("epochs: 5", "warmup_epochs: must be below epochs"),
        ("lr: .nan", "lr: must be a number"),
        ("smoothing: 1.5", "smoothing: out of range"),
        ("amp: 3", "amp: must be true or false"),
        ("opt_betas: [0.9]", "opt_betas: must be a list"),
        ("- 1", "must be a mapping"),
    ],
)
def test_a_recipe_that_would_be_misread_is_refused(tmp_path, text, says):
    """A key that is ignored silently changes a training of days."""
    file = tmp_path / "r.yaml"
    file.write_text(text + "\n")
    with pytest.raises(InputError) as caught:
        read_recipe(file)
    assert f"{file}: " in str(caught.value)
    assert says in str(caught.value)
