"""`convbench preview` from the command line: a sheet of the images that `corrupt` makes, and bad input in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from convbench.datasets import load_dataset
from corruptions import corrupt, names

ONE = ["--corruption", "fog,contrast", "--severity", "1,5", "--quiet"]


@pytest.fixture
def photo(tmp_path):
    """A picture of 60 x 40 pixels."""
    y, x = np.mgrid[:40, :60]
    pixels = np.stack([4 * x, 6 * y, (x * y) % 256], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return pixels


def tiles(path, height, width, factor):
    """Every place where a tile of this size begins, found by its frame: (top, left) -> the tile at its own size."""
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    frame = (sheet == 205).all(axis=2)
    found = {}
    for top, left in np.argwhere(frame):
        rows, columns = height * factor + 2, width * factor + 2
        ring = frame[top : top + rows, left : left + columns]
        if ring.shape == (rows, columns) and all(edge.all() for edge in (ring[0], ring[-1], ring[:, 0], ring[:, -1])):
            inside = sheet[top + 1 : top + rows - 1, left + 1 : left + columns - 1]
            small = inside[::factor, ::factor]
            np.testing.assert_array_equal(inside, small.repeat(factor, axis=0).repeat(factor, axis=1))
            found[top, left] = small
    return [found[place] for place in sorted(found)]


def expected(pixels, name, severity, index):
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    (image,) = corrupt(images, name, severity, seed=3, index=[index])
    return image.permute(1, 2, 0).numpy()


def test_a_data_set_in_rows_of_clean_and_severities(cli, tmp_path):
    code, output, error = cli("preview", *ONE, "--index", "7", "--seed", 3)
    assert (code, output, error) == (0, "preview.png\n", "")
    images = load_dataset("digits", "test").images
    found = tiles(tmp_path / "preview.png", 32, 32, 4)
    wanted = [
        images[7] if severity == 0 else expected(images[7], name, severity, 7)
        for name in ("fog", "contrast")  # the official order, which is not the one that was asked for
        for severity in (0, 1, 5)
    ]
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(have, np.broadcast_to(want, (32, 32, 3)))  # gray is shown gray
    assert len({tile.tobytes() for tile in found}) == 5  # clean twice; nothing else is alike


def test_several_images_are_blocks_of_their_own(cli, tmp_path):
    code, _, error = cli("preview", *ONE, "--images", 2, "--out", "new/sheet.PNG")
    assert code == 0, error
    images = load_dataset("digits", "test").images
    found = tiles(tmp_path / "new/sheet.PNG", 32, 32, 4)
    assert len(found) == 2 * 2 * 3
    np.testing.assert_array_equal(found[0][..., :1], images[0])
    np.testing.assert_array_equal(found[3][..., :1], images[1])


def test_picture_files_are_corrupted_at_their_own_size(cli, photo, tmp_path):
    before = (tmp_path / "photo.png").read_bytes()
    code, output, error = cli("preview", "photo.png", *ONE, "--seed", 3, "--out", "sheet.png")
    assert (code, output) == (0, "sheet.png\n"), error
    found = tiles(tmp_path / "sheet.png", 40, 60, 2)
    wanted = [photo, expected(photo, "fog", 1, 0), expected(photo, "fog", 5, 0)]
    for have, want in zip(found[:3], wanted, strict=True):
        np.testing.assert_array_equal(have, want)
    assert (tmp_path / "photo.png").read_bytes() == before


def test_a_picture_stands_upright_and_is_cropped_on_request(cli, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(photo).save(tmp_path / "turned.png", exif=exif)
    assert cli("preview", "turned.png", *ONE, "--out", "a.png")[0] == 0
    found = tiles(tmp_path / "a.png", 60, 40, 2)
    np.testing.assert_array_equal(found[0], np.rot90(photo, -1))
    assert cli("preview", "photo.png", *ONE, "--image-size", 32, "--out", "b.png")[0] == 0
    assert len(tiles(tmp_path / "b.png", 32, 32, 4)) == 6


def test_the_default_sheet_has_the_15_at_three_severities(cli, tmp_path):
    code, output, error = cli("preview", "--corruption-engine", "imagecorruptions")
    assert (code, output) == (0, "preview.png\n"), error
    found = tiles(tmp_path / "preview.png", 32, 32, 4)
    assert len(found) == 15 * 4
    clean = found[0]
    for row, name in enumerate(names()[:15]):
        np.testing.assert_array_equal(found[4 * row], clean)
        for tile in found[4 * row + 1 : 4 * row + 4]:
            assert not np.array_equal(tile, clean), name
            assert tile.std() > 0, f"{name} is blank"


def test_a_sheet_is_replaced_as_every_figure_is(cli, tmp_path):
    (tmp_path / "preview.png").write_text("old")
    assert cli("preview", *ONE)[0] == 0
    first = (tmp_path / "preview.png").read_bytes()
    assert cli("preview", *ONE)[0] == 0
    assert (tmp_path / "preview.png").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--corruption", "fgo"], ["unknown corruption 'fgo'. Did you mean 'fog'?"]),
        (["--corruption", "none"], ["--corruption needs at least one"]),
        (["--severity", "6"], ["--severity must be of 1, 2, 3, 4, 5"]),
        (["--severity", "none"], ["--severity must be of 1, 2, 3, 4, 5"]),
        (["--index", "0,360"], ["there is no image 360", "digits has the images 0 to 359"]),
        (["--index", "none"], ["no image was asked for"]),
        (["--index", "first"], ["--index takes whole numbers, got 'first'"]),
        (["--images", "0"], ["--images must be at least 1, got 0"]),
        (["--images", "2", "--index", "1"], ["either --images or --index"]),
        (["--images", "400"], ["there is no image 360"]),
        (["--split", "tset"], ["--split must be one of"]),
        (["--dataset", "digts"], ["unknown data set 'digts'. Did you mean 'digits'?"]),
        (["--corruption-engine", "troch"], ["unknown corruption engine 'troch'"]),
        (["--corruption-profile", "cifar-d"], ["cifar-d"]),
        (["--out", "sheet.bmp"], [".png or .svg, not 'sheet.bmp'"]),
        (["--out", "/proc/nope/sheet.png", *ONE], ["cannot write /proc/nope"]),
        (["photo.png", "--dataset", "digits"], ["picture files and a data set contradict each other"]),
        (["photo.png", "--index", "0"], ["picture files and a data set contradict each other"]),
        (["photo.png", "--out", "photo.png"], ["--out photo.png is one of the pictures"]),
        (["photo.png", "--image-size", "-1"], ["--image-size must be at least 0"]),
        (["absent.png"], ["absent.png does not exist"]),
        (["text.png"], ["text.png cannot be read"]),
        (["tiny.png"], ["at least", "4 x 4"]),
    ],
)
def test_bad_input_is_one_line(cli, photo, tmp_path, arguments, parts):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "tiny.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, output, error = cli("preview", *arguments)
    assert (code, output) == (2, "")
    (line,) = error.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
