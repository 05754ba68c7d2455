"""Sounds to train on, recognised from what is there: a path, or nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch

from ptapp_audio.clips import Clips, Store
from ptapp_audio.config import TrainAudio
from ptapp_audio.folder import has_lists, read_folder, read_lists
from ptapp_audio.listing import Listing
from ptapp_audio.manifest import is_manifest, read_manifest
from ptapp_audio.named import are_named, read_named_files
from ptapp_audio.read import SUFFIXES, Remarks, read_files, usual
from ptapp_audio.splits import Splits
from ptapp_core.errors import UserError, counted
from ptapp_core.files import file_digests, visible
from ptapp_core.folders import files_below
from ptapp_core.jobs import division_of
from ptapp_core.members import Members
from ptapp_core.memory import free_memory
from ptapp_core.split import BY_HASH, SPLITS, Division, Known, Samples, assign

T = TypeVar("T")
Cache = Literal["auto", "memory", "disk"]
HIGHEST = 16_000
"""The rate that sounds are brought down to where none is asked for: what most models were made for."""
_EXPECTED = "a folder with a folder for each class, one of files named CLASS_SPEAKER_TAKE, or a CSV manifest"


def load(
    data: str | None,
    *,
    rate: int | None = None,
    division: Division | None = BY_HASH,
    skip_bad: bool = False,
    cache: Cache = "auto",
    split_by: Literal["take", "speaker"] = "take",
) -> Splits:
    """Train, val and test clips from a path; None is the sounds that the program makes.

    Clips are int16 at `rate` (None: the most frequent of the data, at most 16 kHz). See `split.assign` for how they
    are divided; `skip_bad` leaves bad samples out and names them in `skipped`. Raises UserError, on one line that
    names the file or row, where the data is missing, broken, or of no known kind.
    """
    if data is None:
        from ptapp_audio.synth import made

        listing, clips, own = made(rate or HIGHEST)
        return _divided(listing, clips, own, division=division, made=True)
    listing, bad_rows = recognise(data, split_by=split_by, skip_bad=skip_bad)
    if split_by == "speaker" and not listing.fold_names:
        raise UserError(
            f"--split-by speaker: {data} is {listing.what}; it takes files named CLASS_SPEAKER_TAKE, all in one folder"
        )
    found, size = usual(listing.files)
    rate = rate or min(found, HIGHEST)
    on_disk = cache == "disk" or (cache == "auto" and size * rate // found > free_memory() // 3)
    clips, good, bad, remarks = _read(listing, rate, on_disk)
    if bad and not skip_bad:
        rest = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{rest}; leave such sounds out with --skip-bad")
    listing = _only(listing, good)
    if division is not None:
        for label in sorted(set(range(len(listing.classes))) - set(listing.labels)):
            raise UserError(f"{listing.where}: class {listing.classes[label]!r}: none of its sounds can be read")
    return _divided(
        listing, clips, rate, division=division, skipped=[*bad_rows, *bad], on_disk=on_disk, remarks=remarks
    )


def load_for(
    settings: TrainAudio,
    *,
    rate: int | None = None,
    run: Path | None = None,
    other: str | None = None,
    skip_bad: bool = False,
) -> Splits:
    """The data that the settings name, at their rate or another; the samples of their `run` stay in their splits.

    Or `other` data, which is only measured, and divided no further than it is.
    """
    return load(
        other or settings.data,
        rate=rate or settings.rate,
        division=division_of(settings, run, val=settings.val) if other is None else None,
        skip_bad=skip_bad or settings.skip_bad,
        cache=settings.cache,
        split_by=settings.split_by if other is None else "take",
    )


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


def _read(listing: Listing, rate: int, on_disk: bool) -> tuple[Clips, list[int], list[str], list[str]]:
    """The clips that can be read, which files those are, "name: reason" of the others, and remarks on the good."""
    store, starts, lengths = Store(on_disk), [], []
    good: list[int] = []
    bad: list[str] = []
    remarks = Remarks()
    for row, sound in enumerate(read_files(listing.files, rate)):
        if isinstance(sound, str):
            bad.append(f"{listing.files[row]}: {sound}")
            continue
        good.append(row)
        starts.append(store.add(sound.samples))
        lengths.append(len(sound.samples))
        remarks.add(listing.files[row], sound)
    if not good:
        raise UserError(f"{bad[0]}, and so are all the other {len(bad) - 1:,}" if len(bad) > 1 else bad[0])
    labels = torch.tensor([listing.labels[row] for row in good])
    names = [listing.names[row] for row in good]
    clips = Clips(store.block(), torch.tensor(starts), torch.tensor(lengths), labels, names)
    return clips, good, bad, remarks.lines()


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
    *,
    division: Division | None,
    skipped: Sequence[str] = (),
    made: bool = False,
    on_disk: bool = False,
    remarks: Sequence[str] = (),
) -> Splits:
    digests = [] if made else file_digests(listing.files)
    samples = Samples(listing.names, listing.names, digests, listing.groups or ())
    known = Known(listing.where, listing.labels, listing.classes, listing.parts or (), listing.folds or ())
    assigned = assign(samples, known, division)
    rows = {split: assigned.rows(split) for split in SPLITS}
    sizes = ", ".join(f"{len(own):,} {name}" for name, own in rows.items())
    seconds = clips.lengths.double() / rate
    about = f"{listing.where}, {listing.what}: " if not made else f"{listing.what}: "
    about += f"{sizes}; {len(listing.classes)} classes; {seconds.min():.3g} to {seconds.max():.3g} s at {rate:,} Hz, "
    about += f"{'mapped from disk' if on_disk else 'in memory'}"
    about += "".join(f"; {each}" for each in (assigned.note, *remarks) if each)
    if skipped:
        about += f"; {counted(len(skipped), 'bad sample')} left out"
    train, val, test = (clips.take(torch.tensor(rows[name], dtype=torch.int64)) for name in SPLITS)
    members = Members.of((split, samples.take(rows[split])) for split in SPLITS)
    return Splits(train, val, test, listing.classes, rate, about, made, tuple(skipped), members)
