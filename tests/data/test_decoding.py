"""From one picture to uint8 C×H×W: the same pixels whatever they come in."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from pictures import (
    alternating,
    as_n_c_h_w,
    blobs,
    encode,
    pictures,
    refusal,
    write_classes,
    write_parquet,
)
from PIL import Image
from torch.utils.data import ConcatDataset

from secnn.data import DataError, load_dataset
from secnn.data.decoding import Stack, pixels

ORIENTATION = 0x0112


def test_palette_alpha_and_cmyk_images_become_rgb():
    (pixel,) = pictures(1)
    expected = pixel.transpose(2, 0, 1)
    for mode in ("RGB", "RGBA"):
        assert np.array_equal(pixels(encode(pixel, mode)), expected)
    for mode, kind in (("P", "PNG"), ("CMYK", "TIFF"), ("RGB", "WEBP"), ("YCbCr", "JPEG")):
        assert pixels(encode(pixel, mode, kind)).shape == expected.shape


def test_a_transparent_palette_image_warns_of_nothing():
    image = Image.fromarray(pictures(1)[0]).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(256)))
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(pixels(buffer.getvalue()), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(kind, orientation):
    upright = pictures(1)[0]
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = encode(np.ascontiguousarray(turn(upright)), kind=kind, exif=exif, **options)
    assert np.array_equal(pixels(stored), upright.transpose(2, 0, 1))
    assert np.array_equal(pixels(Image.open(io.BytesIO(stored))), upright.transpose(2, 0, 1))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0" * 20])
def test_damaged_notes_beside_an_image_do_not_matter(tmp_path, exif):
    encoded = [encode(p, kind="JPEG", exif=exif) for p in pictures(20)]
    plain = [encode(p, kind="JPEG") for p in pictures(20)]
    files = [
        write_parquet(tmp_path / name, them, alternating(20))
        for name, them in (("a.parquet", encoded), ("b.parquet", plain))
    ]
    first, second = (load_dataset(file) for file in files)
    assert first.fingerprint == second.fingerprint


# --- arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_layout_and_type_of_an_array_is_the_same_image(channels):
    shape = (channels, 8, 9)
    expected = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    last = expected.transpose(1, 2, 0)
    for array in (expected, last, *([expected[0]] if channels == 1 else [])):
        contiguous = torch.from_numpy(array.copy())
        for same in (
            array,
            contiguous,
            array / 255,
            (array / 255).astype(np.float32),
            contiguous / 255,
            (contiguous / 255).half(),
        ):
            assert np.array_equal(pixels(same), expected)


@pytest.mark.parametrize("shape", [(7, 7, 3), (4, 4, 3), (5, 20, 4), (20, 5, 3), (2, 6, 1)])
def test_small_arrays_with_their_channels_last_are_told_so_and_resized(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    first = image.transpose(2, 0, 1)
    assert np.array_equal(pixels(image), first)
    assert np.array_equal(pixels(first), first)
    assert np.array_equal(pixels(image, 9), pixels(first, 9))
    message = rf"{shape[1]}×{shape[0]} \(width×height\), expected 8 to .*; resize=32"
    with pytest.raises(DataError, match=message):
        Stack().add([image], 1, "image {}".format)


@pytest.mark.parametrize(
    "array, reason",
    [
        (np.zeros((3, 8, 8), np.int64), "uint8 in 0..255, or of floats in 0..1, got int64"),
        (np.zeros((3, 8, 8), bool), "got bool"),
        (np.full((3, 8, 8), 1.5), "got 1.5..1.5"),
        (np.full((3, 8, 8), -0.1), "got -0.1..-0.1"),
        (np.full((3, 8, 8), np.nan), "got nan..nan"),
        (np.zeros((8, 8, 8), np.uint8), "got 8×8×8"),
        (np.zeros((2, 3, 8, 8), np.uint8), "got 2×3×8×8"),
        (np.zeros(8, np.uint8), "got 8"),
        (np.zeros((0, 8, 8)), "got 0×8×8"),
        (np.float64(3), "got"),
        ("a.png", "cannot be read (No such file or directory)"),
        (torch.zeros(3, 8, 8).to_sparse(), "not a plain tensor"),
        (torch.zeros(3, 8, 8, device="meta"), "not a plain tensor"),
        (3, "expected an image or an array, got int"),
        ([[0]], "expected an image or an array, got list"),
        (None, "the image is missing (null)"),
    ],
)
def test_what_is_no_image_is_refused(array, reason):
    with pytest.raises(DataError) as caught:
        pixels(array)
    assert reason in str(caught.value)


# --- sizes and colours --------------------------------------------------------------------


def test_a_too_small_image_is_refused(tmp_path):
    file = write_parquet(tmp_path / "small.parquet", blobs(10, size=(7, 20)), alternating(10))
    assert "row 0: image is RGB 20×7" in refusal(file)


@pytest.mark.parametrize("size", [(8, 4097), (4097, 8)])
def test_a_too_large_image_is_refused_as_its_checkpoints_would_be(tmp_path, size):
    file = write_parquet(tmp_path / "large.parquet", blobs(10, size=size), alternating(10))
    assert "expected 8 to 4096 pixels a side; resize=32 (--resize 32)" in refusal(file)
    assert load_dataset(file, resize=8).image_shape == (3, 8, 8)


def test_a_large_photograph_warns_of_nothing(tmp_path):
    """Pillow does, from 89 million pixels on."""
    large = io.BytesIO()
    Image.new("1", (11000, 9000)).save(large, "PNG")
    encoded = [large.getvalue(), *blobs(9)]
    file = write_parquet(tmp_path / "large.parquet", encoded, alternating(10))
    assert load_dataset(file, resize=8).image_shape == (3, 8, 8)


def test_damaged_notes_beside_the_pixels_warn_of_nothing(class_folders, tmp_path):
    """Pillow warns of an animation of no pictures, for one."""
    png = encode(pictures(1)[0])
    chunk = b"acTL" + bytes(8)
    noted = b"".join(
        (png[:33], struct.pack(">I", 8), chunk, zlib.crc32(chunk).to_bytes(4), png[33:])
    )
    with pytest.warns(UserWarning, match="Invalid APNG"):
        assert np.array_equal(pixels(noted), pixels(png))
    file = write_parquet(tmp_path / "noted.parquet", [noted, *blobs(9)], alternating(10))
    assert len(load_dataset(file).train_images)
    (class_folders / "train" / "ant" / "noted").write_bytes(noted)  # Without a suffix it is opened.
    assert len(load_dataset(class_folders, resize=8).train_images)
    items = [(noted, 0), *((blob, i % 2) for i, blob in enumerate(blobs(9)))]
    assert len(load_dataset(ConcatDataset([items])).train_images)


def test_images_of_several_sizes_are_refused_unless_resized(tmp_path):
    sizes = ((32, 32), (40, 64), (64, 33), (16, 16))
    encoded = [encode(pictures(1, size=sizes[i % 4])[0]) for i in range(20)]
    file = write_parquet(tmp_path / "a.parquet", encoded, alternating(20))
    assert "resize=32 (--resize 32)" in refusal(file)
    data = load_dataset(file, resize=32)
    assert data.image_shape == (3, 32, 32)
    assert data.source == (
        f"Parquet: {file}, scaled to 32 pixels on the shorter side and cut to 32×32"
    )
    for side in (7, 0, -1, True, 32.0, "32", 4097, 10**9):
        assert "expected a whole number of pixels from 8 to 4096" in refusal(file, resize=side)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 24), (24, 16), (12, 8), (40, 40)])
def test_resizing_keeps_the_centre_and_the_aspect(size, channels):
    """A ramp from left to right and one from top to bottom keep their slopes and their middle."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = (3 * rows + 2 * columns + 40).astype(np.uint8)
    image = image if channels == 1 else np.stack([image] * 3, 2)
    for picture in (encode(image), image):
        cut = pixels(picture, 8).astype(float)
        assert cut.shape == (channels, 8, 8)
        scale = min(size) / 8
        middle = 3 * (height - 1) / 2 + 2 * (width - 1) / 2 + 40
        inner = cut[:, 2:-2, 2:-2]
        assert abs(inner.mean() - middle) <= 0.5  # all values may be rounded alike
        assert abs(np.diff(inner, axis=1) - 3 * scale).max() <= 1
        assert abs(np.diff(inner, axis=2) - 2 * scale).max() <= 1


