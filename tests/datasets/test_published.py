"""The official on-disk formats: read right, and every kind of damage named with its file."""

import gzip
import os
import pickle
import struct
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from convbench.datasets import DATASETS, load_dataset
from convbench.datasets.official_files import cache_folder
from convbench.errors import DataError

# name -> a split that is read from files
PUBLISHED = {
    entry.name: entry.facts.get("splits", ("train",))[0]
    for entry in DATASETS
    if entry.name not in ("digits", "synthetic")
}
DOWNLOADED = [name for name, split in PUBLISHED.items() if split == "train"]


def test_cifar_keeps_the_official_order_and_axes(official: Path) -> None:
    test = load_dataset("cifar10", "test", data_dir=official)
    entry = pickle.loads((official / "cifar-10-batches-py" / "test_batch").read_bytes())
    assert test.labels.tolist() == entry["labels"]
    assert test.classes[3] == "class 3"
    red = entry["data"][7, :1024].reshape(32, 32)
    np.testing.assert_array_equal(test.images[7, :, :, 0], red)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar_pickles_of_any_age_are_read(official: Path, protocol: int) -> None:
    path = official / "cifar-10-batches-py" / "test_batch"
    entry = pickle.loads(path.read_bytes())
    before = load_dataset("cifar10", "test", data_dir=official)
    path.write_bytes(pickle.dumps(entry, protocol=protocol))
    np.testing.assert_array_equal(load_dataset("cifar10", "test", data_dir=official).images, before.images)


