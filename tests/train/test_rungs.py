"""Proxies and rungs: what a search relies on."""

import json
import math
from dataclasses import replace

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.data import load_data
from dilnas.errors import CheckpointError, InputError, RunError
from dilnas.train import PROXIES, Proxy, Recipe, evaluate, proxy, proxy_architecture, train_to_rung
from dilnas.train.rungs import CHECKPOINT, CURVE
from dilnas.variants import variant

SMALL = Architecture(
    stages=(
        Stage(dim=48, num_heads=3, msda_depth=1),
        Stage(dim=96, num_heads=6, global_depth=1),
    )
)
TINY_PROXY = Proxy(
    name="test", images=(160, 320), width=0.25, data_share=0.1,
    recipe=Recipe(batch_size=32, lr=3e-3, warmup_images=64, drop_path_rate=0.1, shift=1),
)  # fmt: skip


@pytest.fixture(scope="module")
def splits():
    return load_data("embedded")


def stored(folder):
    return torch.load(folder / CHECKPOINT, weights_only=True)


def flat(state):
    return [value for _, value in sorted(state.items())]


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    """Rung 0 and rung 1 in two calls, with other use of the random generator between them."""
    folder = tmp_path_factory.mktemp("trial")
    first = train_to_rung(SMALL, TINY_PROXY, 0, splits, seed=3, directory=folder, device="cpu")
    torch.manual_seed(1234)
    second = train_to_rung(SMALL, TINY_PROXY, 1, splits, seed=3, directory=folder, device="cpu")
    return folder, first, second


def test_two_rungs_in_one_go_equal_train_kill_resume_to_the_bit(splits, trained, tmp_path):
    folder, first, second = trained
    whole = train_to_rung(SMALL, TINY_PROXY, 1, splits, seed=3, directory=tmp_path, device="cpu")
    for part in ("model", "average"):
        mine, theirs = stored(tmp_path)["trainer"][part], stored(folder)["trainer"][part]
        assert all(torch.equal(a, b) for a, b in zip(flat(mine), flat(theirs), strict=True))
    assert whole.val_accuracy == second.val_accuracy
    assert whole.val_loss == second.val_loss
    again = train_to_rung(SMALL, TINY_PROXY, 0, splits, seed=3, directory=tmp_path, device="cpu")
    assert again.val_loss == first.val_loss


def test_a_rung_already_done_returns_its_stored_result_and_trains_nothing(splits, trained):
    folder, first, second = trained
    before = (folder / CHECKPOINT).stat().st_mtime_ns
    for rung, result in ((0, first), (1, second)):
        again = train_to_rung(SMALL, TINY_PROXY, rung, splits, seed=3, directory=folder)
        assert again == result
    assert (folder / CHECKPOINT).stat().st_mtime_ns == before


def test_images_and_seconds_are_counted_since_the_start(trained):
    _, first, second = trained
    assert (first.images_seen, second.images_seen) == (160, 320)
    assert second.seconds > first.seconds > 0
    assert second.images_per_s > 0


def test_evaluate_gives_the_score_of_the_last_rung_on_val_and_another_on_test(splits, trained):
    folder, _, second = trained
    on_val = evaluate(SMALL, TINY_PROXY, splits, split="val", directory=folder, device="cpu")
    assert on_val == {"accuracy": second.val_accuracy, "loss": second.val_loss}
    on_test = evaluate(SMALL, TINY_PROXY, splits, split="test", directory=folder, device="cpu")
    assert on_test["loss"] != on_val["loss"]


