"""Clips to train on, recognised from what is there: a path, or nothing."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from ptapp_audio.config import TrainAudio
from ptapp_audio.data.clips import Clips, Store
from ptapp_audio.data.folder import has_lists, read_folder, read_lists
from ptapp_audio.data.known import NO_MANIFEST, read_known, without_fold
from ptapp_audio.data.manifest import read_manifest
from ptapp_audio.data.read import SOUNDS, Remarks, look, read_files, stored_as, usual
from ptapp_audio.data.splits import Splits
from ptapp_core.data.class_folders import files_below
from ptapp_core.data.files import file_digests, visible
from ptapp_core.data.folder_targets import as_wanted
from ptapp_core.data.listing import AUTO, Listing, Span
from ptapp_core.data.loader import target_tensor
from ptapp_core.data.manifest import is_manifest
from ptapp_core.data.members import Members
from ptapp_core.data.split import BY_HASH, SPLITS, Division, Known, Samples, assign, digest
from ptapp_core.data.targets import CLASSES, CLASSIFY, JOINS, Wanted, note_on_single, refuse_single, said_of, text_of
from ptapp_core.data.telltale import telltale
from ptapp_core.data.unread import left_out
from ptapp_core.errors import UserError, counted
from ptapp_core.jobs import division_of
from ptapp_core.kinds.known import wanted_of
from ptapp_core.machine.memory import free_memory

Cache = Literal["auto", "memory", "disk"]
HIGHEST = 16_000
"""The rate that audio is brought down to where none is asked for: what most models were made for."""
TAKE = "take"
"""The value of `--split-by` for the splits of the data itself."""
_EXPECTED = "a folder with a folder for each class, one of files named CLASS_SPEAKER_TAKE, or a CSV manifest"
_ROUNDED = 0.05  # seconds that the end of a segment may lie beyond its file
_LOOKED_AT = 50  # files of each class whose headers are read for their rate


def load(
    data: str | None,
    *,
    rate: int | None = None,
    division: Division | None = BY_HASH,
    skip_bad: bool = False,
    cache: Cache = "auto",
    split_by: str = TAKE,
    group_column: str | None = AUTO,
    wanted: Wanted = CLASSES,
) -> Splits:
    """Train, val and test clips from a path; None is the clips that the program makes.

    Clips are int16 at `rate` (None: the most frequent of the data, at most 16 kHz). See `split.assign` for how they
    are divided; `skip_bad` leaves bad samples out and names them in `skipped`. Raises UserError, on one line that
    names the file or row, where the data is missing, broken, or of no known kind.
    """
    if data is None:
        from ptapp_audio.data.built_in import made

        if wanted.columns:
            raise UserError(
                f"--label-column {JOINS.join(wanted.columns)} does nothing here: it is for manifests; leave it out"
            )
        listing, clips, own = made(rate or HIGHEST, wanted.kind)
        return _divided(listing, clips, own, division=division, made=True)
    listing, bad_rows = recognise(data, split_by=split_by, group_column=group_column, skip_bad=skip_bad, wanted=wanted)
    if division and not division.before and division.val != BY_HASH.val and "val" in (listing.parts or ()):
        raise UserError(
            f"--val does nothing here: it is for data without a validation split, as {data} has; leave it out"
        )
    found, size = usual(list(dict.fromkeys(listing.files)))
    rate = rate or min(found, HIGHEST)
    on_disk = cache == "disk" or (cache == "auto" and size * rate // found > free_memory() // 3)
    clips, good, bad, remarks = _read(listing, rate, on_disk)
    if bad and not skip_bad:
        rest = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{rest}; leave such files out with --skip-bad")
    listing = listing.take(good)
    if division is not None:
        classes = range(len(listing.classes)) if listing.kind == CLASSIFY else ()
        for label in sorted(set(classes) - set(listing.class_numbers)):
            raise UserError(f"{listing.where}: class {listing.classes[label]!r}: none of its clips can be read")
    return _divided(
        listing, clips, rate, division=division, skipped=[*bad_rows, *bad], on_disk=on_disk, remarks=remarks
    )


def load_for(
    settings: TrainAudio,
    *,
    rate: int | None = None,
    before: Members | None = None,
    other: str | None = None,
    skip_bad: bool = False,
) -> Splits:
    """The data that the settings name, at their rate or another; samples that are in `before` stay in their splits.

    Or `other` data, which is only measured, and divided no further than it is.
    """
    return load(
        other or settings.data,
        rate=rate or settings.rate,
        division=division_of(settings, before, val=settings.val) if other is None else None,
        skip_bad=skip_bad or settings.skip_bad,
        cache=settings.cache,
        split_by=settings.split_by if other is None else TAKE,
        group_column=settings.group_column if other is None else AUTO,
        wanted=wanted_of(settings),
    )


def recognise(
    data: str,
    *,
    split_by: str = TAKE,
    group_column: str | None = AUTO,
    skip_bad: bool = False,
    wanted: Wanted = CLASSES,
) -> tuple[Listing, list[str]]:
    """What a path holds, and "row: reason" for each row of a manifest that was left out.

    `group_column` is the column whose samples stay together (None: no groups), `split_by` one that takes the place of
    the data's own splits as well.
    """
    listing, bad_rows = _recognise(data, skip_bad, wanted)
    listing = listing.grouped(group_column)
    return (listing if split_by == TAKE else listing.split_by(split_by)), bad_rows


def _recognise(data: str, skip_bad: bool, wanted: Wanted) -> tuple[Listing, list[str]]:
    path = Path(data).expanduser()
    if not os.path.exists(path):
        raise UserError(f"--data {data}: no such file or folder")
    if not path.is_dir():
        if is_manifest(path, wanted) or path.name.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
            return read_manifest(path, skip_bad, wanted)
        kind = "one sound" if path.suffix.lower() in SOUNDS.suffixes else "data of no known kind"
        raise UserError(f"{path}: {kind}; expected {_EXPECTED}")
    entries = visible(path)
    tables = [entry for entry in entries if is_manifest(entry, wanted) and not NO_MANIFEST.fullmatch(entry.name)]
    if len(tables) > 1:
        raise UserError(f"{path}: more than one manifest in it; choose one of {', '.join(map(str, tables))}")
    if tables:
        return read_manifest(tables[0], skip_bad, wanted)
    if not entries:
        raise UserError(f"{path}: is empty; expected {_EXPECTED}")
    if has_lists(path):
        return as_wanted(read_lists(path), wanted), []
    if known := read_known(path, files_below(path, SOUNDS)):
        return as_wanted(known, wanted), []
    listing = as_wanted(read_folder(path), wanted)
    return replace(listing, notes=(*listing.notes, *left_out([path], listing.files, SOUNDS).lines())), []


def _read(listing: Listing, rate: int, on_disk: bool) -> tuple[Clips, list[int], list[str], list[str]]:
    """The clips that can be read, which rows those are, "name: reason" of the others, and remarks on the good."""
    store = Store(on_disk)
    rows_of: dict[Path, list[int]] = {}
    for row, file in enumerate(listing.files):
        rows_of.setdefault(file, []).append(row)
    files = list(rows_of)
    places: dict[int, tuple[int, int]] = {}  # row -> where its clip begins in the store, and its length
    reasons: dict[int, str] = {}
    remarks = Remarks()
    for file, sound in zip(files, read_files(files, rate), strict=True):
        if isinstance(sound, str):
            reasons |= {row: f"{listing.files[row]}: {sound}" for row in rows_of[file]}
            continue
        start, length = store.add(sound.samples), len(sound.samples)
        remarks.add(file, sound)
        for row in rows_of[file]:
            span = listing.spans[row] if listing.spans else None
            first, size = segment(span, length, rate)
            if size <= 0:
                long = f"the file is {length / rate:.3f} s long"
                reasons[row] = f"{listing.where}: {listing.names[row]}: {long}; correct the row's end"
            else:
                places[row] = start + first, size
    bad = [reasons[row] for row in sorted(reasons)]
    if not places:
        raise UserError(f"{bad[0]}, and so are all the other {len(bad) - 1:,}" if len(bad) > 1 else bad[0])
    good = sorted(places)
    starts, lengths = (torch.tensor([places[row][part] for row in good]) for part in range(2))
    labels = target_tensor([listing.labels[row] for row in good])
    clips = Clips(store.block(), starts, lengths, labels, [listing.names[row] for row in good])
    return clips, good, bad, remarks.lines()


def segment(span: Span | None, length: int, rate: int) -> tuple[int, int]:
    """(first sample, number of samples) of a segment in a clip of `length` samples.

    The number is 0 where the segment ends later than the clip by more than its times may be rounded by.
    """
    begin, end = span or (0.0, None)
    first, last = round(begin * rate), length if end is None else round(end * rate)
    if last > length + _ROUNDED * rate:
        return first, 0
    return first, max(min(last, length) - first, 0)


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
    samples = Samples(listing.names, listing.names, [] if made else _digests(listing), listing.groups or ())
    classes = listing.classes if listing.kind == CLASSIFY else ()
    known = Known(listing.where, listing.class_numbers, classes, listing.parts or (), listing.folds or ())
    with listing.explained():
        assigned = assign(samples, known, division)
    rows = {split: assigned.rows(split) for split in SPLITS}
    sizes = ", ".join(f"{len(own):,} {name}" for name, own in rows.items())
    seconds = clips.lengths.double() / rate
    what = listing.what if division is None or division.fold is None else without_fold(listing.what)
    about = f"{listing.where}, {what}: " if not made else f"{what}: "
    about += f"{sizes}; {said_of(listing.kind, listing.classes)}; {_range(seconds)} s at "
    about += f"{rate:,} Hz, {'mapped from disk' if on_disk else 'in memory'}"
    about += "".join(f"; {each}" for each in (assigned.note, *remarks) if each)
    if skipped:
        about += f"; {counted(len(skipped), 'bad sample')} left out"
    train, val, test = (clips.take(torch.tensor(rows[name], dtype=torch.int64)) for name in SPLITS)
    named = [text_of(listing.kind, label, listing.classes) for label in listing.labels]
    if division is not None and listing.kind != CLASSIFY:
        refuse_single(listing.where, listing.kind, train.labels.tolist(), names=listing.classes)
        listing = replace(listing, notes=(*listing.notes, *note_on_single(listing.kind, train.labels.tolist())))
    members = Members.of((split, samples.take(own), [named[row] for row in own]) for split, own in rows.items())
    notes = listing.said if made or listing.kind != CLASSIFY else (*listing.said, *_telltales(listing, clips, rate))
    return Splits(train, val, test, listing.classes, rate, about, made, tuple(skipped), notes, members)


def _range(seconds: torch.Tensor) -> str:
    """`0.5 to 2`, or `5` where all round to that."""
    return " to ".join(dict.fromkeys(f"{end:.3g}" for end in (float(seconds.min()), float(seconds.max()))))


def _digests(listing: Listing) -> list[str]:
    """The digest of each sample: that of its file, or of its file and the times of its segment."""
    files = list(dict.fromkeys(listing.files))
    found = dict(zip(files, file_digests(files), strict=True))
    spans = listing.spans or [None] * len(listing.files)
    return [
        found[file] if span is None else digest(f"{found[file]} {span}".encode())
        for file, span in zip(listing.files, spans, strict=True)
    ]


def _telltales(listing: Listing, clips: Clips, rate: int) -> list[str]:
    """Lines on classes that the rate or form of their files or the length of their clips gives away."""
    counts = Counter[int]()
    rows: list[int] = []
    for row, label in enumerate(listing.class_numbers):
        counts[label] += 1
        if counts[label] <= _LOOKED_AT:
            rows.append(row)
    labels = [listing.class_numbers[row] for row in rows]
    rates = [f"{look(listing.files[row])[0]:,}" for row in rows]
    forms, channels = zip(*(stored_as(listing.files[row]) for row in rows), strict=True)
    lengths = [f"{length / rate:.2f}" for length in clips.lengths.tolist()]
    found = (
        telltale(labels, rates, listing.classes, what="a rate of {} Hz"),
        telltale(labels, forms, listing.classes, what="samples that are stored as {}"),
        telltale(labels, [each or str(row) for row, each in enumerate(channels)], listing.classes, what="{}"),
        telltale(listing.class_numbers, lengths, listing.classes, what="a length of {} s"),
    )
    return [line for line in found if line]