def test_cifar_python2_pickle_is_read(official: Path) -> None:
    # Byte strings, `numpy.core` and an integer `align`, as the files of 2009 have them.
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    data = array + b"(I1\n(I1\nI3072\nt" + dtype + b"I00\nS'" + b"\\x07" * 3072 + b"'\ntb"
    path = official / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(b"(dS'data'\n" + data + b"sS'labels'\n(lI4\nas.")
    arrays = load_dataset("cifar10", "test", data_dir=official)
    assert arrays.labels.tolist() == [4]
    assert (arrays.images == 7).all()


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def test_pickle_that_runs_code_is_refused(official: Path, tmp_path: Path) -> None:
    path = official / "cifar-10-batches-py" / "data_batch_3"
    entry = {"data": _Malicious(tmp_path / "pwned"), "labels": [0]}
    path.write_bytes(pickle.dumps(entry, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_3 .*refused to load .*mkdir"):
        load_dataset("cifar10", "train", data_dir=official)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, "uint8 of shape"),
        ({"labels": [0, 1]}, "found NoneType"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "list of 2 labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, r"in \[0, 9\]"),
        ({"data": np.zeros((2, 3072), np.float64), "labels": [0, 1]}, "refused an array of 'f8'"),
        ([1, 2], "holds list"),
    ],
)
def test_cifar_content_that_is_wrong(official: Path, entry: object, complaint: str) -> None:
    path = official / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps(entry, protocol=2))
    with pytest.raises(DataError, match=complaint) as caught:
        load_dataset("cifar10", "test", data_dir=official)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_truncated_file_is_named(name: str, official: Path) -> None:
    before = load_dataset(name, PUBLISHED[name], data_dir=official)
    complaints = {}
    for path in [path for path in official.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        try:
            after = load_dataset(name, PUBLISHED[name], data_dir=official)
            np.testing.assert_array_equal(after.images, before.images)  # a file of another set
        except DataError as error:
            complaints[path] = str(error)
        path.write_bytes(content)
    assert len(complaints) > 0
    assert all(str(path) in message for path, message in complaints.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_data_folder_may_be_the_folder_of_the_files_itself(name: str, official: Path) -> None:
    expected = load_dataset(name, "test", data_dir=official)
    matching = []
    for folder in [path for path in official.rglob("*") if path.is_dir()]:
        try:
            matching.append(np.array_equal(load_dataset(name, "test", data_dir=folder).images, expected.images))
        except DataError:
            continue
    assert True in matching


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(DOWNLOADED)))
def test_what_is_never_downloaded_says_where_it_is(name: str, official: Path, tmp_path: Path, monkeypatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("CONVBENCH_DATA", str(empty))
    for data_dir in (empty, None):
        with pytest.raises(DataError, match=f"'{name}': looked for .*never downloaded: get them from https") as caught:
            load_dataset(name, PUBLISHED[name], data_dir=data_dir)
        assert str(empty) in str(caught.value)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_missing_files_are_named_with_the_way_to_get_them(
    name: str, official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=f"'{name}': looked for .*only read") as caught:
        load_dataset(name, "train", data_dir=empty)
    assert str(empty) in str(caught.value)
    monkeypatch.setenv("CONVBENCH_DATA", str(empty))
    with pytest.raises(DataError, match=r"no network in tests.*md5 [0-9a-f]{32}.*--data-dir") as caught:
        load_dataset(name, "train")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(name, "train", data_dir=tmp_path / "nowhere")


def test_mnist_labels_and_images(official: Path) -> None:
    raw = gzip.decompress((official / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").read_bytes())
    test = load_dataset("mnist", "test", data_dir=official)
    assert test.images.shape == (40, 32, 32, 1)
    np.testing.assert_array_equal(test.images[:, 2:30, 2:30].ravel(), np.frombuffer(raw[16:], np.uint8))
    assert test.images.sum() == test.images[:, 2:30, 2:30].sum()  # zeros around
    assert test.labels.tolist() == [i % 10 for i in range(40)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "truncated"),
        (b"\x00\x00\x0d\x03" + struct.pack(">3I", 1, 28, 28) + bytes(784), "not an idx file"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 1, 27, 28) + bytes(756), "must have shape"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 1, 28, 28) + bytes(785), "promises 784 bytes, found more"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 41, 28, 28) + bytes(41 * 784), "as many labels"),
    ],
)
def test_idx_content_that_is_wrong(official: Path, content: bytes, complaint: str) -> None:
    (official / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        load_dataset("fashion_mnist", "test", data_dir=official)


def test_svhn_label_ten_is_the_digit_zero(official: Path) -> None:
    test = load_dataset("svhn", "test", data_dir=official)
    content = loadmat(official / "svhn" / "test_32x32.mat")
    assert test.labels[9] == 0
    assert test.labels[0] == 1
    np.testing.assert_array_equal(test.images[5], content["X"][..., 5])


def test_svhn_content_that_is_wrong(official: Path) -> None:
    path = official / "svhn" / "test_32x32.mat"
    for content, complaint in (
        ({"X": np.zeros((32, 32, 3, 4), np.uint8)}, "lacks"),
        ({"X": np.zeros((32, 31, 3, 4), np.uint8), "y": np.ones((4, 1))}, "X must be"),
        ({"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.full((4, 1), 11)}, "y must hold 4 labels"),
    ):
        savemat(path, content)
        with pytest.raises(DataError, match=complaint):
            load_dataset("svhn", "test", data_dir=official)


def test_default_cache_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONVBENCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "convbench"


def test_download_with_a_wrong_checksum_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        length = 5
        url = "http://mirror.invalid/file"

        def __init__(self) -> None:
            self.parts = [b"wrong", b""]

        def read(self, size: int = -1) -> bytes:
            return self.parts.pop(0)

        def __enter__(self) -> "Answer":
            return self

        def __exit__(self, *details: object) -> None:
            return None

    monkeypatch.setenv("CONVBENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: Answer())
    with pytest.raises(DataError, match="the download failed"):
        load_dataset("svhn", "test")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not os.environ.get("CONVBENCH_TEST_DATA"), reason="needs CONVBENCH_TEST_DATA, a data folder")
@pytest.mark.parametrize(("name", "class_name"), [("cifar10", "CIFAR10"), ("fashion_mnist", "FashionMNIST")])
def test_real_files_read_as_torchvision_reads_them(name: str, class_name: str) -> None:
    from torchvision import datasets

    root = os.environ["CONVBENCH_TEST_DATA"]
    reference = getattr(datasets, class_name)(root, train=False, download=False)
    ours = load_dataset(name, "test", data_dir=root)
    images, expected = ours.images, np.asarray(reference.data)
    margin = (images.shape[1] - expected.shape[1]) // 2
    inside = slice(margin, images.shape[1] - margin)
    np.testing.assert_array_equal(images[:, inside, inside].reshape(expected.shape), expected)
    np.testing.assert_array_equal(ours.labels, np.asarray(reference.targets))
    assert ours.classes == tuple(reference.classes)
