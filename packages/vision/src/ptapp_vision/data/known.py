"""Published data sets of images whose classes and official test are given by lists beside them, not by folders."""

from collections.abc import Mapping
from pathlib import Path

from ptapp_core.data.files import opened
from ptapp_core.data.layout import MANIFEST
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import SplitName
from ptapp_core.errors import UserError

_BIRDS = ("images.txt", "train_test_split.txt")
_PETS: Mapping[str, SplitName] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}
_FLOWERS = ("imagelabels.mat", "setid.mat")
_PICKLES = ("data_batch_1", "test_batch", "batches.meta")
_HUNDRED = ("train", "test", "meta")


def read_known(root: Path) -> Listing | None:
    """The data set that the lists in a folder are of; None where it is none of those known.

    Raises UserError, saying what it looks like and what to do, for one that is known and not read, or a broken list.
    """
    _refuse_what_is_not_read(root)
    if all((root / name).is_file() for name in (*_BIRDS, "image_class_labels.txt")):
        return _birds(root)
    if all((root / name).is_file() for name in _PETS):
        return _pets(root)
    return None


def _refuse_what_is_not_read(root: Path) -> None:
    inside = [root, *(root / name for name in ("cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-bin"))]
    for folder in inside:
        hundred = all((folder / name).is_file() for name in _HUNDRED)
        if hundred or any((folder / name).is_file() for name in _PICKLES):
            remedy = f"write {MANIFEST}" if hundred else "give --data cifar10, which takes the binary form"
            raise UserError(
                f"{folder}: looks like CIFAR as Python pickles, which run code when they are loaded, and so are not; "
                f"{remedy}"
            )
        if (folder / "data_batch_1.bin").is_file():
            raise UserError(f"{folder}: looks like CIFAR-10 in its binary form; give --data cifar10, which takes it")
    if all((root / name).is_file() for name in _FLOWERS):
        raise UserError(
            f"{root}: looks like Flowers-102, whose classes and splits are in files of Matlab ({', '.join(_FLOWERS)}), "
            f"which are not read; write them out to {MANIFEST}"
        )


def _birds(root: Path) -> Listing:
    """Caltech-UCSD Birds (Wah et al. 2011): lists of a number and a path, or a number and whether to train."""
    paths, training = (dict(_pairs(root / name)) for name in _BIRDS)
    if lost := paths.keys() ^ training.keys():
        raise UserError(f"{root}: image {min(lost)} is in one of {' and '.join(_BIRDS)} alone; fetch both again")
    rows: dict[str, tuple[str, SplitName]] = {
        f"images/{path}": (path.rpartition("/")[0], "train" if training[number] == "1" else "test")
        for number, path in paths.items()
    }
    return _listing(root, f"Caltech-UCSD Birds, divided by {_BIRDS[1]}", rows)


def _pets(root: Path) -> Listing:
    """Oxford-IIIT Pets (Parkhi et al. 2012): the lists name the images, and the name of an image its breed."""
    rows: dict[str, tuple[str, SplitName]] = {}
    for name, split in _PETS.items():
        for image, _ in _pairs(root / name):
            rows[f"images/{image}.jpg"] = image.rpartition("_")[0], split
    return _listing(root, "Oxford Pets, breeds, divided by the lists in annotations/", rows)


def _pairs(file: Path) -> list[tuple[str, str]]:
    """The first word of each line and the rest, without comments."""
    with opened(file) as stream:
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()]
    found = []
    for number, line in enumerate(lines, start=1):
        first, _, rest = line.partition(" ")
        if line and not line.startswith("#"):
            if not rest:
                raise UserError(f"{file}:{number}: {line!r} is not two words; fetch the list again")
            found.append((first, rest.strip()))
    return found


def _listing(root: Path, what: str, rows: Mapping[str, tuple[str, SplitName]]) -> Listing:
    names = list(rows)
    for name in names:
        if not (root / name).is_file():
            raise UserError(f"{root / name}: no such file, and a list of the set names it; fetch the images again")
    classes = tuple(sorted({label for label, _ in rows.values()}))
    labels = [classes.index(label) for label, _ in rows.values()]
    return Listing(root, what, [root / name for name in names], names, labels, classes, [s for _, s in rows.values()])
