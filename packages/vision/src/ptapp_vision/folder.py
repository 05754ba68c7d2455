"""A folder for each class: divided into train/ val/ test/ already, or to be divided."""

from collections.abc import Sequence
from dataclasses import replace
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
from ptapp_core.unread import left_out
from ptapp_vision.decode import IMAGES, OnDisk, Span, look_at_all, read_files, readable, span_of
from ptapp_vision.splits import Images, Splits, divide

Cache = Literal["auto", "memory", "disk"]


def read_folder(
    root: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    span: Span | Literal["own"] | None = "own",
    division: Division | None = BY_HASH,
    skip_bad: bool = False,
    cache: Cache = "auto",
) -> Splits:
    """Reads images, uint8 (N, channels, size, size), whose folder names their class; classes go by name.

    `size` None keeps small square images as they are and makes others 64 or 224; `channels` None is 1 where all are
    grey, else 3. Grey of more than 8 bits is scaled from `span`, "own" being the lowest and highest value of the data.
    What fits into a third of the free memory is decoded now (dividing it takes as much again), the rest on request;
    `cache` decides otherwise. Raises UserError where a folder or an image is not usable; `skip_bad` leaves such images
    out. Without a division it is only measured: train/ may be missing.
    """
    listed = files_of_splits(root, IMAGES, need_train=division is not None)
    classes = tuple(sorted({name for by_class in listed.values() for name in by_class}))
    files = [file for by_class in listed.values() for own in by_class.values() for file in own]
    others = left_out([root], files, IMAGES)
    seen = _Seen(files)
    size, channels = size or seen.size, channels or seen.channels
    if span == "own":
        span = span_of(seen.deep) if seen.deep else None
    in_memory = cache == "memory" or (cache == "auto" and len(files) * channels * size * size <= free_memory() // 3)

    parts: dict[SplitName, Images] = {}
    skipped: list[str] = []
    for split, by_class in listed.items():
        parts[split], bad = _read(root, by_class, classes, size, channels, span, in_memory, skip_bad)
        skipped += bad
    if "train" in parts:
        for label in set(range(len(classes))) - set(parts["train"].labels.tolist()):
            raise UserError(f"{listed['train'][classes[label]][0]}: not one training image of this class can be read")
    about = f"{seen.about}, {'in memory' if in_memory else 'read from disk'}"
    if seen.deep and span:
        about += f", {counted(len(seen.deep), 'image')} of more than 8 bits scaled from {span[0]:,g} to {span[1]:,g}"
    what = f"{root}, a folder per class ({about})"
    data = divide(parts, classes, where=root, what=what, division=division, skipped=skipped)
    return replace(data, span=span, left_out=tuple(others.lines()))


class _Seen:
    """What the headers of all images tell; ones that cannot be read say nothing here."""

    def __init__(self, files: Sequence[Path]) -> None:
        headers = look_at_all(files)
        self.deep = [file for file, header in zip(files, headers, strict=True) if header and header.deep]
        seen = [header for header in headers if header]
        sides = {side for header in seen for side in (header.width, header.height)} or {64}
        if len(sides) == 1 and max(sides) <= 256:
            self.size, origin = max(sides), f"{max(sides)} pixels square"
        else:
            self.size = 224 if median(min(header.width, header.height) for header in seen) >= 224 else 64
            origin = f"{min(sides)} to {max(sides)} pixels a side"
        grey = sum(header.grey for header in seen)
        self.channels = 1 if seen and grey == len(seen) else 3
        mixed = f"{grey:,} grey and {len(seen) - grey:,} colour" if grey else "colour"
        self.about = f"{origin}, {'all grey' if self.channels == 1 else mixed}"


def _read(
    root: Path,
    by_class: dict[str, list[Path]],
    classes: Sequence[str],
    size: int,
    channels: int,
    span: Span | None,
    in_memory: bool,
    skip_bad: bool,
) -> tuple[Images, list[str]]:
    """One split, and "path: reason" of each image left out; files that stay on disk are checked only for skipping."""
    files = [file for name in classes for file in by_class.get(name, ())]
    labels = [label for label, name in enumerate(classes) for _ in by_class.get(name, ())]
    images: Tensor | OnDisk
    if in_memory:
        images, good, bad = read_files(files, size, channels, span=span)
    else:
        good, bad = readable(files, span=span) if skip_bad else (list(range(len(files))), [])
        images = OnDisk([files[row] for row in good], size, channels, span=span)
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
