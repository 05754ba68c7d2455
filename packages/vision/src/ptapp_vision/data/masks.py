"""Images with masks beside them: which mask is of which image, and what the numbers of its pixels stand for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ptapp_core.data.class_folders import files_below
from ptapp_core.data.files import in_threads, opened, visible
from ptapp_core.data.layout import folders_in, split_folders
from ptapp_core.data.listing import Listing
from ptapp_core.data.pieces import note_on_pieces, pieces_of
from ptapp_core.data.split import Division, SplitName
from ptapp_core.data.unread import left_out
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.memory import refuse_beyond_memory
from ptapp_vision.data.folder import Cache, read_listing
from ptapp_vision.data.image import FORMATS, IMAGES, Span, Unreadable, upright_size
from ptapp_vision.data.splits import IGNORED, SEGMENT, Images, Splits

CLASSES = "classes.txt"
_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass")
_EXPECTED = (
    "expected images/NAME.jpg with masks/NAME.png, train/ and val/ of such folders, or Pascal VOC as it is published"
)
_LISTS = Path("ImageSets", "Segmentation")
"""Where Pascal VOC has its lists."""
_REMEDY = "save the number of each pixel's class, grey or with a palette, as PNG"
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class Pair(NamedTuple):
    """An image, its mask, and the split that the data has it in."""

    image: Path
    mask: Path
    split: SplitName


def read_masks(
    root: Path,
    *,
    size: int | None,
    channels: int | None,
    span: Span | Literal["own"] | None,
    division: Division | None,
    skip_bad: bool,
    cache: Cache,
    group_column: str | None,
) -> Splits:
    """Images as `read_listing` reads them, with their masks as targets, in memory: numbers, uint8 (N, size, size).

    A mask has the size of its image, and is resized with it, each pixel to the nearest. 255 is ignored, but masks of 0
    and 255 alone are background and foreground. Raises UserError where an image has no mask, or a mask is not usable;
    `skip_bad` leaves such images out.
    """
    pairs, what, notes = _pairs(root, need_train=division is not None)
    numbers, bad = _numbers(root, pairs, skip_bad)
    present = np.logical_or.reduce(list(numbers.values()))
    names, two_valued = _names(root, pairs, numbers, present)
    good = [pair for pair in pairs if pair.image in numbers]
    files = [root / pair.image for pair in good]
    called = [pair.image.as_posix() for pair in good]
    divided = (root / _LISTS).is_dir()
    groups = None if divided else pieces_of(called, [pair.split for pair in good])
    if two_valued:
        notes.append(f"masks of 0 and 255 are read as {names[0]} and {names[1]}")
    listing = Listing(
        root,
        what,
        files,
        called,
        [()] * len(files),
        names,
        [pair.split for pair in good] if any(pair.split != "train" for pair in good) else None,
        groups=groups,
        notes=tuple(notes),
        group_note=note_on_pieces(groups) if groups else "",
        kind=SEGMENT,
    )
    splits = read_listing(
        listing.grouped(group_column),
        size=size,
        channels=channels,
        span=span,
        division=division,
        skip_bad=skip_bad,
        cache=cache,
        bad_rows=bad,
    )
    side = splits.train.shape[2]
    mask_of = {name: root / pair.mask for name, pair in zip(called, good, strict=True)}
    refuse_beyond_memory(len(mask_of) * side * side, "keeping the masks in memory")

    def with_masks(part: Images) -> Images:
        masks = in_threads(lambda name: _resized(mask_of[name], side, two_valued), part.samples.ids)
        return replace(part, labels=torch.stack(masks) if masks else torch.empty(0, side, side, dtype=torch.uint8))

    splits = replace(splits, train=with_masks(splits.train), val=with_masks(splits.val), test=with_masks(splits.test))
    return splits if division is None else replace(splits, notes=(*splits.notes, *_unseen(root, splits)))


def _pairs(root: Path, *, need_train: bool) -> tuple[list[Pair], str, list[str]]:
    """Images and masks, their paths below the root; what was recognised; and lines on what was left out."""
    if not root.is_dir():
        raise UserError(f"{root}: --task segment takes a folder; {_EXPECTED}")
    if (lists := root / _LISTS).is_dir():
        return _voc(root, lists), "Pascal VOC, divided by the lists in ImageSets/Segmentation", []
    places: list[tuple[Path, Path, SplitName]] = []
    if own := _both(root):
        images, masks = own
        inside = split_folders(images)
        places = [(folder, masks / folder.name, split) for folder, split in inside.items()] or [(*own, "train")]
    else:
        divided = {folder: split for folder, split in split_folders(root).items() if _both(folder)}
        places = [(*both, split) for folder, split in divided.items() if (both := _both(folder))]
    if not places:
        inner = [folder for folder in folders_in(root) if _both(folder)]
        hint = f"; give --data {inner[0]}" if len(inner) == 1 else ""
        raise UserError(f"{root}: holds no folder of images with one of masks beside it; {_EXPECTED}{hint}")
    if need_train and all(split != "train" for _, _, split in places):
        raise UserError(f"{root}: has {', '.join(folder.name for folder, _, _ in places)} but no train/ folder")
    pairs, without, notes = [], 0, list[str]()
    for images, masks, split in places:
        files = files_below(images, IMAGES)
        if not files:
            raise UserError(f"{images}: holds no image; {_EXPECTED}")
        own_masks = [masks / file.relative_to(images).with_suffix(".png") for file in files]
        pairs += [
            Pair(image.relative_to(root), mask.relative_to(root), split)
            for image, mask in zip(files, own_masks, strict=True)
        ]
        notes += left_out([images], files, IMAGES).lines()
        without += len(set(files_below(masks, IMAGES)) - set(own_masks)) if masks.is_dir() else 0
    return pairs, "images with masks", [*notes, *([f"{counted(without, 'mask')} of no image left out"] * bool(without))]


def _both(folder: Path) -> tuple[Path, Path] | None:
    """The folder of images and that of masks in a folder."""
    named = {each.name.lower(): each for each in folders_in(folder)}
    images, masks = (next((named[name] for name in names if name in named), None) for names in (_IMAGES, _MASKS))
    return (images, masks) if images and masks else None


def _voc(root: Path, lists: Path) -> list[Pair]:
    """Pascal VOC (Everingham et al. 2010): lists of names; its test has no masks, and so is drawn from train."""
    pairs = []
    for split in ("train", "val"):
        if not (lists / f"{split}.txt").is_file():
            raise UserError(f"{lists / f'{split}.txt'}: no such list; fetch the data again")
        with opened(lists / f"{split}.txt") as stream:
            names = stream.read().decode("utf-8", "replace").split()
        for name in names:
            image = Path("JPEGImages") / f"{name}.jpg"
            if not (root / image).is_file():
                raise UserError(f"{root / image}: no such file, and {split}.txt names it; fetch the data again")
            pairs.append(Pair(image, Path("SegmentationClass") / f"{name}.png", split))
    return pairs


def _numbers(root: Path, pairs: Sequence[Pair], skip_bad: bool) -> tuple[dict[Path, npt.NDArray[np.bool_]], list[str]]:
    """Which of the 256 numbers each mask has, by its image, and "name: reason" of each image left out."""

    def look(pair: Pair) -> npt.NDArray[np.bool_] | str:
        try:
            values = _read(root / pair.mask)
            with Image.open(root / pair.image, formats=FORMATS) as image:
                shown = upright_size(image)
        except Unreadable as error:
            return str(error)
        except Exception:  # of a broken image, whose reader says why
            return np.bincount(values.ravel(), minlength=256) > 0
        if shown != values.shape[::-1]:
            own, other = (f"{width}x{height}" for width, height in (values.shape[::-1], shown))
            return f"is {own}, and {root / pair.image} is {other}; make the mask as large as its image"
        return np.bincount(values.ravel(), minlength=256) > 0

    found = in_threads(look, pairs)
    bad = [(pair, reason) for pair, reason in zip(pairs, found, strict=True) if isinstance(reason, str)]
    good = {pair.image: own for pair, own in zip(pairs, found, strict=True) if not isinstance(own, str)}
    if bad and (not skip_bad or not good):
        (pair, reason), rest = bad[0], f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{root / pair.mask}: {reason}{rest}, or leave such images out with --skip-bad")
    return good, [f"{pair.image}: {pair.mask} {reason}" for pair, reason in bad]


def _read(file: Path) -> npt.NDArray[np.uint8]:
    """The numbers of a mask, uint8 (H, W); raises Unreadable."""
    if not file.is_file():
        others = [each.name for each in visible(file.parent) if each.stem == file.stem] if file.parent.is_dir() else []
        what = f"{others[0]} is there; {_REMEDY}" if others else "an image without a mask; add it"
        raise Unreadable(f"no such file ({what})")
    try:
        with Image.open(file, formats=["PNG"]) as mask:
            if mask.mode not in ("L", "P", "1"):
                raise Unreadable(f"is a mask of mode {mask.mode}, not of class numbers; {_REMEDY}")
            # Pillow spreads grey of 2 and 4 bits over 0 to 255.
            step = {"L;2": 85, "L;4": 17}.get(str(mask.tile[0][3]) if mask.tile else "", 1)
            values: npt.NDArray[np.uint8] = np.array(mask.convert("L") if mask.mode == "1" else mask)
            return values // np.uint8(step)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind on a broken file
        raise Unreadable(f"is a broken mask or no PNG ({type(error).__name__}); {_REMEDY}") from error


def _names(
    root: Path, pairs: Sequence[Pair], numbers: dict[Path, npt.NDArray[np.bool_]], present: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], bool]:
    """The names of the classes, and whether the masks are of 0 and 255 for two of them; raises UserError."""
    named = root / CLASSES
    given = named.read_text(encoding="utf-8", errors="replace").split("\n") if named.is_file() else []
    names = tuple(name.strip() for name in given if name.strip())
    if len(set(names)) < len(names) or len(names) > IGNORED:
        raise UserError(f"{named}: names a class twice, or more than {IGNORED} of them; write a name a line, from 0 on")
    two_valued = bool(present[0] and present[IGNORED] and present.sum() == 2) and len(names) in (0, 2)
    most = 1 if two_valued else max((n for n in range(IGNORED) if present[n]), default=0)
    if not names:
        if (root / _LISTS).is_dir() and most < len(_VOC):
            return _VOC, False
        return ("background", "foreground") if two_valued else tuple(map(str, range(most + 1))), two_valued
    if most >= len(names):
        masks = {pair.image: pair.mask for pair in pairs}
        file = next(masks[image] for image, own in numbers.items() if own[most])
        raise UserError(
            f"{root / file}: has the class number {most}, and {named} names {len(names)}, from 0 on; add it"
        )
    return names, two_valued


def _resized(file: Path, size: int, two_valued: bool) -> Tensor:
    """The numbers of a mask, uint8 (size, size)."""
    values = _read(file)
    if two_valued:
        values = np.minimum(values, np.uint8(1))
    return torch.from_numpy(np.array(Image.fromarray(values).resize((size, size), Image.Resampling.NEAREST)))


def _unseen(root: Path, splits: Splits) -> list[str]:
    """A line on the classes of which no training mask has a pixel; raises UserError where there is but one class."""
    seen = np.zeros(256, bool)
    for mask in splits.train.labels.numpy():
        seen[mask] = True
    if seen[:IGNORED].sum() < 2:
        raise UserError(f"{root}: the training masks are of one class alone: there is nothing to learn")
    absent = [name for number, name in enumerate(splits.classes) if not seen[number]]
    shown = ", ".join(absent[:4]) + (", ..." if len(absent) > 4 else "")
    return [f"no training mask has a pixel of {counted(len(absent), 'class')}: {shown}"] if absent else []
