"""Full training in one process: what its numbers are, and that an interruption changes none."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch
from full_cases import NO_BATCH_NORM, TOY, photographs, recipe, toy, trained, weights
from torch.nn import functional

from dilnas.data.stream import open_stream
from dilnas.errors import CheckpointError, DataError, InputError, RunError
from dilnas.lock import run_lock
from dilnas.model import build_model, load_checkpoint
from dilnas.runs import resolve
from dilnas.train import full_training, read_recipe
from dilnas.train.average import DecayAverage
from dilnas.train.events import EpochRow, Note, Progress
from dilnas.train.group import Group
from dilnas.train.transforms import transforms
from dilnas.train.validation import validate


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A training of three epochs, undisturbed: (its folder's parent, result, events)."""
    folder = tmp_path_factory.mktemp("whole")
    return (folder, *trained(folder, photos, "out"))


def notes(told):
    return [event.text for event in told if isinstance(event, Note)]


def test_a_training_leaves_weights_a_log_and_what_it_was(whole, photos):
    """The files that docs/training.md names; the architecture has the data's classes."""
    folder, result, told = whole
    out = folder / "out"
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {
        "architecture.yaml", "best.safetensors", "last-ema.safetensors", "last.safetensors",
        "log.csv", "recipe.yaml", "state.pt", "train.json",
    }  # fmt: skip
    _, architecture = resolve(str(out))
    assert architecture == TOY.replace(num_classes=3)
    for name in ("best", "last", "last-ema"):
        load_checkpoint(build_model(architecture), out / f"{name}.safetensors")
    head = json.loads((out / "train.json").read_text())
    assert head["finished"] and head["best"] == result.best
    assert head["data"]["classes"] == ["class0", "class1", "class2"]
    assert read_recipe(out / "recipe.yaml").batch_size == 12
    assert [event for event in told if isinstance(event, EpochRow)] == list(result.rows)
    assert any(isinstance(event, Progress) for event in told)
    assert any("num_classes: 3" in text for text in notes(told))


def test_the_log_has_a_row_for_each_epoch_with_the_recipes_rates(whole):
    """Warm-up epoch at 1e-6, then the cosine; three updates an epoch."""
    folder, result, _ = whole
    rows = list(csv.DictReader((folder / "out" / "log.csv").open()))
    assert [int(row["updates"]) for row in rows] == [3, 6, 9]
    assert float(rows[0]["lr"]) == pytest.approx(1e-6)
    assert float(rows[1]["lr"]) == pytest.approx(1e-5 + (2e-3 - 1e-5) * 0.75)
    assert [float(row["val_top1"]) for row in rows] == pytest.approx(
        [row.val_top1 for row in result.rows]
    )
    best = max(result.rows, key=lambda row: row.val_top1)
    assert result.best["epoch"] == best.epoch


def test_the_logged_accuracy_is_that_of_the_weights_that_are_saved(whole, photos):
    """Computed anew, image by image, from last.safetensors; 21 images of 7 a class."""
    folder, result, _ = whole
    out = folder / "out"
    _, architecture = resolve(str(out))
    stream = open_stream(str(photos))
    still = transforms(stream, read_recipe(out / "recipe.yaml"), 32)[1]
    images = torch.stack([still(stream.val.image(i)) for i in range(21)])
    labels = torch.from_numpy(stream.val.labels)
    for name, column in (("last", "val_top1"), ("last-ema", "ema_top1")):
        model = build_model(architecture).eval()
        load_checkpoint(model, out / f"{name}.safetensors")
        with torch.inference_mode():
            logits = model(images)
        right = float((logits.argmax(1) == labels).float().mean())
        assert right == pytest.approx(getattr(result.rows[-1], column))
        if name == "last":
            loss = float(functional.cross_entropy(logits, labels))
            assert loss == pytest.approx(result.rows[-1].val_loss, rel=1e-5)


def test_the_same_command_again_shows_the_result_and_trains_nothing(whole, photos):
    """Rows, best and notes are those of the first time."""
    folder, result, _ = whole
    before = (folder / "out" / "state.pt").read_bytes()
    again, told = trained(folder, photos, "out")
    assert (again.rows, again.best, again.trained) == (result.rows, result.best, False)
    assert "nothing to do" in notes(told)[-1]
    assert (folder / "out" / "state.pt").read_bytes() == before


