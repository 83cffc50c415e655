"""Data sets for full training: the same photographs as a tree, as shards and as ``datasets``."""

import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from dilnas.data.folder import find_image_files
from dilnas.data.stream import Names, open_stream
from dilnas.errors import DataError, InputError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """train/ of 3 x 8 and val/ of 3 x 3 JPEGs, none square."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for label in range(3):
            place = root / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(count):
                size = (int(random.integers(20, 40)), int(random.integers(41, 60)), 3)
                pixels = random.integers(0, 255, size, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.jpg")
    return root


def shards(tree, split, pattern, **options):
    """The split written by WebDataset's own writer."""
    import webdataset

    with webdataset.ShardWriter(pattern, verbose=0, **options) as sink:
        for label in range(3):
            for file in sorted((tree / split / f"class{label}").iterdir()):
                sample = {"__key__": f"{split}/{label}_{file.stem}", "cls": label}
                sink.write({**sample, "jpg": file.read_bytes()})


def pictures(items):
    return [np.asarray(items.image(i)) for i in range(len(items.labels))]


def equal(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_tree_is_listed_and_nothing_of_it_decoded(tree, tmp_path):
    """All of train/ is trained on, val/ is validated on; a broken file shows when it is read."""
    found = open_stream(str(tree))
    assert (found.num_classes, found.class_names) == (3, ("class0", "class1", "class2"))
    assert found.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (len(found.val.labels), found.val_text, found.in_memory) == (9, "val/", False)
    picture = found.train.image(5)
    assert picture.mode == "RGB" and picture.width > picture.height
    assert found.train.where(5) == str(tree / "train" / "class0" / "5.jpg")


def test_without_val_what_a_search_judged_by_is_never_trained_on(tree):
    """Plain class folders: the search's train split is trained on, its val split validated on."""
    root = tree / "train"
    searched = find_image_files(root, 0.2).splits
    found = open_stream(str(root))
    for items, split in ((found.train, "train"), (found.val, "val")):
        names = [items.where(i) for i in range(len(items.labels))]
        assert names == [str(path) for path, _ in searched[split]]


def test_shards_hold_the_same_pictures_as_the_tree(tree, tmp_path):
    """Written by WebDataset's writer, read at any place, with and without a validation set."""
    shards(tree, "train", str(tmp_path / "train-%03d.tar"), maxcount=7)
    shards(tree, "val", str(tmp_path / "val-%03d.tar"), maxcount=7)
    listed = open_stream(str(tree))
    for spec, val in (
        (str(tmp_path), None),
        (str(tmp_path / "train-{000..003}.tar"), str(tmp_path / "val-*.tar")),
    ):
        found = open_stream(spec, val=val)
        assert found.train.labels.tolist() == listed.train.labels.tolist()
        assert equal(pictures(found.train), pictures(listed.train))
        assert equal(pictures(found.val), pictures(listed.val))
    held = open_stream(str(tmp_path / "train-*.tar"))
    assert (len(held.train.labels), len(held.val.labels)) == (21, 3)


def test_hugging_face_datasets_hold_the_same_pictures_as_the_tree(tree, tmp_path):
    """Saved to disk and loaded, and as a folder that the library itself understands."""
    import datasets

    listed = open_stream(str(tree))
    read = datasets.load_dataset("imagefolder", data_dir=str(tree), cache_dir=str(tmp_path / "c"))
    read.save_to_disk(str(tmp_path / "saved"))
    found = open_stream(f"hf:{tmp_path / 'saved'}")
    assert found.class_names == listed.class_names
    assert found.val_text == "the split validation"
    order = [sorted(range(len(s.labels)), key=lambda i, s=s: np.asarray(s.image(i)).tobytes())
             for s in (found.train, listed.train)]  # fmt: skip
    for ours, theirs in zip(*order, strict=True):
        assert np.array_equal(found.train.image(ours), listed.train.image(theirs))
        assert found.train.labels[ours] == listed.train.labels[theirs]
    only = datasets.load_from_disk(str(tmp_path / "saved"))["train"]
    only.save_to_disk(str(tmp_path / "one"))
    held = open_stream(f"hf:{tmp_path / 'one'}")
    assert (len(held.train.labels), len(held.val.labels)) == (21, 3)


def test_a_small_set_in_memory_is_trained_on_whole_and_validated_on_its_test_set():
    """The embedded one: 10,000 and 2,000 images."""
    found = open_stream("embedded")
    assert (len(found.train.labels), len(found.val.labels)) == (10_000, 2_000)
    assert found.in_memory and found.image_size == 32 and found.in_chans == 1
    assert found.train.image(3).dtype == torch.uint8
    assert open_stream("embedded", image_size=64).image_size == 64


def test_names_come_back_as_they_were():
    """Also those that are no UTF-8."""
    names = ["a/b.jpg", "", "ä.png", b"\xff.jpg".decode("utf-8", "surrogateescape")]
    assert [Names(names)[i] for i in range(4)] == names and len(Names(names)) == 4


def damaged(tree, tmp_path, kind):
    """A spec that is wrong in one way."""
    folder = tmp_path / "data"
    folder.mkdir()
    if kind == "an image without a label":
        with tarfile.open(folder / "a.tar", "w") as tar:
            tar.add(tree / "train" / "class0" / "0.jpg", "0.jpg")
    elif kind == "not a whole tar file":
        shards(tree, "train", str(folder / "%03d.tar"), maxcount=99)
        whole = (folder / "000.tar").read_bytes()
        (folder / "000.tar").write_bytes(whole[: len(whole) // 2])
    elif kind == "a label must be a class number":
        (folder / "0.cls").write_text("cat")
        with tarfile.open(folder / "a.tar", "w") as tar:
            tar.add(tree / "train" / "class0" / "0.jpg", "0.jpg")
            tar.add(folder / "0.cls", "0.cls")
    elif kind == "a class that train does not have":
        for name in ("train/a", "train/b", "val/c"):
            (folder / name).mkdir(parents=True)
            (folder / name / "0.jpg").write_bytes(b"x")
    elif kind == "no such shard":
        return str(folder / "{0..3}.tar")
    elif kind == "cannot be read":
        return f"hf:{folder}"
    return str(folder)


@pytest.mark.parametrize(
    "kind",
    ["an image without a label", "not a whole tar file", "a label must be a class number",
     "a class that train does not have", "no such shard", "cannot be read", "holds no data set"],
)  # fmt: skip
def test_damaged_data_is_refused_in_one_line(tree, tmp_path, kind):
    """With the file or folder at fault."""
    with pytest.raises(DataError, match=kind) as caught:
        open_stream(damaged(tree, tmp_path, kind))
    assert str(tmp_path) in str(caught.value)


def test_only_shards_take_validation_data_of_their_own(tree):
    """A tree has its val/."""
    with pytest.raises(InputError, match="--val"):
        open_stream(str(tree), val="x.tar")
