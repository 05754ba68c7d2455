"""Images to train on, recognised from what is there: a path, a data set's name, or nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from ptapp_core.data.files import visible
from ptapp_core.data.listing import AUTO
from ptapp_core.data.manifest import is_manifest
from ptapp_core.data.split import BY_HASH, Division
from ptapp_core.errors import UserError, nearest
from ptapp_core.jobs import division_of
from ptapp_vision.config import TrainVision
from ptapp_vision.data.decode import IMAGES, OnDisk, Span, read_images
from ptapp_vision.data.fer import has_fer_header, read_fer
from ptapp_vision.data.folder import Cache, read_folder
from ptapp_vision.data.idx import find_idx, read_idx
from ptapp_vision.data.manifest import read_table
from ptapp_vision.data.named import SOURCES, read_named
from ptapp_vision.data.splits import Images, Splits

__all__ = ["NAMES", "Cache", "Images", "OnDisk", "Splits", "load", "load_for", "read_images"]

NAMES = ("faces", *SOURCES)
_EXPECTED = "a FER2013 CSV or a manifest, a folder with a folder for each class, or a folder of IDX files"


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
) -> Splits:
    """Train, val and test images from a path or a name in `NAMES`; None is the faces that the program draws.

    Images are uint8 (N, channels, size, size); None keeps what the data has (see `read_folder`, and for `span`). A path
    that exists is meant before a name. A missing val or test split is drawn from train as the `division` says; without
    one it is empty. `skip_bad` leaves bad samples out and names them in `skipped`; `cache` says where a folder's
    images are kept.
    Raises UserError, on one line that names the file, where the data is missing, broken, or of no known kind.
    """
    if data and os.path.exists(path := Path(data).expanduser()):
        form = Form(size, channels, span)
        splits = _recognise(path, form, division=division, group_column=group_column, skip_bad=skip_bad, cache=cache)
    elif data is None or data == "faces":
        from ptapp_vision.data.built_in import load_faces  # it takes Images and Splits from here

        splits = load_faces()
    elif data in SOURCES:
        splits = read_named(data, division=division)
    else:
        raise UserError(f"--data {data}: no such file or folder, and no data set of that name{nearest(data, NAMES)}")
    return splits.conform(size, channels)


class Form(NamedTuple):
    """How images are read; None is as the data has it."""

    size: int | None
    channels: int | None
    span: Span | Literal["own"] | None = "own"

    @classmethod
    def of(cls, card: dict[str, Any]) -> Self:
        """That of the images that a run was trained on, from its card."""
        return cls(card["size"], card["channels"], span_in(card))


def span_in(card: dict[str, Any]) -> Span | None:
    """The span of the deep grey images that a run was trained on, from its card; None where there was none."""
    if card["span"] is None:
        return None
    low, high = card["span"]
    return low, high


def load_for(
    job: TrainVision, form: Form, *, run: Path | None = None, other: str | None = None, skip_bad: bool = False
) -> Splits:
    """The data of a job with images of a form; the samples of its `run` stay in their splits.

    Or `other` data, which is only measured, and divided no further than it is.
    """
    return load(
        other or job.data,
        **form._asdict(),
        division=division_of(job, run) if other is None else None,
        group_column=job.group_column if other is None else AUTO,
        skip_bad=skip_bad or job.skip_bad,
        cache=job.cache,
    )


def _recognise(
    path: Path,
    form: Form,
    *,
    division: Division | None,
    group_column: str | None,
    skip_bad: bool,
    cache: Cache,
) -> Splits:
    def of_files(read: Callable[..., Splits], where: Path) -> Splits:
        options = {"division": division, "group_column": group_column, "skip_bad": skip_bad, "cache": cache}
        return read(where, **form._asdict(), **options)

    if not path.is_dir():
        if is_manifest(path) or path.suffix.lower() == ".tsv":
            return of_files(read_table, path)
        if ".csv" in map(str.lower, path.suffixes):
            return read_fer(path, division=division, skip_bad=skip_bad)
        if "-ubyte" in path.name:
            return read_idx(path.parent, division=division)
        kind = "one image" if path.suffix.lower() in IMAGES.suffixes else "data of no known kind"
        raise UserError(f"{path}: {kind}; expected {_EXPECTED}")

    folders = find_idx(path)
    tables = [entry for entry in visible(path) if entry.name.lower().endswith((".csv", ".csv.gz"))]
    faces = [table for table in tables if has_fer_header(table)]
    for found in (folders, faces):
        if len(found) > 1:
            raise UserError(f"{path}: more than one data set in it; choose one of {', '.join(map(str, found))}")
    if folders:
        return read_idx(folders[0], division=division)
    if faces:
        return read_fer(faces[0], division=division, skip_bad=skip_bad)
    manifests = [entry for entry in visible(path) if is_manifest(entry)]
    if len(manifests) > 1:
        raise UserError(f"{path}: more than one manifest in it; choose one of {', '.join(map(str, manifests))}")
    if manifests:
        return of_files(read_table, manifests[0])
    entries = visible(path)
    if not entries:
        raise UserError(f"{path}: is empty; expected {_EXPECTED}")
    if entries == tables:  # nothing else can be meant: say what is wrong with it as a FER2013 CSV
        return read_fer(tables[0], division=division, skip_bad=skip_bad)
    return of_files(read_folder, path)
