"""Data sets in a few files: the embedded one, IDX, CIFAR's binary version."""

import gzip
import struct

import numpy as np
import pytest
import torch

from dilnas.data import load_data
from dilnas.data.load import EMBEDDED, FASHION_MNIST
from dilnas.errors import DataError, InputError


def write_idx(path, array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_folder(tmp_path):
    """200 training and 40 test images of 20 x 28 pixels in 4 classes."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 200), ("t10k", 40)):
        images = random.integers(0, 256, (count, 20, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 4).astype(np.uint8))
    return tmp_path


def write_cifar(folder, classes, per_file=40):
    random = np.random.default_rng(1)
    names = ["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]
    for name in names if classes == 10 else ["train.bin", "test.bin"]:
        count = per_file * (classes // 10)
        fine = (np.arange(count) % classes).astype(np.uint8)[:, None]
        labels = fine if classes == 10 else np.hstack([fine // 5, fine])
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(np.hstack([labels, pixels]).tobytes())


def test_the_embedded_data_is_at_most_6_megabytes_with_its_licence():
    files = list(EMBEDDED.iterdir())
    assert sum(file.stat().st_size for file in files) <= 6_000_000
    notice = (EMBEDDED / "NOTICE").read_text()
    assert "MIT License" in notice
    assert "2017 Zalando SE" in notice


def test_the_embedded_data_is_balanced_in_every_split():
    splits = load_data("embedded")
    for part, each in ((splits.train, 800), (splits.val, 200), (splits.test, 200)):
        assert part.labels.bincount().tolist() == [each] * 10
        assert part.images.shape == (10 * each, 1, 32, 32)
        assert part.images.dtype == torch.uint8
    assert (splits.num_classes, splits.in_chans, splits.image_size) == (10, 1, 32)
    assert splits.class_names[9] == "Ankle boot"


def test_splits_share_no_image():
    splits = load_data("embedded")
    seen = [{image.numpy().tobytes() for image in splits.split(s).images} for s in ("train", "val")]
    assert not seen[0] & seen[1]


def test_loading_twice_gives_the_same_splits_and_another_size_the_same_fingerprint():
    first, again, larger = load_data("embedded"), load_data("embedded"), None
    assert torch.equal(first.val.images, again.val.images)
    larger = load_data("embedded", image_size=64)
    assert larger.fingerprint == first.fingerprint
    assert torch.equal(larger.val.labels, first.val.labels)
    assert larger.train.images.shape[-2:] == (64, 64)


def test_images_a_little_small_are_padded_and_their_pixels_kept(idx_folder):
    embedded = load_data("embedded").train.images
    assert embedded[:, :, :2].sum() == 0
    assert embedded[:, :, :, -2:].sum() == 0
    assert load_data(str(idx_folder)).train.images.shape[-2:] == (32, 32)


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_full_fashion_mnist_is_read_from_debians_folder():
    splits = load_data("fashion-mnist")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (50_000, 10_000, 10_000)


def test_without_the_debian_package_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dilnas.data.load.FASHION_MNIST", tmp_path / "absent")
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist"):
        load_data("fashion-mnist")


def test_the_fingerprint_ignores_compression_and_sees_one_changed_byte(idx_folder):
    before = load_data(str(idx_folder)).fingerprint
    labels = idx_folder / "train-labels-idx1-ubyte"
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert load_data(str(idx_folder)).fingerprint == before
    images = idx_folder / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(images.read_bytes()))
    content[-1] ^= 1
    images.write_bytes(gzip.compress(bytes(content)))
    assert load_data(str(idx_folder)).fingerprint != before


def test_labels_that_do_not_start_at_zero_are_numbered_in_order(idx_folder):
    for prefix, count in (("train", 200), ("t10k", 40)):
        labels = (np.arange(count) % 4 + 3).astype(np.uint8)
        write_idx(idx_folder / f"{prefix}-labels-idx1-ubyte", labels)
    splits = load_data(str(idx_folder))
    assert splits.class_names == ("3", "4", "5", "6")
    assert splits.train.labels.bincount().tolist() == [40] * 4


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda content: content[:-200], "cannot be read"),
        (lambda content: content[:40] + b"xxxx" + content[44:], "cannot be read"),
        (lambda content: b"not gzip at all", "cannot be read"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "truncated"),
        (lambda content: gzip.compress(gzip.decompress(content) + b"x"), "longer"),
        (lambda content: gzip.compress(b"\0\0\x0d\x03" + bytes(40)), "not an IDX file"),
        (lambda content: gzip.compress(b"\0\0\x08\x01" + bytes(40)), "number of dimensions"),
        (lambda content: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "too large"),
        (lambda content: gzip.compress(b"\0\0\x08\x03\0"), "truncated in its header"),
        (lambda content: b"", "not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_named(idx_folder, damage, rule):
    file = idx_folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=rule) as caught:
        load_data(str(idx_folder))
    assert caught.value.where == str(file)


def test_a_missing_idx_file_is_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        load_data(str(idx_folder))


def test_images_and_labels_must_be_as_many(idx_folder):
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.zeros(199, dtype=np.uint8))
    with pytest.raises(DataError, match="as many labels as images"):
        load_data(str(idx_folder))


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_in_its_binary_version_is_detected(tmp_path, classes):
    write_cifar(tmp_path, classes)
    splits = load_data(str(tmp_path))
    assert (splits.num_classes, splits.in_chans, splits.image_size) == (classes, 3, 32)
    assert len(splits.test) == 40 * classes // 10
    raw = np.frombuffer((tmp_path / sorted(p.name for p in tmp_path.iterdir())[-1 if classes == 10
                         else 0]).read_bytes(), np.uint8)  # fmt: skip
    head = 1 if classes == 10 else 2
    assert splits.test.images[0].numpy().ravel().tolist() == raw[head : head + 3072].tolist()


def test_a_truncated_cifar_file_is_named(tmp_path):
    write_cifar(tmp_path, 10)
    file = tmp_path / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated") as caught:
        load_data(str(tmp_path))
    assert caught.value.where == str(file)


def test_cifar_without_its_test_file_is_refused(tmp_path):
    write_cifar(tmp_path, 10)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"missing") as caught:
        load_data(str(tmp_path))
    assert caught.value.where.endswith("test_batch.bin")


def test_a_cifar_label_out_of_range_is_refused(tmp_path):
    write_cifar(tmp_path, 10)
    (tmp_path / "data_batch_1.bin").write_bytes(b"\x0b" + bytes(3072))
    with pytest.raises(DataError, match="label is out of range"):
        load_data(str(tmp_path))


def test_pickled_cifar_is_recognised_and_never_unpickled(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match="pickled version, which is never read"):
        load_data(str(tmp_path))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(DataError, match=r"embedded \| fashion-mnist \| a folder"):
        load_data("imagenet")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"IDX.*CIFAR.*class folders"):
        load_data(str(tmp_path))


def test_a_file_is_not_a_data_set(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="this is a file"):
        load_data(str(tmp_path / "x.bin"))


@pytest.mark.parametrize("size", [0, 33, -32, 4096, True, 32.0])
def test_an_image_size_that_is_not_a_multiple_of_32_is_refused(size):
    with pytest.raises(InputError, match="image_size"):
        load_data("embedded", image_size=size)
