"""A CSV with a row for each file: its path, its class, and where there are any its fold, split and recording."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ptapp_audio.listing import recording_of
from ptapp_core.errors import UserError
from ptapp_core.layout import split_of
from ptapp_core.listing import Listing
from ptapp_core.split import SplitName

_FILE = ("filename", "file", "path")
_LABEL = ("category", "label", "class", "target")
_GROUP = ("src_file", "source", "group")


def is_manifest(file: Path) -> bool:
    """Whether a CSV has the columns of a manifest."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return _find(header, _FILE) is not None and _find(header, _LABEL) is not None


def read_manifest(file: Path, skip_bad: bool = False) -> tuple[Listing, list[str]]:
    """The files of a manifest, and of each row that was left out "row: reason".

    Paths are relative to the manifest, or to audio/ beside it. Raises UserError, naming the row, for a missing file or
    class, or a fold that is no number; `skip_bad` leaves such rows out.
    """
    rows, header = _rows(file)
    columns = {name: _find(header, names) for name, names in (("file", _FILE), ("label", _LABEL), ("group", _GROUP))}
    columns |= {name: _find(header, (name,)) for name in ("fold", "split")}
    found: list[tuple[Path, str, str, int | None, SplitName | None, str]] = []
    skipped: list[str] = []
    for number, row in rows:
        try:
            found.append(_entry(file, number, row, columns))
        except UserError as error:
            if not skip_bad:
                raise UserError(f"{error}; leave such rows out with --skip-bad") from None
            skipped.append(str(error))
    if not found:
        raise UserError(f"{file}: no row that can be used" + (f" (the first: {skipped[0]})" if skipped else ""))
    return _listing(file, found), skipped


def _listing(file: Path, found: Sequence[tuple[Path, str, str, int | None, SplitName | None, str]]) -> Listing:
    paths, names, labels, folds, parts, groups = zip(*found, strict=True)
    classes = tuple(sorted(set(labels), key=lambda name: (len(name) if name.isdigit() else 1000, name)))
    return Listing(
        file,
        "a manifest",
        paths,
        names,
        [classes.index(name) for name in labels],
        classes,
        parts if all(parts) else None,
        folds if all(fold is not None for fold in folds) else None,
        groups,
    )


def _rows(file: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Each row that is not blank with its line number, and the header."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV in UTF-8 ({error})") from error
    if _find(header, _FILE) is None or _find(header, _LABEL) is None:
        raise UserError(
            f"{file}:1: not a manifest: it needs a column {' or '.join(_FILE)} and one {' or '.join(_LABEL)}"
        )
    return rows, header


def _entry(
    file: Path, number: int, row: list[str], columns: dict[str, int | None]
) -> tuple[Path, str, str, int | None, SplitName | None, str]:
    """(path, name, class, fold, split, recording) of a row."""

    def cell(name: str) -> str:
        place = columns[name]
        return row[place].strip() if place is not None and place < len(row) else ""

    name, label, fold, part = cell("file"), cell("label"), cell("fold"), cell("split").lower()
    path = next((each for each in (file.parent / name, file.parent / "audio" / name) if each.is_file()), None)
    if not name or path is None:
        raise UserError(f"{file}:{number}: {name or 'no file name'}: no such file")
    if not label:
        raise UserError(f"{file}:{number}: {name} has no class")
    if columns["fold"] is not None and not fold.isdecimal():
        raise UserError(f"{file}:{number}: fold {fold!r} is not a number")
    if columns["split"] is not None and split_of(part) is None:
        raise UserError(f"{file}:{number}: split {part!r} is none of train, val, test")
    group = cell("group") or recording_of(path, name)
    return path, name, label, int(fold) if fold else None, split_of(part), group


def _find(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The column with one of these names, the first of them that is there."""
    lower = [cell.strip().lower() for cell in header]
    return next((lower.index(name) for name in names if name in lower), None)