@pytest.mark.parametrize("loaders", [0, 2])
def test_an_interrupted_training_equals_an_undisturbed_one_to_the_bit(
    whole, photos, tmp_path, loaders
):
    """Stopped in mid-epoch, at whatever update, and gone on with in another call."""
    import os
    import signal

    stops = iter((1, 2))

    def interrupt_once(event):
        if isinstance(event, Progress) and event.epoch == stop_in:
            os.kill(os.getpid(), signal.SIGINT)

    torch.manual_seed(loaders)
    for stop_in in stops:  # noqa: B007 - interrupt_once looks at it
        part = full_training(
            toy(tmp_path), data=str(photos), recipe=recipe(tmp_path), out=tmp_path / "out",
            loaders=loaders, device="cpu", on_event=interrupt_once,
        )  # fmt: skip
        assert part.interrupted and len(part.rows) < 3
        assert not json.loads((tmp_path / "out" / "train.json").read_text())["finished"]
    done, told = trained(tmp_path, photos, "out", loaders=loaders)
    assert any(text.startswith("going on with") for text in notes(told))
    assert not done.interrupted
    for name in ("last", "last-ema", "best"):
        file = f"{name}.safetensors"
        assert torch.equal(weights(tmp_path / "out", file), weights(whole[0] / "out", file))
    kept = [replace(row, images_per_s=0, seconds=0) for row in done.rows]
    assert kept == [replace(row, images_per_s=0, seconds=0) for row in whole[1].rows]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 1}, "its seed differs"),
        ({"amp": "bf16"}, "its amp differs"),
        ({"lr": 1e-3}, "its recipe: lr differs"),
        ({"batch_size": 6}, "its recipe: batch_size differs"),
        ({"epochs": 4}, "its recipe: epochs differs"),
        ({"img_size": 64}, "its img_size differs"),
    ],
)
def test_another_training_in_the_same_folder_is_refused_by_the_setting(
    whole, photos, options, says
):
    """Nothing in the folder changes."""
    folder, _, _ = whole
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    with pytest.raises(RunError, match=says):
        trained(folder, photos, "out", **options)
    assert before == {path.name: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}


def test_a_second_command_in_the_same_folder_is_refused_while_the_first_runs(photos, tmp_path):
    """Two writers would destroy each other's state."""
    with (
        run_lock(tmp_path / "out", what="training"),
        pytest.raises(RunError, match="another training is running here"),
    ):
        trained(tmp_path, photos, "out")