def test_the_curve_is_json_that_people_can_read(trained):
    folder, first, _ = trained
    curve = json.loads((folder / CURVE).read_text())
    assert curve["rungs"][0]["val_accuracy"] == first.val_accuracy
    assert len(curve["rungs"]) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"architecture": SMALL.replace(qkv_bias=False)}, "architecture"),
        ({"proxy": replace(TINY_PROXY, width=0.5)}, "proxy"),
        ({"seed": 4}, "seed"),
    ],
)
def test_a_checkpoint_of_another_candidate_is_refused_and_kept(splits, trained, changes, field):
    folder, _, second = trained
    given = {"architecture": SMALL, "proxy": TINY_PROXY, "seed": 3, **changes}
    with pytest.raises(CheckpointError, match=f"its {field} differs"):
        train_to_rung(
            given["architecture"], given["proxy"], 1, splits, seed=given["seed"], directory=folder
        )
    again = train_to_rung(SMALL, TINY_PROXY, 1, splits, seed=3, directory=folder)
    assert again == second


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 torn", b"cos\nsystem\n(S'x'\ntR."])
def test_a_damaged_or_hostile_checkpoint_is_named(splits, tmp_path, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        train_to_rung(SMALL, TINY_PROXY, 0, splits, seed=3, directory=tmp_path)
    assert caught.value.where == str(tmp_path / CHECKPOINT)


def test_evaluating_without_a_checkpoint_says_so(splits, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        evaluate(SMALL, TINY_PROXY, splits, split="test", directory=tmp_path)


def test_a_divergence_is_a_result_without_a_score_at_every_later_rung(splits, tmp_path):
    wild = replace(TINY_PROXY, recipe=Recipe(batch_size=32, lr=1e38, warmup_images=0, clip_norm=0))
    result = train_to_rung(SMALL, wild, 0, splits, seed=0, directory=tmp_path, device="cpu")
    assert result.diverged
    assert result.val_accuracy == 0
    assert result.val_loss == math.inf
    assert train_to_rung(SMALL, wild, 1, splits, seed=0, directory=tmp_path) == result
    assert json.loads((tmp_path / CURVE).read_text())["rungs"][0]["val_loss"] is None


def test_a_directory_that_cannot_be_written_is_named(splits, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        train_to_rung(SMALL, TINY_PROXY, 0, splits, seed=0, directory=tmp_path / "file" / "trial")


def test_data_of_another_image_size_and_rungs_that_are_not_there_are_refused(splits, tmp_path):
    larger = replace(TINY_PROXY, image_size=64)
    with pytest.raises(InputError, match="image size of proxy"):
        train_to_rung(SMALL, larger, 0, splits, seed=0, directory=tmp_path)
    with pytest.raises(InputError, match="no such rung"):
        train_to_rung(SMALL, TINY_PROXY, 2, splits, seed=0, directory=tmp_path)


def test_progress_is_reported_as_images_seen_and_speed(splits, tmp_path, monkeypatch):
    """After every step where a step takes as long as a report is apart."""
    monkeypatch.setattr("dilnas.train.trainer.PROGRESS_EVERY_S", 0.0)
    calls = []
    short = replace(TINY_PROXY, images=(80,), recipe=Recipe(batch_size=16))
    train_to_rung(
        SMALL, short, 0, splits, seed=0, directory=tmp_path,
        on_progress=lambda seen, speed: calls.append((seen, speed)),
    )  # fmt: skip
    assert [seen for seen, _ in calls] == [16, 32, 48, 64, 80]
    assert all(speed > 0 for _, speed in calls)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
@pytest.mark.parametrize("width", [0.1, 0.25, 1 / 3, 0.5, 1.0])
def test_a_proxy_keeps_all_of_an_architecture_but_its_width(splits, name, width):
    whole = variant(name)
    narrow = proxy_architecture(whole, replace(PROXIES["quick"], width=width), splits)
    assert (narrow.num_classes, narrow.in_chans) == (10, 1)
    assert narrow.layout == whole.layout
    for mine, theirs in zip(narrow.stages, whole.stages, strict=True):
        assert replace(mine, dim=theirs.dim) == theirs
        assert abs(mine.dim - width * theirs.dim) <= theirs.num_heads / 2
    if width == 1:
        assert narrow.stages == whole.stages


def test_proxies_are_named_json_able_and_round_trip():
    for name, made in PROXIES.items():
        assert proxy(name) is made
        assert made.name == name
        assert Proxy.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    with pytest.raises(InputError, match=r"smoke \| quick \| standard"):
        proxy("quickest")


@pytest.mark.parametrize(
    "changes", [{"images": ()}, {"images": (10, 10)}, {"width": 0}, {"data_share": 1.5},
                {"image_size": 48}]
)  # fmt: skip
def test_a_proxy_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(InputError):
        replace(PROXIES["quick"], **changes)


def test_a_proxy_from_a_damaged_file_is_refused():
    with pytest.raises(InputError, match="not a proxy"):
        Proxy.from_dict({"name": "x"})
