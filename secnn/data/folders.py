"""Images in class folders: `train/<class>/*` and `test/<class>/*`."""

from __future__ import annotations

from pathlib import Path

from secnn.data.assembly import assemble
from secnn.data.decoding import is_image
from secnn.data.layout import NAMES, SPLIT_OF, content, files_under, folders_in
from secnn.data.splits import DataError, Portion, Reading, Splits, joined, left_out

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""A file called so has to be an image; of others the content decides."""


def image_folder(path: Path, reading: Reading | None = None) -> Splits:
    """Images in `train/<class>/` and `test/<class>/` (`validation/<class>/` if there).

    Classes are the sorted folder names of `train`, and images are sorted by their paths, as in
    torchvision's `ImageFolder`; the other folders must have the same classes. `valid`, `val`
    and `dev` are other names of `validation`. Hidden files and folders are skipped; the notice
    counts what else is not used.

    Raises:
        DataError: naming the file or folder.
    """
    reading = reading or Reading()
    reading.expect_no_columns(f"the image folders of {path}")
    folders = _split_folders(path)
    names = tuple(folder.name for folder in content(folders["train"]) if folder.is_dir())
    unused: list[Path] = []
    portions = {split: _portion(folder, names, unused) for split, folder in folders.items()}
    others = [name for name in folders_in(path) if name.rstrip("/") not in SPLIT_OF]
    unused += [file for file in content(path) if not file.is_dir() and _is_used(file)]
    stray = [str(file.relative_to(path)) for file in unused]
    notice = joined(
        left_out("file", stray, "not in a class folder, or no images of a known format"),
        left_out("folder", others, "not named after a split"),
    )
    name, source = path.resolve().name, f"image folders: {path}"
    return assemble(name, source, portions, names, reading, notice)


def _split_folders(path: Path) -> dict[str, Path]:
    """Split → its folder."""
    folders = {}
    for split, names in NAMES.items():
        found = [path / name for name in names if (path / name).is_dir()]
        if len(found) > 1:
            raise DataError(
                f"{path}: {' and '.join(f.name for f in found)} both name the {split} split: keep "
                "one of them"
            )
        if found:
            folders[split] = found[0]
    for split in ("train", "test"):
        if split not in folders:
            raise DataError(f"{path / split}: no such folder; expected one folder a class in it")
    return folders


def _portion(folder: Path, names: tuple[str, ...], unused: list[Path]) -> Portion:
    """The images of one split; adds other files to `unused`."""
    paths = list(content(folder))
    classes = [path for path in paths if path.is_dir()]
    if tuple(path.name for path in classes) != names:
        different = ", ".join(sorted({path.name for path in classes} ^ set(names)))
        raise DataError(f"{folder}: its classes differ from those of train: {different}")
    unused += [path for path in paths if not path.is_dir()]
    files: list[Path] = []
    labels: list[int] = []
    for label, place in enumerate(classes):
        found = files_under(place)
        images = [path for path in found if _is_used(path)]
        if not images:
            raise DataError(f"{place}: there are no images in this folder")
        if len(images) < len(found):
            unused += [path for path in found if path not in set(images)]
        files += images
        labels += [label] * len(images)
    return Portion(files, labels, lambda index: str(files[index]))


def _is_used(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return path.is_file() or not path.exists()  # a link to nothing is to be told
    return path.is_file() and is_image(path)
