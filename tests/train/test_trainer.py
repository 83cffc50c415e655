"""The trainer below proxies: order of the data, averages, schedules, options."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dilnas.data import ImageSet, load_data
from dilnas.errors import DeviceError, InputError
from dilnas.train import Recipe, Trainer
from dilnas.train.average import WeightAverage
from dilnas.train.batches import BatchStream, augment, mix
from dilnas.train.trainer import training_device
from dilnas.train.weights import parameter_groups

CPU = torch.device("cpu")
GREY = ((60.0,), (80.0,))


@pytest.fixture(scope="module")
def splits():
    return load_data("embedded")


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=4), nn.BatchNorm2d(8), nn.GELU(), nn.Dropout(0.1),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def trainer(splits, recipe, *, seed=0, model=None, count=300):
    part = splits.train.subset(torch.arange(count))
    return Trainer(
        model or small_net(), recipe, part, splits.mean_std, num_classes=10, seed=seed, device=CPU
    )


def weights(made):
    return torch.cat([value.double().flatten() for value in made.model.state_dict().values()])


MIXED = Recipe(batch_size=32, lr=1e-3, warmup_images=64, mixup=0.2, cutmix=1.0, shift=2, flip=True,
               drop_path_rate=0.1)  # fmt: skip


@pytest.mark.parametrize("recipe", [Recipe(batch_size=32, warmup_images=64), MIXED])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(splits, recipe):
    whole = trainer(splits, recipe)
    whole.fit(640)
    part = trainer(splits, recipe)
    part.fit(320)
    torch.manual_seed(99)
    torch.rand(7)
    resumed = trainer(splits, recipe)
    resumed.load_state_dict(part.state_dict())
    resumed.fit(640)
    assert resumed.images_seen == whole.images_seen == 640
    assert torch.equal(weights(resumed), weights(whole))
    mine, theirs = resumed.average.state_dict(), whole.average.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_training_leaves_the_global_random_state_as_it_was(splits):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made = trainer(splits, MIXED, model=nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)))
    made.fit(96)
    torch.manual_seed(5)
    made.fit(192)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_sees_the_images_in_another_order(splits):
    recipe = Recipe(batch_size=32)
    orders = [trainer(splits, recipe, seed=s).stream.indices(0).tolist() for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@given(st.integers(3, 50), st.integers(1, 40), st.integers(1, 6))
def test_every_epoch_shows_every_image_once_whatever_the_batch_size(count, batch, epochs):
    images = ImageSet(torch.zeros(count, 1, 4, 4, dtype=torch.uint8), torch.zeros(count).long())
    stream = BatchStream(images, GREY, Recipe(batch_size=batch), num_classes=2, seed=3, device=CPU)
    steps = math.ceil(epochs * count / batch)
    seen = torch.cat([stream.indices(step) for step in range(steps)])
    for epoch in range(epochs):
        part = seen[epoch * count : (epoch + 1) * count]
        assert sorted(part.tolist()) == list(range(count))


def test_the_average_of_constant_weights_is_those_weights_and_of_two_steps_their_mean():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, gamma=0.0)
    with torch.no_grad():
        for step, value in ((1, 4.0), (2, 8.0)):
            model.weight.fill_(value)
            average.update(step)
    assert torch.allclose(average.state_dict()["weight"], torch.full((1, 2), 6.0))


def test_batch_norm_statistics_are_averaged_with_the_weights(splits):
    made = trainer(splits, Recipe(batch_size=32, warmup_images=0))
    made.fit(320)
    average = made.average.state_dict()
    assert average["1.num_batches_tracked"] == 10
    assert not torch.equal(average["1.running_var"], made.model.state_dict()["1.running_var"])


def test_norms_and_biases_have_no_weight_decay():
    groups = parameter_groups(small_net(), 0.05)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert len(groups[1]["params"]) == 4


def test_the_rate_rises_then_stays_unless_an_end_is_known():
    constant = Recipe(batch_size=10, lr=1.0, warmup_images=100)
    assert [constant.lr_at(n) for n in (0, 40, 90, 10**9)] == [0.1, 0.5, 1.0, 1.0]
    ending = Recipe(batch_size=10, lr=1.0, warmup_images=0, total_images=1000, decay_share=0.5)
    assert [ending.lr_at(n) for n in (0, 500, 750, 1000)] == [1.0, 1.0, 0.5, 0.0]


def test_a_loss_that_is_not_finite_stops_the_training(splits):
    made = trainer(splits, Recipe(batch_size=32, lr=1e30, warmup_images=0, clip_norm=0))
    result = made.fit(3200)
    assert result.diverged
    assert made.images_seen < 3200


def test_shifts_move_pixels_by_at_most_that_many_and_flips_mirror():
    images = torch.zeros(64, 1, 9, 12, dtype=torch.uint8)
    images[:, :, 4, 6] = 255
    moved = augment(images, 2, False, torch.Generator().manual_seed(0))
    rows, columns = moved.nonzero()[:, 2], moved.nonzero()[:, 3]
    assert set(rows.tolist()) == set(range(2, 7))
    assert set(columns.tolist()) == set(range(4, 9))
    flipped = augment(images, 0, True, torch.Generator().manual_seed(0))
    assert set(flipped.nonzero()[:, 3].tolist()) == {5, 6}


@pytest.mark.parametrize("options", [{"mixup": 0.5}, {"cutmix": 1.0}])
def test_mixed_targets_are_probabilities_in_the_share_of_the_pixels(options):
    import random

    images = torch.cat([torch.zeros(4, 1, 8, 12), torch.ones(4, 1, 8, 12)])
    labels = torch.tensor([0] * 4 + [1] * 4)
    for seed in range(20):
        mixed, targets = mix(images, labels, Recipe(**options), 3, random.Random(seed))
        assert torch.allclose(targets.sum(1), torch.ones(8))
        assert torch.allclose(mixed.mean((1, 2, 3)), targets[:, 1], atol=1e-6)


def test_bf16_autocast_trains_on_a_cpu(splits):
    made = trainer(splits, Recipe(batch_size=32, amp="bf16"))
    assert math.isfinite(made.fit(64).train_loss)


def test_training_learns(splits):
    made = trainer(splits, Recipe(batch_size=32, lr=3e-3, warmup_images=128), count=2000)
    made.fit(4000)
    accuracy, loss = made.evaluate(splits.val)
    assert accuracy > 0.6
    assert loss < 1.3


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0), ("batch_size", 0), ("amp", "fp8"), ("mixup", -1), ("drop_path_rate", 1.0),
     ("lr", math.nan), ("label_smoothing", -0.1)],
)  # fmt: skip
def test_a_recipe_that_cannot_be_meant_is_refused(field, value):
    with pytest.raises(InputError, match=field):
        Recipe(**{field: value})


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(DeviceError, match="unknown device"):
        training_device("gpu9")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            training_device("cuda")