def test_an_image_of_the_size_asked_for_is_not_touched(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", blobs(20, size=(16, 16)), alternating(20))
    assert load_dataset(file, resize=16).fingerprint == load_dataset(file).fingerprint


def test_encoded_images_and_their_arrays_are_resized_alike():
    image = pictures(1, size=(20, 30))[0]
    assert np.array_equal(pixels(encode(image), 9), pixels(image, 9))


@pytest.mark.parametrize("grey", [(0,), (3, 4), range(6), range(5, 20), range(9)])
def test_grey_images_among_colour_images_become_colour(tmp_path, grey):
    images = pictures(20)
    encoded = [encode(p, "L" if i in grey else None) for i, p in enumerate(images)]
    for i in range(2):
        part = slice(10 * i, 10 * i + 10)
        file = tmp_path / f"{('train', 'test')[i]}.parquet"
        write_parquet(file, encoded[part], alternating(10))
    data = load_dataset(tmp_path, validation="test")
    read = torch.cat([data.train_images, data.test_images])
    for i, pixel in enumerate(images):
        expected = np.asarray(Image.fromarray(pixel).convert("L").convert("RGB"))
        assert torch.equal(read[i], as_n_c_h_w((expected if i in grey else pixel)[None])[0])
    assert (
        data.notice
        == f"{len(grey)} grey image{'s' * (len(grey) > 1)} among colour images became colour."
    )


def test_images_that_are_all_grey_stay_grey(tmp_path):
    folder = write_classes(tmp_path, "train", "test")
    for file in folder.glob("*/*/*.png"):
        file.write_bytes(encode(np.asarray(Image.open(file)), "L"))
    data = load_dataset(folder)
    assert data.image_shape == (1, 8, 10) and data.notice is None


def test_images_of_other_numbers_of_channels_do_not_mix():
    with pytest.raises(DataError, match="image 1: image is 2-channel 8×8"):
        Stack().add([np.zeros((c, 8, 8), np.uint8) for c in (3, 2)], 2, "image {}".format)


def test_more_images_than_the_memory_holds_are_one_clear_line():
    image = np.zeros((3, 3000, 4000), np.uint8)
    with pytest.raises(
        DataError, match=r"image 0: 1,000,000,000 images of RGB 4000×3000 .* do not"
    ):
        Stack().add([image], 10**9, "image {}".format)
