"""Images to train on, recognised from what is there: a path, a data set's name, or nothing."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Self

from ptapp_core.data.files import visible
from ptapp_core.data.folder_targets import as_wanted
from ptapp_core.data.listing import AUTO, Listing
from ptapp_core.data.manifest import is_manifest, read_manifest
from ptapp_core.data.members import Members
from ptapp_core.data.split import BY_HASH, Division
from ptapp_core.data.targets import CLASSES, CLASSIFY, JOINS, Wanted
from ptapp_core.errors import UserError, nearest
from ptapp_core.jobs import division_of
from ptapp_core.kinds.known import wanted_of
from ptapp_core.settings.fields import flag
from ptapp_vision.card import Card
from ptapp_vision.config import TrainVision
from ptapp_vision.data.decode import OnDisk, read_images
from ptapp_vision.data.fer import has_fer_header, has_pixels, read_fer, refuse_columns_of_pixels
from ptapp_vision.data.fetched import SOURCES, read_fetched
from ptapp_vision.data.folder import Cache, list_folder, read_listing
from ptapp_vision.data.idx import find_idx, read_idx
from ptapp_vision.data.image import IMAGES, Span
from ptapp_vision.data.known import read_known
from ptapp_vision.data.masks import read_masks
from ptapp_vision.data.splits import SEGMENT, Images, Splits

__all__ = ["NAMES", "Cache", "Images", "OnDisk", "Splits", "load", "load_for", "read_images"]

NAMES = ("faces", *SOURCES)
DataKind = Literal["drawn", "fetched", "IDX", "FER2013", "manifest", "folder", "masks"]
_EXPECTED = "a FER2013 CSV or a manifest, a folder with a folder for each class, or a folder of IDX files"
_FILES: tuple[DataKind, ...] = ("manifest", "folder", "masks")
_ONLY: dict[str, tuple[tuple[DataKind, ...], str]] = {
    "--skip-bad": ((*_FILES, "FER2013"), "images in files of their own and FER2013 tables"),
    **dict.fromkeys(("--group-column", "--cache", "--workers"), (_FILES, "images in files of their own")),
    **dict.fromkeys(
        ("--split", "--allow-duplicates"), ((*_FILES, "FER2013", "IDX", "fetched"), "data that is not drawn")
    ),
}
"""Options that do something with some kinds of data alone, and what they are for."""


class Found(NamedTuple):
    """The data that `--data` names."""

    kind: DataKind
    path: Path = Path()


def find(data: str | None, wanted: Wanted = CLASSES) -> Found:
    """The kind of some data, and where it lies; a path that exists is meant before a name. Raises UserError."""
    if data and os.path.exists(path := Path(data).expanduser()):
        if wanted.kind == SEGMENT:
            return Found("masks", path)
        return _in_folder(path, wanted) if path.is_dir() else _of_file(path, wanted)
    if data is None or data == "faces":
        return Found("drawn")
    if data in SOURCES:
        return Found("fetched")
    raise UserError(f"--data {data}: no such file or folder, and no data set of that name{nearest(data, NAMES)}")


def load(
    data: str | None,
    *,
    size: int | None = None,
    channels: int | None = None,
    span: Span | Literal["own"] | None = "own",
    division: Division | None = BY_HASH,
    group_column: str | None = AUTO,
    skip_bad: bool = False,
    cache: Cache = "auto",
    wanted: Wanted = CLASSES,
) -> Splits:
    """Train, val and test images from a path or a name in `NAMES`; None is the faces that the program draws.

    Images are uint8 (N, channels, size, size); None keeps what the data has (see `read_listing`, and for `span`). A
    missing val or test split is drawn from train as the `division` says; without one it is empty. `skip_bad` leaves bad
    samples out and names them in `skipped`; `cache` says where images in files are kept.
    Raises UserError, on one line that names the file, where the data is missing, broken, or of no known kind, and for
    an option that does nothing with data of its kind.
    """
    found = find(data, wanted)
    given = {"--skip-bad": skip_bad, "--group-column": group_column != AUTO, "--cache": cache != "auto"}
    _refuse_idle(found.kind, [name for name, is_given in given.items() if is_given])
    _refuse_unlike(found.kind, data, wanted)
    form = Form(size, channels, span)
    if found.kind == "masks":
        splits = read_masks(
            found.path,
            **form._asdict(),
            division=division,
            skip_bad=skip_bad,
            cache=cache,
            group_column=group_column,
        )
    elif found.kind in _FILES:
        listing, bad_rows = _listing(found, skip_bad, wanted, measured=division is None)
        listing = listing.grouped(group_column)
        splits = read_listing(
            listing, **form._asdict(), division=division, skip_bad=skip_bad, cache=cache, bad_rows=bad_rows
        )
    elif found.kind == "FER2013":
        splits = read_fer(found.path, division=division, skip_bad=skip_bad)
    elif found.kind == "IDX":
        splits = read_idx(found.path, division=division)
    elif found.kind == "fetched":
        splits = read_fetched(str(data), division=division)
    else:
        from ptapp_vision.data.built_in import load_faces  # it takes Images and Splits from here

        splits = load_faces(wanted.kind)
    return splits.conform(size, channels)


class Form(NamedTuple):
    """How images are read; None leaves a size or channels as the data has them."""

    size: int | None
    channels: int | None
    span: Span | Literal["own"] | None = "own"

    @classmethod
    def of(cls, card: Card) -> Self:
        """The form of the images that a run was trained on, from its card."""
        return cls(card.size, card.channels, card.span)


def load_for(
    job: TrainVision, form: Form, *, before: Members | None = None, other: str | None = None, skip_bad: bool = False
) -> Splits:
    """The data of a job with images of a form; samples that are in `before` stay in their splits.

    Or `other` data, which is only measured, and divided no further than it is.
    """
    wanted = wanted_of(job)
    kind = find(other or job.data, wanted).kind
    usual = type(job).model_fields
    if other is None:
        names = ("workers", "split", "allow_duplicates")
        changed = [name for name in names if getattr(job, name) != usual[name].get_default()]
        _refuse_idle(kind, [flag(name) for name in changed])
    # Of what the job asked for, that which does nothing with the other data is no mistake.
    skip_bad = skip_bad or (job.skip_bad and (other is None or kind in _ONLY["--skip-bad"][0]))
    return load(
        other or job.data,
        **form._asdict(),
        division=division_of(job, before) if other is None else None,
        group_column=job.group_column if other is None else AUTO,
        skip_bad=skip_bad,
        cache=job.cache if other is None or kind in _FILES else "auto",
        wanted=wanted,
    )


def _refuse_idle(kind: DataKind, given: Iterable[str]) -> None:
    for name in given:
        kinds, what = _ONLY[name]
        if kind not in kinds:
            raise UserError(f"{name} does nothing here: it is for {what}; leave it out")


def _refuse_unlike(kind: DataKind, data: str | None, wanted: Wanted) -> None:
    """Refuses labels, numbers, masks and columns of data that has classes alone."""
    if kind in ("IDX", "FER2013", "fetched") and wanted.kind != CLASSIFY:
        remedy = "a folder of images and masks" if wanted.kind == SEGMENT else "a manifest with the targets"
        raise UserError(f"--task {wanted.kind}: {data} has one class an image; give {remedy}")
    if kind not in _FILES and wanted.columns:
        raise UserError(
            f"--label-column {JOINS.join(wanted.columns)} does nothing here: it is for manifests; leave it out"
        )


def _of_file(path: Path, wanted: Wanted) -> Found:
    is_table = path.name.lower().endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz"))
    if is_manifest(path, wanted):
        return Found("manifest", path)
    if is_table:
        refuse_columns_of_pixels(path)
        return Found("FER2013" if has_pixels(path) else "manifest", path)
    if "-ubyte" in path.name:
        return Found("IDX", path.parent)
    kind = "one image" if path.suffix.lower() in IMAGES.suffixes else "data of no known kind"
    raise UserError(f"{path}: {kind}; expected {_EXPECTED}")


def _in_folder(path: Path, wanted: Wanted) -> Found:
    entries = visible(path)
    tables = [entry for entry in entries if entry.name.lower().endswith((".csv", ".csv.gz"))]
    faces = [table for table in tables if has_fer_header(table)]
    manifests = [entry for entry in entries if is_manifest(entry, wanted)]
    kinds: tuple[tuple[DataKind, list[Path], str], ...] = (
        ("IDX", find_idx(path), "data set"),
        ("FER2013", faces, "data set"),
        ("manifest", manifests, "manifest"),
    )
    for kind, found, what in kinds:
        if len(found) > 1:
            raise UserError(f"{path}: more than one {what} in it; choose one of {', '.join(map(str, found))}")
        if found:
            return Found(kind, found[0])
    if not entries:
        raise UserError(f"{path}: is empty; expected {_EXPECTED}")
    return _of_file(tables[0], wanted) if entries == tables else Found("folder", path)


def _listing(found: Found, skip_bad: bool, wanted: Wanted, *, measured: bool) -> tuple[Listing, list[str]]:
    """The image files, and "row: reason" of each row of a manifest that was left out."""
    if found.kind == "manifest":
        return read_manifest(found.path, IMAGES, segments=False, skip_bad=skip_bad, wanted=wanted)
    listing = read_known(found.path) or list_folder(found.path, need_train=not measured)
    return as_wanted(listing, wanted), []
