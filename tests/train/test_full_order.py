"""Which image is trained on when: repeats, shares, places."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dilnas.errors import InputError
from dilnas.train import TrainRecipe
from dilnas.train.mixing import mixed_batch
from dilnas.train.order import Order

SIZES = st.tuples(
    st.integers(1, 200), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9)
)


@given(SIZES)
def test_the_shares_of_an_update_are_disjoint_and_make_it_whole(sizes):
    """Whatever the number of workers and micro-steps, an update sees the same places and images."""
    images, world, micro, repeats, seed = sizes
    batch = world * micro * random.Random(seed).randint(1, max(1, images // (world * micro)))
    if batch > images:
        return
    order = Order(images, batch, repeats, seed)
    for update in (0, order.updates_per_epoch - 1, order.updates_per_epoch):
        parts = [order.share(update, p, world * micro) for p in range(world * micro)]
        assert len({len(part) for part in parts}) == 1
        together = sorted(pick for part in parts for pick in part)
        assert together == sorted(order.share(update, 0, 1))
        assert len({place for _, place, _ in together}) == batch


def test_repeated_augmentation_takes_each_image_of_an_epoch_three_times():
    """A third of the images an epoch, as many updates as without repeats, all of them in time."""
    order = Order(300, 30, 3, seed=1)
    assert order.updates_per_epoch == 10
    counts = Counter(order.epoch(0).tolist())
    assert set(counts.values()) == {3} and len(counts) == 100
    seen = set()
    for epoch in range(25):
        seen |= set(order.epoch(epoch).tolist())
    assert len(seen) == 300


def test_without_repeats_an_epoch_is_a_permutation_less_what_fills_no_update():
    """103 images in updates of 10."""
    order = Order(103, 10, 1, seed=1)
    assert order.updates_per_epoch == 10
    assert len(set(order.epoch(4).tolist())) == 100
    assert not torch.equal(order.epoch(4), order.epoch(5))
    assert torch.equal(Order(103, 10, 1, seed=1).epoch(4), order.epoch(4))


def test_the_copies_of_an_image_go_to_different_workers():
    """Repeats are worth most when no batch holds them all."""
    order = Order(300, 30, 3, seed=2)
    for rank in range(3):
        images = [index for _, _, index in order.share(0, rank, 3)]
        assert len(set(images)) == len(images)


def test_a_batch_above_the_training_set_is_refused():
    """No update would ever be full."""
    with pytest.raises(InputError, match="larger than the training set"):
        Order(10, 11, 1, 0)


def test_mixing_keeps_the_sum_of_targets_and_switches_as_asked():
    """Targets are shares; with switch 1 every batch is cut, with 0 none."""
    images, labels = torch.rand(6, 3, 16, 24), torch.tensor([0, 1, 2, 3, 0, 1])
    for switch, cut in ((1.0, True), (0.0, False)):
        recipe = TrainRecipe(mixup_switch_prob=switch)
        for seed in range(5):
            mixed, targets = mixed_batch(images, labels, recipe, 4, seed)
            assert torch.allclose(targets.sum(1), torch.ones(6))
            own = (mixed == images).flatten(1)
            other = (mixed == images.flip(0)).flatten(1)
            assert bool((own | other).all()) == cut
    plain = TrainRecipe(mixup=0, cutmix=0)
    assert mixed_batch(images, labels, plain, 4, 0) == (images, labels)
