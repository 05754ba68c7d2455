"""A folder for each class: divided into train/ val/ test/ already, or to be divided."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from ptapp_core.errors import UserError, counted
from ptapp_core.files import file_digests
from ptapp_core.folders import files_of_splits
from ptapp_core.memory import free_memory
from ptapp_core.split import BY_HASH, Division, Samples, SplitName
from ptapp_vision.decode import IMAGES, OnDisk, Unreadable, look, read_files, readable
from ptapp_vision.splits import Images, Splits, divide

Cache = Literal["auto", "memory", "disk"]

_LOOKED_AT = 8  # images of each class whose headers decide on size and channels


def read_folder(
    root: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    division: Division | None = BY_HASH,
    skip_bad: bool = False,
    cache: Cache = "auto",
) -> Splits:
    """Reads images, uint8 (N, channels, size, size), whose folder names their class; classes go by name.

    `size` None keeps small square images as they are and makes others 64 or 224; `channels` None is 1 where all are
    grey, else 3 (by the headers of a few). What fits into a third of the free memory is decoded now (dividing it
    takes as much again), the rest on request; `cache` decides otherwise. Raises UserError where a folder or an image
    is not usable; `skip_bad` leaves such images out. Without a division it is only
    measured: train/ may be missing.
    """
    listed = files_of_splits(root, IMAGES, need_train=division is not None)
    classes = tuple(sorted({name for by_class in listed.values() for name in by_class}))
    first = listed.get("train") or next(iter(listed.values()))
    guess = _guess([file for files in first.values() for file in files[:_LOOKED_AT]])
    size, channels = size or guess.size, channels or guess.channels
    total = sum(len(files) for by_class in listed.values() for files in by_class.values())
    in_memory = cache == "memory" or (cache == "auto" and total * channels * size * size <= free_memory() // 3)

    parts: dict[SplitName, Images] = {}
    skipped: list[str] = []
    for split, by_class in listed.items():
        parts[split], bad = _read(root, by_class, classes, size, channels, in_memory, skip_bad)
        skipped += bad
    if "train" in parts:
        for label in set(range(len(classes))) - set(parts["train"].labels.tolist()):
            raise UserError(f"{listed['train'][classes[label]][0]}: not one training image of this class can be read")
    what = f"{root}, a folder per class ({guess.about}, {'in memory' if in_memory else 'read from disk'})"
    return divide(parts, classes, where=root, what=what, division=division, skipped=skipped)


@dataclass(frozen=True)
class _Guess:
    size: int
    channels: int
    about: str


def _guess(files: Sequence[Path]) -> _Guess:
    """Size and channels for images like these; ones that cannot be read say nothing here."""
    seen: list[tuple[bool, int, int]] = []
    for file in files:
        try:
            seen.append(look(file))
        except Unreadable:
            continue
    sides = {side for _, *both in seen for side in both} or {64}
    if len(sides) == 1 and max(sides) <= 256:
        size, origin = max(sides), f"{max(sides)} pixels square"
    else:
        size = 224 if median(min(width, height) for _, width, height in seen) >= 224 else 64
        origin = f"{min(sides)} to {max(sides)} pixels a side"
    grey = bool(seen) and all(is_grey for is_grey, _, _ in seen)
    return _Guess(
        size, 1 if grey else 3, f"{counted(len(seen), 'image')} looked at: {origin}, {'all grey' if grey else 'colour'}"
    )


def _read(
    root: Path,
    by_class: dict[str, list[Path]],
    classes: Sequence[str],
    size: int,
    channels: int,
    in_memory: bool,
    skip_bad: bool,
) -> tuple[Images, list[str]]:
    """One split, and "path: reason" of each image left out; files that stay on disk are checked only for skipping."""
    files = [file for name in classes for file in by_class.get(name, ())]
    labels = [label for label, name in enumerate(classes) for _ in by_class.get(name, ())]
    images: Tensor | OnDisk
    if in_memory:
        images, good, bad = read_files(files, size, channels)
    else:
        good, bad = readable(files) if skip_bad else (list(range(len(files))), [])
        images = OnDisk([files[row] for row in good], size, channels)
    if bad and not skip_bad:
        (file, reason), rest = bad[0], f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{file}: {reason}{rest}; leave such images out with --skip-bad")
    if not good:
        rest = (
            f", and so are all the other {len(bad) - 1:,} of its split" if len(bad) > 1 else ", and alone in its split"
        )
        raise UserError(f"{bad[0][0]}: {bad[0][1]}{rest}")
    names = [files[row].relative_to(root).as_posix() for row in good]
    samples = Samples(names, names, file_digests([files[row] for row in good]))
    skipped = [f"{file.relative_to(root).as_posix()}: {reason}" for file, reason in bad]
    return Images(images, torch.tensor([labels[row] for row in good]), samples), skipped