def test_other_data_or_a_foreign_folder_is_refused(whole, photos, tmp_path):
    """A file more is other data; a folder of somebody else's is left alone."""
    folder, _, _ = whole
    more = shutil.copytree(photos, tmp_path / "more")
    first = more / "train" / "class0" / "000.jpg"
    shutil.copy(first, first.with_name("new.jpg"))
    with pytest.raises(RunError, match="its data"):
        trained(folder, more, "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="holds other things"):
        trained(tmp_path, photos, "mine")


@pytest.mark.parametrize("name", ["state.pt", "train.json"])
def test_a_damaged_state_is_refused_and_left_as_it_was(whole, photos, tmp_path, name):
    """Half of a file, as a disk may leave it: named, and nothing trained over it."""
    out = shutil.copytree(whole[0] / "out", tmp_path / "out")
    half = (out / name).read_bytes()[:300]
    (out / name).write_bytes(half)
    with pytest.raises((CheckpointError, RunError)) as caught:
        trained(tmp_path, photos, "out")
    assert caught.value.where == str(out / name)
    assert (out / name).read_bytes() == half


def test_accumulated_steps_are_one_larger_batch(photos, tmp_path):
    """Without batch norm and mixing, three micro-steps of four give the gradient of twelve.

    With an epsilon this large AdamW's step is in proportion to the gradient: a wrong scale shows.
    """
    ends = []
    for accumulate in (1, 3):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        settings = recipe(folder, mixup=0.0, cutmix=0.0, drop_path=0.0, opt_eps=1.0,
                          lr=1.0, weight_decay=0.0)  # fmt: skip
        (folder / "net.yaml").write_text(NO_BATCH_NORM.to_yaml())
        full_training(
            str(folder / "net.yaml"), data=str(photos), recipe=settings, out=folder / "out",
            accumulate=accumulate, loaders=0, device="cpu",
        )  # fmt: skip
        ends.append(weights(folder / "out"))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_in_the_recipes_half_precision_and_goes_on(photos, tmp_path):
    """With processes that load; fp16 as the paper's."""
    result, _ = trained(tmp_path, photos, "out", device="cuda", loaders=2)
    assert [row.updates for row in result.rows] == [3, 6, 9]
    assert json.loads((tmp_path / "out" / "train.json").read_text())["identity"]["amp"] == "fp16"


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_autocast_trains_on_a_cpu_too(photos, tmp_path, amp, whole):
    """Losses near those of single precision, weights that are not the same."""
    result, _ = trained(tmp_path, photos, "out", amp=amp)
    for row, exact in zip(result.rows, whole[1].rows, strict=True):
        assert row.train_loss == pytest.approx(exact.train_loss, rel=0.05)
    assert not torch.equal(weights(tmp_path / "out"), weights(whole[0] / "out"))


def test_the_average_is_timms():
    """decay · average + (1 - decay) · weights, from the initial weights on, buffers too."""
    from timm.utils import ModelEmaV2

    torch.manual_seed(0)
    model = build_model(TOY.replace(num_classes=3))
    ours, timms = DecayAverage(model, 0.9), ModelEmaV2(model, decay=0.9)
    for step in range(1, 4):
        with torch.no_grad():
            for value in (*model.parameters(), *model.buffers()):
                if value.is_floating_point():
                    value.add_(torch.randn_like(value))
        ours.update(step)
        timms.update(model)
    for name, value in timms.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(ours.state_dict()[name], value)


def test_fine_tuning_takes_an_official_checkpoint_to_other_classes_and_sizes(photos, tmp_path):
    """A DeiT-style file of 1000 classes: its body is taken, a head of 3 is new; at 64 pixels."""
    from argparse import Namespace

    torch.manual_seed(3)
    source = build_model(TOY)
    checkpoint = tmp_path / "official.pth"
    torch.save({"model": source.state_dict(), "args": Namespace(lr=1)}, checkpoint)
    result, told = trained(
        tmp_path, photos, "out", finetune=checkpoint, img_size=64, lr=1e-9, epochs=1
    )
    assert any("its head does not fit 3 classes" in text for text in notes(told))
    tuned = build_model(TOY.replace(num_classes=3))
    load_checkpoint(tuned, tmp_path / "out" / "last.safetensors")
    for name, value in source.named_parameters():
        if not name.startswith("head."):
            torch.testing.assert_close(tuned.get_parameter(name), value, rtol=1e-3, atol=1e-4)
    assert result.rows[0].updates == 3
    wrong = TOY.replace(stem="pointconv")
    (tmp_path / "wrong.yaml").write_text(wrong.to_yaml())
    with pytest.raises(CheckpointError, match="of another architecture"):
        full_training(
            str(tmp_path / "wrong.yaml"), data=str(photos), finetune=checkpoint, device="cpu",
            out=tmp_path / "never", batch_size=12,
        )  # fmt: skip
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_corrupt_image_ends_the_training_by_name_and_can_be_skipped(
    photos, tmp_path, loaders, whole
):
    """The first epoch's state is kept; with skip_corrupt the same training goes on from it."""
    data = shutil.copytree(photos, tmp_path / "data")
    victim = data / "train" / "class1" / "007.jpg"
    content = victim.read_bytes()
    ended = []

    def spoil(event):
        if isinstance(event, EpochRow) and event.epoch == 1:
            victim.write_bytes(content[:300])
        ended.append(event)

    settings = {
        "data": str(data), "recipe": recipe(tmp_path), "out": tmp_path / "out",
        "loaders": loaders, "device": "cpu", "on_event": spoil,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"not a whole image.*--skip-corrupt") as caught:
        full_training(toy(tmp_path), **settings)
    assert caught.value.where == str(victim)
    state = torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    assert state["update"] == 3
    result = full_training(toy(tmp_path), **settings, skip_corrupt=True)
    assert len(result.rows) == 3 and result.skipped >= 1
    assert any("007.jpg" in text for text in notes(ended) if text.startswith("skipped"))


def test_a_loss_that_is_not_finite_ends_the_training_with_a_line(photos, tmp_path):
    """Not with weights of NaN."""
    with pytest.raises(RunError, match="no longer finite"):
        trained(tmp_path, photos, "out", lr=100.0, epochs=20)


def test_validation_sees_every_image_once_whatever_the_workers(photos):
    """21 images over 1, 2, 4 and 5 workers: the sums of their shares are those of one."""
    torch.manual_seed(0)
    stream = open_stream(str(photos))
    recipe_ = replace(read_paper(), img_size=32)
    still = transforms(stream, recipe_, 32)[1]
    model = build_model(TOY.replace(num_classes=3))

    class Alone(Group):
        """Hands back the worker's own sums."""

        def sum(self, values):
            return values

    def share(rank, world):
        return validate(
            model, stream.val, still, Alone(rank, world, torch.device("cpu")), size=4, loaders=0,
            skip=False,
        )  # fmt: skip

    one = share(0, 1)
    assert one["images"] == 21
    for world in (2, 4, 5):
        parts = [share(rank, world) for rank in range(world)]
        assert sum(part["images"] for part in parts) == 21
        for name in ("top1", "top5", "loss"):
            total = sum(part[name] * part["images"] for part in parts) / 21
            assert total == pytest.approx(one[name], rel=1e-5)


def read_paper():
    from dilnas.train import TrainRecipe

    return TrainRecipe()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_classes": 5}, "--num-classes: the data has another number"),
        ({"batch_size": 4096}, "--batch-size: larger than the training set"),
        ({"batch_size": 9, "accumulate": 2}, "--batch-size: must be a multiple"),
        ({"img_size": 50}, "image_size: must be a multiple of 32"),
        ({"amp": "fp8"}, "--amp: unknown choice"),
        ({"lr": -1.0}, "--lr: must be above 0"),
        ({"workers": 0}, "--workers: out of range"),
        ({"loaders": -1}, "--loaders: out of range"),
        ({"epochs": 0}, "--epochs: out of range"),
        ({"seed": -1}, "--seed: out of range"),
        ({"device": "tpu"}, "--device: unknown device"),
        ({"accumulate": 0}, "--accumulate: out of range"),
    ],
)
def test_an_option_out_of_range_is_refused_before_anything_is_written(
    photos, tmp_path, options, says
):
    """By the option's name."""
    with pytest.raises(InputError) as caught:
        trained(tmp_path, photos, "out", **options)
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()
