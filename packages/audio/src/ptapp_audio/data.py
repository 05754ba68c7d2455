"""Sounds to train on, recognised from what is there: a path, or nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from ptapp_audio.clips import Clips, Store
from ptapp_audio.config import TrainAudio
from ptapp_audio.folder import has_lists, read_folder, read_lists
from ptapp_audio.listing import Listing
from ptapp_audio.manifest import is_manifest, read_manifest
from ptapp_audio.named import are_named, read_named_files
from ptapp_audio.read import SUFFIXES, read_files, scaled_note, usual
from ptapp_audio.splits import Splits, assign
from ptapp_core.errors import UserError, counted
from ptapp_core.files import visible
from ptapp_core.folders import files_below
from ptapp_core.memory import free_memory
from ptapp_core.split import SplitName

T = TypeVar("T")
Cache = Literal["auto", "memory", "disk"]
HIGHEST = 16_000
"""The rate that sounds are brought down to where none is asked for: what most models were made for."""
_EXPECTED = "a folder with a folder for each class, one of files named CLASS_SPEAKER_TAKE, or a CSV manifest"


def load(
    data: str | None,
    *,
    rate: int | None = None,
    seed: int | None = 0,
    skip_bad: bool = False,
    cache: Cache = "auto",
    val: float = 0.1,
    split_by: Literal["take", "speaker"] = "take",
    fold: int | None = None,
    folds: int | None = None,
) -> Splits:
    """Train, val and test clips from a path; None is the sounds that the program makes.

    Clips are int16 at `rate` (None: the most frequent of the data, at most 16 kHz). See `splits.assign` for how they
    are divided; `skip_bad` leaves bad samples out and names them in `skipped`. Raises UserError, on one line that
    names the file or row, where the data is missing, broken, or of no known kind.
    """
    if data is None:
        from ptapp_audio.synth import made

        listing, clips, own = made(rate or HIGHEST)
        return _divided(listing, clips, own, (), assign(listing, fold, folds, val, seed), made=True)
    listing, bad_rows = recognise(data, split_by=split_by, skip_bad=skip_bad)
    if split_by == "speaker" and not listing.fold_names:
        raise UserError(
            f"--split-by speaker: {data} is {listing.what}; it takes files named CLASS_SPEAKER_TAKE, all in one folder"
        )
    found, size = usual(listing.files)
    rate = rate or min(found, HIGHEST)
    on_disk = cache == "disk" or (cache == "auto" and size * rate // found > free_memory() // 3)
    clips, good, bad, note = _read(listing, rate, on_disk)
    if bad and not skip_bad:
        rest = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{rest}; leave such sounds out with --skip-bad")
    listing = _only(listing, good)
    parts = assign(listing, fold, folds, val, seed)
    return _divided(listing, clips, rate, [*bad_rows, *bad], parts, on_disk=on_disk, note=note)


def load_for(settings: TrainAudio, **others: Any) -> Splits:
    """The data that the settings name; `others` take the place of their arguments."""
    arguments: dict[str, Any] = {
        "data": settings.data,
        "rate": settings.rate,
        "seed": settings.seed,
        "skip_bad": settings.skip_bad,
        "cache": settings.cache,
        "val": settings.val,
        "split_by": settings.split_by,
        "fold": settings.fold,
        "folds": settings.folds,
    }
    return load(**{**arguments, **others})


def recognise(
    data: str, *, split_by: Literal["take", "speaker"] = "take", skip_bad: bool = False
) -> tuple[Listing, list[str]]:
    """What a path holds, and "row: reason" for each row of a manifest that was left out."""
    path = Path(data).expanduser()
    if not os.path.exists(path):
        raise UserError(f"--data {data}: no such file or folder")
    if not path.is_dir():
        if path.suffix.lower() == ".csv":
            return read_manifest(path, skip_bad)
        kind = "one sound" if path.suffix.lower() in SUFFIXES else "data of no known kind"
        raise UserError(f"{path}: {kind}; expected {_EXPECTED}")
    entries = visible(path)
    tables = [entry for entry in entries if entry.suffix.lower() == ".csv" and is_manifest(entry)]
    if len(tables) > 1:
        raise UserError(f"{path}: more than one manifest in it; choose one of {', '.join(map(str, tables))}")
    if tables:
        return read_manifest(tables[0], skip_bad)
    if not entries:
        raise UserError(f"{path}: is empty; expected {_EXPECTED}")
    if has_lists(path):
        return read_lists(path), []
    files = files_below(path, SUFFIXES)
    if are_named(files):
        return read_named_files(path, files, split_by), []
    return read_folder(path), []


def _read(listing: Listing, rate: int, on_disk: bool) -> tuple[Clips, list[int], list[str], str]:
    """The clips that can be read, which files those are, "name: reason" of the others, and what was scaled."""
    store, starts, lengths = Store(on_disk), [], []
    good: list[int] = []
    bad: list[str] = []
    divisors: list[float] = []
    for row, sound in enumerate(read_files(listing.files, rate)):
        if isinstance(sound, str):
            bad.append(f"{listing.files[row]}: {sound}")
            continue
        good.append(row)
        starts.append(store.add(sound.samples))
        lengths.append(len(sound.samples))
        divisors.append(sound.divisor)
    if not good:
        raise UserError(f"{bad[0]}, and so are all the other {len(bad) - 1:,}" if len(bad) > 1 else bad[0])
    labels = torch.tensor([listing.labels[row] for row in good])
    names = [listing.names[row] for row in good]
    clips = Clips(store.block(), torch.tensor(starts), torch.tensor(lengths), labels, names)
    return clips, good, bad, scaled_note(divisors)


def _only(listing: Listing, rows: Sequence[int]) -> Listing:
    """The listing of these files alone."""
    if len(rows) == len(listing.files):
        return listing

    def some(values: Sequence[T] | None) -> list[T] | None:
        return None if values is None else [values[row] for row in rows]

    return Listing(
        listing.where,
        listing.what,
        [listing.files[row] for row in rows],
        [listing.names[row] for row in rows],
        [listing.labels[row] for row in rows],
        listing.classes,
        some(listing.parts),
        some(listing.folds),
        some(listing.groups),
        listing.fold_names,
    )


def _divided(
    listing: Listing,
    clips: Clips,
    rate: int,
    skipped: Sequence[str],
    parts: Sequence[SplitName],
    *,
    made: bool = False,
    on_disk: bool = False,
    note: str = "",
) -> Splits:
    rows = {
        name: torch.tensor([row for row, part in enumerate(parts) if part == name], dtype=torch.int64)
        for name in ("train", "val", "test")
    }
    sizes = ", ".join(f"{len(own):,} {name}" for name, own in rows.items())
    seconds = clips.lengths.double() / rate
    about = f"{listing.where}, {listing.what}: " if not made else f"{listing.what}: "
    about += f"{sizes}; {len(listing.classes)} classes; {seconds.min():.3g} to {seconds.max():.3g} s at {rate:,} Hz, "
    about += f"{'mapped from disk' if on_disk else 'in memory'}"
    if note:
        about += f"; {note}"
    if skipped:
        about += f"; {counted(len(skipped), 'bad sample')} left out"
    train, val, test = (clips.take(rows[name]) for name in ("train", "val", "test"))
    return Splits(train, val, test, listing.classes, rate, about, made, tuple(skipped))
