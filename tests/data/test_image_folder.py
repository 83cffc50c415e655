"""ImageFolder trees, made with Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from dilnas.data import load_data
from dilnas.data import sets as sets_module
from dilnas.errors import DataError

CLASSES = ("bee", "cat", "dog")


def fill(folder, per_class, seed=0, classes=CLASSES):
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = random.integers(0, 80, (40, 56, 3), dtype=np.uint8) + np.uint8(60 * label)
            suffix = ("jpg", "png", "JPEG")[i % 3]
            Image.fromarray(pixels).save(folder / name / f"{i}.{suffix}")


def test_plain_class_folders_are_split_with_all_classes_in_proportion(tmp_path):
    fill(tmp_path, 20)
    splits = load_data(str(tmp_path), image_size=32)
    assert splits.class_names == CLASSES
    assert splits.train.images.shape == (42, 3, 32, 32)
    for part, each in ((splits.train, 14), (splits.val, 3), (splits.test, 3)):
        assert part.labels.bincount().tolist() == [each] * 3
    brightness = splits.train.images.float().mean((1, 2, 3))
    assert torch.equal((brightness / 60 - 0.65).round().long(), splits.train.labels)


def test_a_new_file_changes_the_fingerprint_and_moves_few_others(tmp_path):
    fill(tmp_path, 20)
    before = load_data(str(tmp_path), image_size=32)
    assert load_data(str(tmp_path), image_size=64).fingerprint == before.fingerprint
    Image.new("RGB", (40, 40)).save(tmp_path / "bee" / "new.png")
    after = load_data(str(tmp_path), image_size=32)
    assert after.fingerprint != before.fingerprint
    old = {image.numpy().tobytes() for image in before.test.images}
    assert len(old - {image.numpy().tobytes() for image in after.test.images}) <= 1


def test_train_val_and_test_folders_are_taken_as_they_are(tmp_path):
    for i, (name, count) in enumerate((("train", 6), ("val", 3), ("test", 2))):
        fill(tmp_path / name, count, seed=i)
    splits = load_data(str(tmp_path), image_size=32)
    assert [len(splits.split(name)) for name in ("train", "val", "test")] == [18, 9, 6]


def test_with_train_and_val_alone_val_is_kept_for_the_final_table(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "val", 4, seed=1)
    splits = load_data(str(tmp_path), image_size=32)
    assert [len(splits.split(name)) for name in ("train", "val", "test")] == [24, 6, 12]


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    fill(tmp_path, 4)
    for mode in ("L", "P", "RGBA", "LA", "1"):
        Image.new(mode, (48, 33)).save(tmp_path / "cat" / f"{mode}.png")
    assert load_data(str(tmp_path), image_size=32).in_chans == 3


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    fill(tmp_path, 6)
    file = next((tmp_path / "cat").glob(f"*.{suffix}"))
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(DataError, match="not a whole image") as caught:
        load_data(str(tmp_path), image_size=32)
    assert caught.value.where == str(file)


def test_a_file_that_is_no_image_is_named(tmp_path):
    fill(tmp_path, 6)
    file = tmp_path / "dog" / "notes.png"
    file.write_bytes(b"hello")
    with pytest.raises(DataError, match="not a JPEG or PNG") as caught:
        load_data(str(tmp_path), image_size=32)
    assert caught.value.where == str(file)


def test_a_class_folder_without_images_is_named(tmp_path):
    fill(tmp_path, 6)
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match="class without") as caught:
        load_data(str(tmp_path))
    assert caught.value.where.endswith("emu")


def test_one_class_is_not_enough(tmp_path):
    fill(tmp_path, 6, classes=("bee",))
    with pytest.raises(DataError, match="at least two class folders"):
        load_data(str(tmp_path))


def test_a_class_that_only_the_val_folder_has_is_refused(tmp_path):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "val", 2, classes=(*CLASSES, "emu"))
    with pytest.raises(DataError, match="train does not have"):
        load_data(str(tmp_path))


def test_a_class_too_small_to_be_split_is_refused(tmp_path):
    fill(tmp_path, 2)
    with pytest.raises(DataError, match="too few images"):
        load_data(str(tmp_path))


def test_more_images_than_memory_should_hold_are_refused_before_decoding(tmp_path, monkeypatch):
    fill(tmp_path, 6)
    monkeypatch.setattr("dilnas.data.folder.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="too large to be held in memory"):
        load_data(str(tmp_path))
    assert sets_module.MAX_BYTES == 8 << 30


def mean_of(splits):
    images = torch.cat([splits.split(name).images for name in ("train", "val", "test")])
    return images.float().mean((2, 3))


def test_16_bit_grey_keeps_its_brightness(tmp_path):
    """Pillow's own conversion would clip nearly all of it to white."""
    for name, value in (("dark", 20), ("light", 150)):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = np.full((40, 40), value * 257, dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    assert mean_of(load_data(str(tmp_path), image_size=32)).unique().tolist() == [20.0, 150.0]


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    """EXIF orientation 6: the left half of the stored pixels is the top half of the picture."""
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg", exif=exif, quality=95)
    images = load_data(str(tmp_path), image_size=32).train.images.float()
    assert images[:, :, :12].mean() > 240
    assert images[:, :, 20:].mean() < 15


def test_nested_folders_unicode_names_links_and_other_files_are_no_trouble(tmp_path):
    root = tmp_path / "Möbel 椅子"
    fill(root, 6, classes=("Käse", "犬"))
    nested = root / "犬" / "2021" / "été"
    nested.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(nested / "ünï 1.PNG")
    (root / "犬" / "link.jpg").symlink_to(root / "犬" / "0.jpg")
    (root / "犬" / "notes.txt").write_text("no image")
    (root / "犬" / ".hidden.png").write_bytes(b"")
    (root / "README.md").write_text("no class")
    splits = load_data(str(root), image_size=32)
    assert splits.class_names == ("Käse", "犬")
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 6 + 8


def test_a_transparent_palette_is_no_cause_to_warn(tmp_path, recwarn):
    fill(tmp_path, 4)
    image = Image.new("P", (40, 40))
    image.putpalette([10, 20, 30] * 256)
    image.save(tmp_path / "cat" / "p.png", transparency=bytes(range(256)))
    load_data(str(tmp_path), image_size=32)
    assert not recwarn.list


def test_an_empty_file_and_a_link_to_nothing_are_named(tmp_path):
    fill(tmp_path, 6)
    file = tmp_path / "dog" / "zero.jpg"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="an empty file") as caught:
        load_data(str(tmp_path), image_size=32)
    assert caught.value.where == str(file)
    file.unlink()
    file.symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="No such file") as caught:
        load_data(str(tmp_path), image_size=32)
    assert caught.value.where == str(file)


def test_a_class_with_one_image_is_named(tmp_path):
    fill(tmp_path, 6)
    (tmp_path / "yak").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "yak" / "only.png")
    with pytest.raises(DataError, match=r"class yak has too few images.*got 1"):
        load_data(str(tmp_path))


def test_loading_that_takes_long_says_how_far_it_is(tmp_path, monkeypatch):
    """Every image is slow here; the clock is the test's."""
    import itertools

    fill(tmp_path, 6)
    ticks = itertools.count()
    monkeypatch.setattr("dilnas.data.folder.time.monotonic", lambda: float(next(ticks)))
    told = []
    load_data(str(tmp_path), image_size=32, on_progress=lambda *numbers: told.append(numbers))
    assert told
    assert all(0 < done <= total == 18 for done, total in told)
    assert told == sorted(told)
