"""One image, encoded or as an array, to uint8 C×H×W; many images to one tensor."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from secnn.data.splits import MAX_SIDE, MIN_SIDE, DataError, has_sides
from secnn.files import first_line

Image.init()
# Decoders are named because others that Pillow has (EPS, for one) start outside programs.
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF", "AVIF")
    if name in Image.OPEN  # some need a library that not every build of Pillow has
)
GREY_MODES = ("1", "L", "LA", "La")
COLOUR_MODES = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
CHANNELS = (1, 3, 4)

Picture = bytes | str | Path | Image.Image | np.ndarray | torch.Tensor


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings: damaged notes beside a photograph do not change its pixels, and of
    images that are too large to be meant, those with twice as many pixels are refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def is_image(path: Path) -> bool:
    """Whether the file begins as an image of a known format does; damaged ones count."""
    try:
        with quiet(), Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # Pillow's decoders raise many kinds on damaged input
        return True


def pixels(picture: Picture | None, resize: int | None = None) -> np.ndarray:
    """One picture → uint8 C×H×W.

    Encoded images, files (strings are paths) and PIL's images are turned upright as their EXIF
    orientation says; C is 1 for grey images and 3 for all others. Arrays are C×H×W, H×W×C or H×W
    (grey), uint8 or floats in 0..1, which become round(255·x). With `resize` = s the shorter side
    is scaled to s pixels (bicubic), and the s×s pixels around the centre are kept.

    Raises:
        DataError: it is not such a picture; the message does not say where it comes from.
    """
    if picture is None:
        raise DataError("the image is missing (null)")
    if isinstance(picture, np.ndarray | torch.Tensor):
        image = _array(picture)
        return _fit_array(image, resize) if resize else image
    if isinstance(picture, str):
        picture = Path(picture)
    if not isinstance(picture, bytes | Path | Image.Image):
        raise DataError(f"expected an image or an array, got {type(picture).__name__}")
    opened = picture if isinstance(picture, Image.Image) else _open(picture)
    plain = _grey_or_rgb(_upright(opened))
    values = np.asarray(_fit(plain, resize) if resize else plain)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


# --- images -------------------------------------------------------------------------------


def _open(encoded: bytes | Path) -> Image.Image:
    try:
        content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        image.load()
    except UnidentifiedImageError:
        raise DataError(f"not an image of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged input
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot be read ({error.strerror})") from error
        raise DataError(f"damaged image ({first_line(error)})") from error
    return image


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # a damaged note on orientation says nothing: shown as stored
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return ImageOps.exif_transpose(image)
    return image


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in GREY_MODES:
        return image.convert("L")
    if image.mode not in COLOUR_MODES:
        raise DataError(f"image mode {image.mode} is not 8-bit grey or colour: convert it")
    if image.mode in ("P", "PA"):  # by way of RGBA, else Pillow warns of transparent palettes
        image = image.convert("RGBA")
    return image.convert("RGB")


def _fit(image: Image.Image, side: int) -> Image.Image:
    return image if image.size == (side, side) else ImageOps.fit(image, (side, side))


# --- arrays -------------------------------------------------------------------------------


def _array(picture: np.ndarray | torch.Tensor) -> np.ndarray:
    picture = _of_tensor(picture) if isinstance(picture, torch.Tensor) else picture
    shape = picture.shape
    if picture.ndim == 2:
        picture = picture[None]
    elif picture.ndim == 3 and _is_channels_last(*shape):
        picture = picture.transpose(2, 0, 1)
    if picture.ndim != 3 or len(picture) >= MIN_SIDE or not picture.size:
        raise DataError(
            "expected an image C×H×W, H×W×C or H×W with fewer than "
            f"{MIN_SIDE} channels, got {'×'.join(map(str, shape)) or 'a number'}"
        )
    return _eight_bits(picture)


def _is_channels_last(first: int, middle: int, last: int) -> bool:
    """Whether an array is H×W×C: small ones, which can still be resized, by grey, RGB or RGBA."""
    if last in CHANNELS:
        return first not in CHANNELS or first == middle != last
    return last < MIN_SIDE <= min(first, middle)


def _of_tensor(picture: torch.Tensor) -> np.ndarray:
    try:
        picture = picture.detach().cpu()
        # numpy has no bfloat16.
        return (picture.float() if picture.is_floating_point() else picture).numpy()
    except Exception as error:  # of a sparse one, say, or one without storage
        raise DataError(f"not a plain tensor ({first_line(error)})") from error


def _eight_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise DataError(
            f"expected an image uint8 in 0..255, or of floats in 0..1, got {image.dtype}"
        )
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 1):  # NaN fails every comparison
        raise DataError(
            f"expected an image of floats in 0..1, or uint8 in 0..255, got {low:g}..{high:g}: "
            "take the images before they are normalised, without NaN"
        )
    return np.rint(image.astype(np.float64) * 255).astype(np.uint8)


def _fit_array(image: np.ndarray, side: int) -> np.ndarray:
    # Channel by channel, so that any number of them will do; Pillow does not mix channels either.
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in image)
    return np.stack([np.asarray(_fit(channel, side)) for channel in channels])


# --- many ---------------------------------------------------------------------------------


class Stack:
    """Pictures of all splits → uint8 N×C×H×W of one height and width.

    Grey images become colour images of three equal channels where any other image has colour.

    Attributes:
        resize: see `pixels`.
        greys: how many grey images became colour images.
    """

    def __init__(self, resize: int | None = None) -> None:
        self.resize = resize
        self.greys = 0
        self._first: tuple[int, ...] | None = None

    def add(
        self, pictures: Iterable[Picture | None], count: int, place: Callable[[int], str]
    ) -> np.ndarray:
        """`count` pictures as one array; `place(i)` says where picture i comes from.

        One thread: for images of 32×32 pixels, threads spend more on the interpreter lock than
        they gain.

        Raises:
            DataError: naming the place.
        """
        images = np.empty((count, 0, 0, 0), dtype=np.uint8)
        with quiet():
            for index, picture in enumerate(pictures):
                try:
                    image = pixels(picture, self.resize)
                    self._expect_alike(image)
                    images = self._with_room(images, image, index)
                except DataError as error:
                    raise DataError(f"{place(index)}: {error}") from error
                self.greys += image.shape[0] < images.shape[1]
                images[index] = image  # a grey image goes to all channels
        return images

    def finish(self, splits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The splits, all of as many channels."""
        most = max(images.shape[1] for images in splits.values())
        for name, images in splits.items():
            if images.shape[1] < most:
                self.greys += len(images)
                splits[name] = images.repeat(most, axis=1)
        return splits

    def _with_room(self, images: np.ndarray, image: np.ndarray, index: int) -> np.ndarray:
        if not index:
            try:
                return np.empty((len(images), *image.shape), dtype=np.uint8)
            except MemoryError:
                raise DataError(
                    f"{len(images):,} images of {_size(image.shape)} do not fit the memory: "
                    "resize=32 (--resize 32) makes them smaller"
                ) from None
        if images.shape[1] < image.shape[0]:
            self.greys += index
            return images.repeat(image.shape[0], axis=1)
        return images

    def _expect_alike(self, image: np.ndarray) -> None:
        if image.shape == self._first:
            return
        if not has_sides(image.shape[1:]):
            raise DataError(
                f"image is {_size(image.shape)}, expected {MIN_SIDE} to {MAX_SIDE} pixels a side; "
                "resize=32 (--resize 32) brings all images to 32×32"
            )
        self._first = first = self._first or image.shape
        if image.shape[1:] != first[1:]:
            raise DataError(
                f"image is {_size(image.shape)}, the first one is {_size(first)}: all images must "
                "have one size; resize=32 (--resize 32) brings them to 32×32"
            )
        if not {image.shape[0], first[0]} <= {1, 3} and image.shape[0] != first[0]:
            raise DataError(f"image is {_size(image.shape)}, the first one is {_size(first)}")


def _size(shape: tuple[int, ...]) -> str:
    mode = {1: "grey", 3: "RGB"}.get(shape[0], f"{shape[0]}-channel")
    return f"{mode} {shape[2]}×{shape[1]} (width×height)"
