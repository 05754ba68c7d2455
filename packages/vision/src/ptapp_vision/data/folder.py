"""Image files with their classes: in class folders, or listed otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal

from torch import Tensor

from ptapp_core.data.class_folders import list_classes
from ptapp_core.data.files import file_digests
from ptapp_core.data.listing import Listing
from ptapp_core.data.loader import target_tensor
from ptapp_core.data.split import Division, Samples, SplitName
from ptapp_core.data.targets import CLASSIFY
from ptapp_core.data.telltale import telltale
from ptapp_core.data.unread import left_out
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.memory import free_memory
from ptapp_vision.data.decode import OnDisk, look_at_all, read_files, readable, span_of
from ptapp_vision.data.image import IMAGES, Header, Span
from ptapp_vision.data.splits import Images, Splits, divide

Cache = Literal["auto", "memory", "disk"]


def list_folder(root: Path, *, need_train: bool) -> Listing:
    """Images whose folder names their class; classes go by name. Raises UserError."""
    listing = list_classes(root, IMAGES, need_train=need_train)
    return replace(listing, notes=(*listing.notes, *left_out([root], listing.files, IMAGES).lines()))


def read_listing(
    listing: Listing,
    *,
    size: int | None,
    channels: int | None,
    span: Span | Literal["own"] | None,
    division: Division | None,
    skip_bad: bool,
    cache: Cache,
    bad_rows: Sequence[str] = (),
) -> Splits:
    """Reads the images of a listing, uint8 (N, channels, size, size).

    `size` None keeps small square images as they are and makes others 64 or 224; `channels` None is 1 where all are
    grey, else 3. Grey of more than 8 bits is scaled from `span`, "own" being the lowest and highest value of the data.
    What fits into a third of the free memory is decoded now (dividing it takes as much again), the rest on request;
    `cache` decides otherwise. Raises UserError where an image is not usable, or a class has none that is; `skip_bad`
    leaves such images out. `bad_rows` are samples that were left out already.
    """
    seen = _Seen(listing.files)
    size, channels = size or seen.size, channels or seen.channels
    if span == "own":
        span = span_of(seen.deep) if seen.deep else None
    total = len(listing.files) * channels * size * size
    in_memory = cache == "memory" or (cache == "auto" and total <= free_memory() // 3)

    own = listing.parts or ["train"] * len(listing.files)
    parts: dict[SplitName, Images] = {}
    skipped = list(bad_rows)
    folds: list[int] = []
    for split in dict.fromkeys(own):
        part = listing.take([row for row, name in enumerate(own) if name == split])
        parts[split], good, bad = _read(part, size, channels, span=span, in_memory=in_memory, skip_bad=skip_bad)
        skipped += bad
        folds += [part.folds[row] for row in good] if part.folds else []
        lost = set(part.class_numbers) - set(parts[split].labels.tolist() if listing.kind == CLASSIFY else ())
        for label in sorted(lost) if split == "train" else ():
            file = part.files[part.labels.index(label)]
            raise UserError(f"{file}: not one training image of this class can be read")
    about = f"{seen.about}, {'in memory' if in_memory else 'read from disk'}"
    if seen.deep and span:
        about += f", {counted(len(seen.deep), 'image')} of more than 8 bits scaled from {span[0]:,g} to {span[1]:,g}"
    described = f"{listing.where}, {listing.what} ({about})"
    with listing.explained():
        data = divide(
            parts,
            listing.classes,
            where=listing.where,
            what=described,
            division=division,
            skipped=skipped,
            folds=folds,
            kind=listing.kind,
        )
    marked: list[str | None] = []
    if listing.kind == CLASSIFY:
        for values, what in (
            (seen.sizes, "a size of {} pixels"),
            (seen.forms, "images that are stored as {}"),
            (seen.formats, "{} files"),
        ):
            marked.append(telltale(listing.class_numbers, values, listing.classes, what=what))
    return replace(data, span=span, notes=tuple(filter(None, (*listing.said, seen.note, *marked, *data.notes))))


_FORMS = {"1": "black and white", "P": "numbers of a palette"}


class _Seen:
    """What the headers of all images say; ones that cannot be read say nothing here."""

    def __init__(self, files: Sequence[Path]) -> None:
        headers = look_at_all(files)
        self.sizes = [f"{header.width}x{header.height}" if header else "unknown" for header in headers]
        self.forms = [_form(header) if header else "unknown" for header in headers]
        self.formats = [header.format if header else "unknown" for header in headers]
        self.deep = [file for file, header in zip(files, headers, strict=True) if header and header.deep]
        seen = [header for header in headers if header]
        self.note = ""
        if 0 < len(self.deep) < len(seen):
            self.note = (
                f"{counted(len(self.deep), 'image')} of more than 8 bits (the first is {self.deep[0]}) and "
                f"{len(seen) - len(self.deep):,} of 8 bits: the former are scaled by their own range, so that one "
                "brightness may be two values; save all alike"
            )
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


def _form(header: Header) -> str:
    if header.mode in _FORMS:
        return _FORMS[header.mode]
    return "grey of more than 8 bits" if header.deep else "grey" if header.grey else "colour"


def _read(
    part: Listing, size: int, channels: int, *, span: Span | None, in_memory: bool, skip_bad: bool
) -> tuple[Images, list[int], list[str]]:
    """One split, its rows that can be read, and "name: reason" of each image left out.

    Files that stay on disk are checked only for skipping.
    """
    files = list(part.files)
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
    names = dict(zip(files, part.names, strict=True))
    kept = part.take(good)
    samples = Samples(kept.names, kept.names, file_digests(kept.files), kept.groups or ())
    skipped = [f"{names[file]}: {reason}" for file, reason in bad]
    return Images(images, target_tensor(kept.labels), samples), good, skipped
