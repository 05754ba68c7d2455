"""A folder for each class: divided into train/ val/ test/ already, or not. How images and sounds come."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_core.files import visible
from ptapp_core.split import SplitName
from ptapp_core.unread import Kind, left_out

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def files_below(folder: Path, kind: Kind) -> list[Path]:
    """Every sample at or below `folder`, by path, without hidden files and folders; see `unread` for the others."""
    found: list[Path] = []
    for entry in visible(folder):
        if entry.is_dir() and not entry.is_symlink():  # a link to a folder above would never end
            found += files_below(entry, kind)
        elif kind.takes(entry):
            found.append(entry)
    return found


def files_named(paths: Sequence[Path], kind: Kind) -> Iterator[Path]:
    """The files among `paths`, and of each folder those below it; raises UserError for a folder without any."""
    for path in paths:
        if path.is_dir():
            found = files_below(path, kind)
            if not found:
                raise UserError(f"{path}: holds no {kind.name} file{_but(path, kind)}")
            yield from found
        else:
            yield path  # a file that is missing is for its reader to name


def files_of_classes(folder: Path, kind: Kind) -> dict[str, list[Path]]:
    """The files of each class folder; raises UserError where there is none at all."""
    entries = visible(folder)
    by_class = {entry.name: files_below(entry, kind) for entry in entries if entry.is_dir()}
    if not any(by_class.values()):
        loose = any(entry.suffix.lower() in kind.suffixes for entry in entries)
        why = "they lie in no class's folder" if loose else f"known: {' '.join(sorted(kind.suffixes))}"
        expected = f"expected {folder.name}/CLASS/{kind.name.upper()} ({why})"
        raise UserError(f"{folder}: no {kind.name}s of any class; {expected}{_but(folder, kind)}")
    return by_class


def files_of_splits(root: Path, kind: Kind, *, need_train: bool = True) -> dict[SplitName, dict[str, list[Path]]]:
    """Files by split and class; where the folder is not divided, all of it is train.

    Raises UserError where a class has no training file, or a split a class that train lacks; without `need_train` the
    folder may have no train/ at all.
    """
    folders = [entry for entry in visible(root) if entry.is_dir()]
    named = {entry: SPLIT_FOLDERS[entry.name.lower()] for entry in folders if entry.name.lower() in SPLIT_FOLDERS}
    splits = list(named.values())
    divided = bool(named) and ("train" in splits or len(named) == len(folders))
    if not divided:
        named = {root: "train"}
    elif need_train and "train" not in splits:
        raise UserError(f"{root}: has {', '.join(sorted(entry.name for entry in folders))} but no train/ folder")
    if len(set(splits)) < len(splits):
        raise UserError(f"{root}: two folders for one split ({', '.join(sorted(entry.name for entry in named))})")
    listed = {split: files_of_classes(folder, kind) for folder, split in named.items()}
    if "train" not in listed:
        return listed
    for name, files in sorted(listed["train"].items()):
        if not files:
            folder = next(folder for folder, split in named.items() if split == "train") / name
            raise UserError(
                f"{root}: class folder {name!r} has no training {kind.name}s; fill it or remove it{_but(folder, kind)}"
            )
    for split, by_class in listed.items():
        for name in by_class:
            if name not in listed["train"]:
                raise UserError(f"{root}: {split} has a class {name!r} that train lacks")
    return listed


def _but(folder: Path, kind: Kind) -> str:
    """What a folder without samples holds in their place, as the rest of a message."""
    found = left_out([folder], (), kind)
    return f"; {found.lines()[0]}" if found.unread else ""
