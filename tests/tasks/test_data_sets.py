"""Data sets from files: formats read to the byte, counts verified, what is missing said in one line. The files are made up here and nowhere else."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from made_up_data import idx, pictures, write_fashion, write_mnist
from mesocosm.tasks import data_sets
from mesocosm.tasks.data_sets import DATA_SETS, NotInstalled, find, missing
from mesocosm.tasks.image_files import from_columns, read_cifar, read_csv, read_idx, read_svhn


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, and no packages that bring data."""
    monkeypatch.setenv("MESOCOSM_DATA", str(tmp_path))
    monkeypatch.setattr(data_sets.importlib.util, "find_spec", lambda name: None)
    if data_sets._fashion_files():
        original = data_sets._in_folders
        monkeypatch.setattr(data_sets, "_in_folders", lambda names, *folders: original(names, *[f for f in folders if f.is_relative_to(tmp_path)]))
    return tmp_path


# --- formats ----------------------------------------------------------------------------------------------------------


def test_idx_files_are_read_to_the_byte(tmp_path):
    pixels, _ = pictures(7)
    file = tmp_path / "images.gz"
    file.write_bytes(idx(pixels))
    np.testing.assert_array_equal(read_idx(file), pixels)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(b"\x00\x00\x09\x01\x00\x00\x00\x01\x05"), "not an idx file of bytes"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05\x05"), "does not fit its header"),
        (gzip.compress(b"\x00\x00\x08\x03\x00"), "does not fit its header"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x01\x05")[:-6], "is damaged"),
        (b"hello", "is damaged"),
    ],
    ids=["kind", "count", "header", "cut", "no-gzip"],
)
def test_a_damaged_idx_file_is_named(tmp_path, content, told):
    file = tmp_path / "images.gz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        read_idx(file)
    assert str(file) in str(caught.value)


def test_tables_of_pictures_are_read(tmp_path):
    pixels, labels = pictures(5)
    file = tmp_path / "digits.csv.gz"
    exact = [",".join(str(value) for value in [*picture.ravel(), label]) for picture, label in zip(pixels, labels, strict=True)]
    file.write_bytes(gzip.compress("\n".join(exact).encode()))
    found = read_csv(file, 4)
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], labels)
    with pytest.raises(ValueError, match=r"17 values per line .* not 26"):
        read_csv(file, 5)
    file.write_bytes(gzip.compress(b"1,2,three"))
    with pytest.raises(ValueError, match="not a table of numbers"):
        read_csv(file, 4)


def test_cifar_records_are_a_label_and_three_planes(tmp_path):
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8), np.array([7, 0, 9])
    file = tmp_path / "data_batch_1.bin"
    file.write_bytes(b"".join(bytes([label]) + np.moveaxis(picture, -1, 0).tobytes() for picture, label in zip(pixels, labels, strict=True)))
    found = read_cifar(file)
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], labels)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not CIFAR-10's binary version"):
        read_cifar(file)
    file.write_bytes(bytes([11]) + bytes(3072))
    with pytest.raises(ValueError, match="has the label 11"):
        read_cifar(file)


def test_svhn_counts_pictures_last_and_calls_zero_ten(tmp_path):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    file = tmp_path / "train_32x32.mat"
    savemat(file, {"X": pixels, "y": np.array([[10], [3], [9], [1]], np.uint8)})
    found = read_svhn(file)
    np.testing.assert_array_equal(found[0], np.moveaxis(pixels, 3, 0))
    np.testing.assert_array_equal(found[1], [0, 3, 9, 1])
    savemat(file, {"X": pixels, "y": np.zeros((3, 1))})
    with pytest.raises(ValueError, match=r"3 labels, not"):
        read_svhn(file)
    savemat(file, {"other": pixels})
    with pytest.raises(ValueError, match="not a file of SVHN"):
        read_svhn(file)


def test_columns_of_pictures_are_read():
    pixels, labels = pictures(4)
    table = {"image": list(pixels), "label": labels.tolist(), "uneven": [pixels[0], pixels[1, :2]]}
    found = from_columns(table)
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], labels)
    with pytest.raises(ValueError, match=r"holds \(2, 4\) uint8, \(4, 4\) uint8; all images"):
        from_columns(table, images="uneven")
    with pytest.raises(ValueError, match="consist of bytes"):
        from_columns({"image": [pixels[0] / 255], "label": [0]})


