"""A manifest: a table with a row per sample, with its file, its class, and where there are any its split and group."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ptapp_core.data.columns import FILE, FOLD, LABEL, SPLIT, fits, groups_among, is_group, named, plain, what_lacks
from ptapp_core.data.files import visible
from ptapp_core.data.listing import Listing, Span
from ptapp_core.data.pieces import note_on_pieces, pieces_of
from ptapp_core.data.several_columns import columns_of
from ptapp_core.data.split import SplitName
from ptapp_core.data.split_columns import SplitColumns
from ptapp_core.data.table import Table, header_of, read_table
from ptapp_core.data.target_columns import several_flags
from ptapp_core.data.targets import CLASSES, CLASSIFY, Target, Wanted
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError, placed

START = (
    "start", "onset", "begin", "start_time", "begin_time", "start_s", "start_sec", "start_seconds", "onset_s", "t_min",
    "tmin", "xmin", "t_start", "time_start", "segment_start",
)  # fmt: skip
END = (
    "end", "offset", "stop", "end_time", "stop_time", "end_s", "end_sec", "end_seconds", "offset_s", "t_max", "tmax",
    "xmax", "t_end", "time_end", "segment_end",
)  # fmt: skip
DURATION = ("duration", "duration_s", "length_s")
FILE_OFFSET = ("file_offset",)
"""Raven's column for where a segment begins in its file; its others count from the first of several files."""
_ENDS = frozenset(("start", "end", "onset", "offset", "begin", "stop"))
_OF_TIMES = _ENDS | {
    "time", "t", "s", "sec", "secs", "seconds", "ms", "msec", "milliseconds", "us", "minutes", "sample", "samples",
    "frame", "frames", "index", "idx", "pos", "position", "segment", "clip", "event", "call", "audio",
}  # fmt: skip
"""Words of which the name of a column consists that may say where a segment begins or ends."""
_OF_A_RECORDING = "fsid"  # with UrbanSound8K's column, start and end are of the recording, not of the file
_NEAR = ("audio", "images")  # folders beside a manifest, or beside its folder, that may hold its files


def is_manifest(file: Path, wanted: Wanted = CLASSES) -> bool:
    """Whether a file is a table with the columns of a manifest, from which what is wanted can be learned."""
    fitting = partial(fits, wanted=wanted)
    return fitting(header_of(file, fitting))


@dataclass(frozen=True)
class _Row:
    number: int
    file: Path
    name: str
    label: str
    target: Target | None
    split: SplitName | None
    fold: int | None
    span: Span | None
    cells: list[str]


def read_manifest(
    file: Path, kind: FileType, *, segments: bool, skip_bad: bool = False, wanted: Wanted = CLASSES
) -> tuple[Listing, list[str]]:
    """The samples of a manifest, and of each row that was left out "row: reason".

    Paths are relative to the manifest, to audio/ or images/ beside it or beside its folder, or are names that one file
    at or below these alone has, with or without its suffix. `segments`: columns of times are the part of the file that
    a row is about. Raises UserError, naming the row, for a missing file or class, a fold that is no number, more than
    one class of a sample, or a row that is there twice; `skip_bad` leaves rows out of which a cell is bad.
    """
    table = read_table(file, partial(fits, wanted=wanted))
    manifest = _Manifest(file, table, kind, wanted, segments=segments)
    skipped = list(manifest.table.ragged)
    if skipped and not skip_bad:
        raise UserError(f"{skipped[0]}; leave such rows out with --skip-bad")
    manifest.target.refuse_what_is_no_class()
    rows: list[_Row] = []
    for number, cells in manifest.table.rows:
        try:
            rows.append(manifest.row(number, cells))
        except UserError as error:
            if not skip_bad:
                raise UserError(f"{error}; leave such rows out with --skip-bad") from None
            skipped.append(str(error))
    if not rows:
        raise UserError(f"{file}: no row that can be used" + (f" (the first: {skipped[0]})" if skipped else ""))
    _refuse_rows_at_odds(file, rows, one_class=wanted.kind == CLASSIFY)
    return manifest.listing(rows), skipped


