"""A folder for each class: divided into train/ val/ test/ already, or not. How images and audio come."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from ptapp_core.data.columns import hint_on_tables
from ptapp_core.data.files import visible
from ptapp_core.data.layout import (
    MANIFEST,
    classes_below,
    folders_in,
    note_on_people,
    refuse_other_levels,
    split_folders,
    unpacked_twice,
)
from ptapp_core.data.listing import Listing
from ptapp_core.data.pieces import note_on_pieces, pieces_of
from ptapp_core.data.split import SplitName
from ptapp_core.data.unread import FileType, left_out
from ptapp_core.errors import UserError


def files_below(folder: Path, kind: FileType) -> list[Path]:
    """Every sample at or below `folder`, by path, without hidden files and folders; see `unread` for the others."""
    found: list[Path] = []
    for entry in visible(folder):
        if entry.is_dir() and not entry.is_symlink():  # a link to a folder above would never end
            found += files_below(entry, kind)
        elif kind.takes(entry):
            found.append(entry)
    return found


def files_named(paths: Sequence[Path], kind: FileType) -> Iterator[Path]:
    """The files among `paths`, and of each folder those below it; raises UserError for a folder without any."""
    for path in paths:
        if path.is_dir():
            found = files_below(path, kind)
            if not found:
                raise UserError(f"{path}: holds no {kind.name} file{_but(path, kind)}")
            yield from found
        else:
            yield path  # a file that is missing is for its reader to name


def files_of_classes(folder: Path, kind: FileType) -> dict[str, list[Path]]:
    """The files of each class folder, by its name in NFC; raises UserError where there is none at all."""
    entries = visible(folder)
    by_class: dict[str, list[Path]] = {}
    for entry in entries:
        if entry.is_dir():  # macOS and others write one name in two ways, which no reader could distinguish
            by_class.setdefault(normalize("NFC", entry.name), []).extend(files_below(entry, kind))
    if not any(by_class.values()):
        loose = any(entry.suffix.lower() in kind.suffixes for entry in entries)
        why = "they lie in no class's folder" if loose else f"known: {' '.join(sorted(kind.suffixes))}"
        expected = f"expected {folder.name}/CLASS/{kind.name.upper()} ({why}), or {MANIFEST}"
        raise UserError(f"{folder}: no {kind.name}s of any class; {expected}{_but(folder, kind)}")
    return by_class


def list_classes(root: Path, kind: FileType, *, need_train: bool = True) -> Listing:
    """The files of class folders as a listing, see `files_of_splits`; classes go by name, pieces are groups."""
    try:
        listed = files_of_splits(root, kind, need_train=need_train)
    except UserError as error:
        raise UserError(f"{error}{hint_on_tables(root)}") from error
    classes = tuple(sorted({name for by_class in listed.values() for name in by_class}))
    rows = [
        (file, classes.index(name), split)
        for split, by_class in listed.items()
        for name in sorted(by_class)
        for file in by_class[name]
    ]
    files, labels = [file for file, _, _ in rows], [label for _, label, _ in rows]
    names = [file.relative_to(root).as_posix() for file in files]
    groups = pieces_of(names, [(label, split) for _, label, split in rows])
    note = note_on_people(classes)
    return Listing(
        root,
        "a folder per class",
        files,
        names,
        labels,
        classes,
        [split for _, _, split in rows] if set(listed) != {"train"} else None,
        groups=groups,
        notes=(note,) if note else (),
        group_note=note_on_pieces(groups) if groups else "",
    )


def files_of_splits(
    root: Path, kind: FileType, *, need_train: bool = True, splits: Mapping[Path, SplitName] | None = None
) -> dict[SplitName, dict[str, list[Path]]]:
    """Files by split and class; where the folder is not divided, all of it is train.

    `splits`: the folders that are splits, where they are known to be; else their names say it.

    Raises UserError where the folders are no classes, a class has no training file, or a split has a class that train
    lacks; without `need_train` the folder may have no train/ at all.
    """
    known = splits or split_folders(root)
    named = {unpacked_twice(folder, split): split for folder, split in known.items()} or {root: "train"}
    if need_train and "train" not in named.values():
        raise UserError(f"{root}: has {', '.join(folder.name for folder in folders_in(root))} but no train/ folder")
    for folder, split in named.items():
        _refuse_flat(folder, split, kind)
        refuse_other_levels(folder, kind)
    listed = {split: files_of_classes(folder, kind) for folder, split in named.items()}
    if "train" not in listed:
        return listed
    for name, files in sorted(listed["train"].items()):
        if not files:
            train = next(folder for folder, split in named.items() if split == "train")
            folder = next(entry for entry in folders_in(train) if normalize("NFC", entry.name) == name)
            raise UserError(
                f"{root}: class folder {name!r} has no training {kind.name}s; fill it or remove it"
                f"{_or_inside(train)}{_but(folder, kind)}"
            )
    for split, by_class in listed.items():
        for name in by_class:
            if name not in listed["train"]:
                raise UserError(f"{root}: {split} has a class {name!r} that train lacks")
    return listed


def _refuse_flat(folder: Path, split: SplitName, kind: FileType) -> None:
    """Refuses a split other than train whose samples lie in no class's folder: there is nothing to compare with."""
    entries = visible(folder)
    if split != "train" and entries and not folders_in(folder) and any(map(kind.takes, entries)):
        raise UserError(
            f"{folder}: its {kind.name}s are in no class's folder, so nothing can be measured on them; move {folder} "
            f"away, or its {kind.name}s to {folder.name}/CLASS/"
        )


def _or_inside(folder: Path) -> str:
    """What else to give where one folder of several holds the classes, as the rest of a message."""
    inside = [place for each in folders_in(folder) if (place := classes_below(each))]
    return f", or give --data {inside[0]} if that holds the classes" if len(inside) == 1 else ""


def _but(folder: Path, kind: FileType) -> str:
    """What a folder without samples holds in their place, as the rest of a message."""
    found = left_out([folder], (), kind)
    return f"; {found.lines()[0]}" if found.unread else ""