# --- sets -------------------------------------------------------------------------------------------------------------


def test_what_is_not_installed_says_how_to_get_it(folder):
    for name, found in DATA_SETS.items():
        assert found.files() == []
        assert found.checksum == ""
        line = missing((name,))
        assert line == f"the data set {name} is not installed; to get it: {found.install}"
        assert "\n" not in line
        with pytest.raises(NotInstalled, match="to get it"):
            found.splits()
    assert missing(()) is None
    with pytest.raises(ValueError, match="no data set 'imagenet'; choose one of digits, mnist-5k"):
        missing(("imagenet",))


@pytest.mark.whole
def test_a_set_in_the_users_folder_is_found_counted_and_fingerprinted(folder):
    write_fashion(folder)
    write_mnist(folder)
    assert missing(("fashion-mnist", "mnist-5k")) is None
    splits = find("fashion-mnist").splits()
    assert splits.train.pixels.shape == (60000, 28, 28)
    assert [len(images.labels) for images in find("mnist-5k").splits()] == [4000, 1000]
    first = find("mnist-5k").checksum
    assert len(first) == 16
    write_mnist(folder, 4999)
    assert find("mnist-5k").checksum != first
    with pytest.raises(ValueError, match=r"4000 training and 999 test images, not 4000 and 1000"):
        find("mnist-5k").splits()


def test_half_a_set_is_no_set(folder):
    write_fashion(folder, 10, 10)
    (folder / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "fashion-mnist is not installed" in missing(("fashion-mnist",))


@pytest.mark.whole
def test_the_split_of_mnist_is_fixed_and_mixes_the_classes(folder):
    """Sorted by class in the file."""
    pixels, _ = pictures(100, 28)
    drawn = [",".join(map(str, picture.ravel().tolist())) for picture in pixels]
    lines = [f"{drawn[row % 100]},{row // 500}" for row in range(5000)]
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    one, two = (find("mnist-5k").splits() for _ in range(2))
    np.testing.assert_array_equal(one.train.labels, two.train.labels)
    assert np.bincount(one.test.labels).min() > 60
    assert np.bincount(np.concatenate([one.train.labels, one.test.labels])).tolist() == [500] * 10


def test_local_colour_sets_are_found(folder, monkeypatch):
    (folder / "cifar-10-batches-bin").mkdir()
    (folder / "svhn").mkdir()
    for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        (folder / "cifar-10-batches-bin" / name).write_bytes((bytes([3]) + bytes(3072)) * 2)
    for split in ("train", "test"):
        savemat(folder / "svhn" / f"{split}_32x32.mat", {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.full((4, 1), 10)})
    for name, counts in (("cifar10", (10, 2)), ("svhn", (4, 4))):
        with pytest.raises(ValueError, match=f"{counts[0]} training and {counts[1]} test images, not"):
            find(name).splits()
        monkeypatch.setattr(data_sets, "DATA_SETS", {name: replace(DATA_SETS[name], counts=counts)})
        assert find(name).splits().train.pixels.shape == (counts[0], 32, 32, 3)
        monkeypatch.undo()
        monkeypatch.setenv("MESOCOSM_DATA", str(folder))


@pytest.mark.whole
@pytest.mark.parametrize(("name", "shape", "sums"), [("digits", (8, 8), 1797), ("mnist-5k", (28, 28), 5000), ("fashion-mnist", (28, 28), 70000)])
def test_the_real_sets_are_what_they_should_be(name, shape, sums):
    """Where they are installed: balanced classes, all ten of them, and pictures that differ."""
    if line := find(name).missing:
        pytest.skip(line)
    splits = find(name).splits()
    labels = np.concatenate([images.labels for images in splits])
    assert len(labels) == sums
    assert splits.train.pixels.shape[1:] == shape
    counts = np.bincount(labels)
    assert len(counts) == 10
    assert counts.min() > 0.95 * counts.mean()
    means = np.stack([splits.train.pixels[splits.train.labels == label].mean(0).ravel() for label in range(10)])
    nearest = np.argmin(((splits.test.pixels.reshape(len(splits.test.labels), 1, -1) - means) ** 2).mean(-1), axis=1)
    assert np.mean(nearest == splits.test.labels) > 0.6  # the labels belong to the pictures