class _Manifest:
    """A table while its rows are read."""

    def __init__(self, where: Path, table: Table, kind: FileType, wanted: Wanted, *, segments: bool) -> None:
        self.where, self.table, self.kind = where, table, kind
        self.names = list(map(plain, table.header))
        self.divides = SplitColumns(table)
        self.columns: dict[str, int | None] = {"file": self._find(FILE)}
        if not fits(table.header, wanted):
            raise UserError(f"{where}:1: not a manifest: {self._what_it_lacks(wanted)}")
        if segments and _OF_A_RECORDING not in self.names:
            self._find_times()
        self.target = columns_of(where, table, wanted, taken=self._taken)

    @property
    def _taken(self) -> set[int]:
        """The positions of the columns that say something else than the target."""
        known = {place for place, name in enumerate(self.names) if name in (*FILE, *FOLD, *SPLIT) or is_group(name)}
        return known | self._read

    @property
    def _read(self) -> set[int]:
        """The positions of those that are read."""
        return {place for place in (*self.columns.values(), *self.divides.places) if place is not None}

    def _find(self, known: Sequence[str]) -> int | None:
        return next((self.names.index(name) for name in known if name in self.names), None)

    def _what_it_lacks(self, wanted: Wanted) -> str:
        hot = several_flags(self.table, self._taken) if self.columns["file"] is not None else ""
        return hot or what_lacks(self.table.header, wanted)

    def _find_times(self) -> None:
        known = {"start": START, "end": END, "duration": DURATION, "file_offset": FILE_OFFSET}
        places = {name: self._find(names) for name, names in known.items()}
        start, end = places["start"], places["end"]
        others = set(range(len(self.names))) - set(places.values())
        strange = [self.names[place] for place in sorted(others) if _may_be_times(self.names[place])]
        if start is None and end is not None and self.names[end].startswith("offset"):
            strange.append(self.names[end])  # of its beginning or its end?
        if strange and (start is None or end is None):
            raise UserError(
                f"{self.where}:1: column {strange[0]!r}: segments are read from columns start and end, in seconds; "
                "rename or remove it"
            )
        self.columns |= {name: place for name, place in places.items() if (start, end) != (None, None)}

    def row(self, number: int, cells: list[str]) -> _Row:
        """A row with its file; raises UserError, naming the row, where a cell is bad."""

        def cell(name: str) -> str:
            place = self.columns.get(name)
            return cells[place] if place is not None else ""

        at, name = f"{self.where}:{number}", cell("file")
        path = self._resolve(at, name)
        label, target = self.target.read(number, cells, name)
        with placed(at):
            split, fold = self.divides.split_of_row(cells), self.divides.fold_of_row(cells)
        span = _span(at, cell("start"), cell("end"), cell("duration"), cell("file_offset"))
        return _Row(
            number,
            path,
            _named(name, span),
            label,
            target,
            split,
            fold,
            span,
            cells,
        )

    def _resolve(self, at: str, name: str) -> Path:
        if not name:
            raise UserError(f"{at}: no file name: no such file")
        parent = self.where.parent
        for name_here in dict.fromkeys((name, name.replace("\\", "/"))):
            for folder in (parent, *(parent / near for near in _NEAR), *(parent.parent / near for near in _NEAR)):
                if (folder / name_here).is_file():
                    return folder / name_here
        short = name.replace("\\", "/").rpartition("/")[2]
        found = self._below.get(short, []) or self._below.get(f"{short}.*", [])
        if len(found) > 1:
            raise UserError(f"{at}: {name}: which of {', '.join(map(str, found[:3]))}? give a path")
        if not found:
            raise UserError(f"{at}: {name}: no such file")
        return found[0]

    @property
    def _of_the_same_set(self) -> list[Path]:
        """The folders beside the manifest's own whose names begin alike up to a dot, as those of FSD50K do."""
        own = self.where.resolve().parent
        first, dot, _ = own.name.partition(".")
        return [
            each
            for each in visible(own.parent)
            if dot and each != own and each.is_dir() and each.name.startswith(f"{first}.")
        ]

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        """The files that a row may mean by its name alone: by name, and by `STEM.*` for a name without suffix."""
        parent = self.where.parent
        found: dict[str, list[Path]] = defaultdict(list)
        for root in (parent, *(parent.parent / near for near in _NEAR), *self._of_the_same_set):
            for file in _files(root) if root.is_dir() else ():
                if self.kind.takes(file):
                    found[file.name].append(file)
                    found[f"{file.stem}.*"].append(file)
        return found

    def listing(self, rows: Sequence[_Row]) -> Listing:
        """The samples, with groups by a column whose name is that of one, by segments of a file, or by pieces."""
        classes, labels = self._targets(rows)
        taken = {*self._read, *self.target.places}
        columns = {
            title: [row.cells[place] for row in rows]
            for place, title in enumerate(self.table.header)
            if place not in taken and title
        }
        groups, note = self._groups(rows, columns)
        splits = [row.split for row in rows]
        spans = [row.span for row in rows]
        return Listing(
            self.where,
            "a manifest",
            [row.file for row in rows],
            [row.name for row in rows],
            labels,
            classes,
            [split for split in splits if split] if all(splits) else None,
            [row.fold for row in rows if row.fold is not None] if self.divides.fold is not None else None,
            groups,
            spans=spans if any(spans) else None,
            columns=columns,
            notes=self._notes(),
            group_note=note,
            unread=self._unread(columns),
            kind=self.target.kind,
        )

    def _targets(self, rows: Sequence[_Row]) -> tuple[tuple[str, ...], list[Target]]:
        """The names of the classes or of the target's columns, and the target of each row."""
        found = [row.target for row in rows if row.target is not None]
        if found:
            return self.target.names, found
        names = {row.label for row in rows}
        classes = tuple(sorted(names, key=lambda name: (len(name) if name.isdigit() else 1000, name)))
        return classes, [classes.index(row.label) for row in rows]

    def _notes(self) -> tuple[str, ...]:
        """What was decided about columns, where others could have been taken."""
        others, note = self._other_labels(), self.target.note
        notes = (note,) if note else ()
        if not others:
            return notes
        title, what = named(self.target.titles), "class" if self.target.kind == CLASSIFY else "target"
        return (*notes, f"column {title} is taken as the {what}, not {' or '.join(others)}: --label-column chooses")

    def _other_labels(self) -> list[str]:
        """The columns beside the class that would be taken as such if it were not there."""
        return [
            title
            for place, title in enumerate(self.table.header)
            if self.names[place] in LABEL and place not in self.target.places
        ]

    def _unread(self, columns: dict[str, list[str]]) -> tuple[str, ...]:
        """The columns of which nothing is said otherwise; a group of one value is none."""
        said = self._other_labels()
        return tuple(
            title
            for title, values in columns.items()
            if title not in said and not (is_group(title) and len(set(values)) > 1)
        )

    def _groups(self, rows: Sequence[_Row], columns: dict[str, list[str]]) -> tuple[list[str] | None, str]:
        known = groups_among(columns)
        if known:
            others = f", not {' or '.join(known[1:])}: --group-column chooses" if known[1:] else ""
            note = f"column {known[0]} is taken as the group that stays in one split{others}"
            # a row without a value is a group of its own
            return [cell or row.name for cell, row in zip(columns[known[0]], rows, strict=True)], note
        if any(row.span for row in rows):
            # From the manifest, which stays the same wherever the data lies and however its path is given.
            return [os.path.relpath(row.file, self.where.parent) for row in rows], ""
        # Labels and numbers tell apart no classes, in which a stem could be the only one.
        classes = [row.label if self.target.kind == CLASSIFY else "" for row in rows]
        pieces = pieces_of(
            [row.name for row in rows], [(own, row.split) for own, row in zip(classes, rows, strict=True)]
        )
        return pieces, note_on_pieces(pieces) if pieces else ""


def _may_be_times(name: str) -> bool:
    words = set(name.split("_"))
    return words <= _OF_TIMES and not words.isdisjoint(_ENDS)


def _files(folder: Path) -> Iterator[Path]:
    for entry in visible(folder):
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():  # a link to a folder above would never end
            yield from _files(entry)


def _named(name: str, span: Span | None) -> str:
    """`a.wav[1.0-2.5]` for a segment."""
    return name if span is None else f"{name}[{span[0]}-{'' if span[1] is None else span[1]}]"


def _span(at: str, start: str, end: str, duration: str, file_offset: str) -> Span | None:
    """The segment of a row, None for all of its file."""
    if not start and not end:
        return None
    begin, stop = _seconds(at, start or "0"), _seconds(at, end) if end else None
    if stop is None and duration:
        stop = begin + _seconds(at, duration)
    if file_offset:
        moved = _seconds(at, file_offset) - begin
        begin, stop = begin + moved, None if stop is None else stop + moved
    if stop is not None and stop <= begin:
        raise UserError(f"{at}: the segment ends at {stop:g} s, and begins at {begin:g} s")
    return begin, stop


def _seconds(at: str, text: str) -> float:
    """`2.5`, `2,5` or `0:00:02.5` in seconds."""
    parts = text.replace(",", ".").split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = [-1.0]
    if len(values) > 3 or not all(0 <= value < 1e9 for value in values):
        raise UserError(f"{at}: {text!r} is no time in seconds")
    return sum(value * 60**place for place, value in enumerate(reversed(values)))


def _refuse_rows_at_odds(file: Path, rows: Sequence[_Row], *, one_class: bool) -> None:
    """Refuses two rows on the same part of a file, and, of classes, on overlapping parts with different ones."""
    by_file: dict[Path, list[_Row]] = defaultdict(list)
    for row in rows:
        by_file[row.file].append(row)
    for own in by_file.values():
        own.sort(key=_begin)
        for place, row in enumerate(own):
            for other in own[place + 1 :]:
                if _begin(other) >= _end(row):
                    break
                lines = " and ".join(f"{file}:{number}" for number in sorted((row.number, other.number)))
                if one_class and row.label != other.label:
                    raise UserError(
                        f"{lines}: {row.name} under {row.label!r} and {other.name} under {other.label!r}: a sample has "
                        "one class; remove one of the rows"
                    )
                if row.span == other.span:
                    raise UserError(f"{lines}: {row.name} is there twice; remove one of the rows")


def _begin(row: _Row) -> float:
    return row.span[0] if row.span else 0.0


def _end(row: _Row) -> float:
    return row.span[1] if row.span and row.span[1] is not None else float("inf")
