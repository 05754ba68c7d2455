"""A folder for each class: to be divided, divided into train/ val/ test/ already, or by Speech Commands' lists."""

from dataclasses import replace
from pathlib import Path

from ptapp_audio.listing import Listing, SplitName
from ptapp_audio.read import SUFFIXES, list_sounds
from ptapp_core.errors import UserError
from ptapp_core.files import visible

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
LISTS: dict[str, SplitName] = {"validation_list.txt": "val", "testing_list.txt": "test"}
_NOT_WORDS = "_background_noise_"  # minutes of noise to mix in, no class


def read_folder(root: Path) -> Listing:
    """Sound files whose folder names their class; classes go by name."""
    folders = [entry for entry in visible(root) if entry.is_dir()]
    named = {entry: SPLIT_FOLDERS[entry.name.lower()] for entry in folders if entry.name.lower() in SPLIT_FOLDERS}
    if "train" not in named.values():
        if named and len(named) == len(folders):
            raise UserError(f"{root}: has {', '.join(sorted(entry.name for entry in folders))} but no train/ folder")
        return _listing(root, {"train": _classes(root)}, divided=False)
    if len(set(named.values())) < len(named):
        raise UserError(f"{root}: two folders for one split ({', '.join(sorted(entry.name for entry in named))})")
    return _listing(root, {split: _classes(folder) for folder, split in named.items()}, divided=True)


def has_lists(root: Path) -> bool:
    """Whether the lists of Speech Commands are there."""
    return all((root / name).is_file() for name in LISTS)


def read_lists(root: Path) -> Listing:
    """Speech Commands (Warden 2018): a folder per word, and the files of val and test in two lists."""
    split: dict[str, SplitName] = {}
    for name, part in LISTS.items():
        for number, line in enumerate((root / name).read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip() and not (root / line.strip()).is_file():
                raise UserError(f"{root / name}:{number}: {line.strip()}: no such file")
            split[line.strip()] = part
    by_class = {name: files for name, files in _classes(root).items() if name != _NOT_WORDS}
    whole = _listing(root, {"train": by_class}, divided=False)
    parts: list[SplitName] = [split.get(name, "train") for name in whole.names]
    return replace(whole, what="a folder per word, and lists of val and test", parts=parts)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The sound files of each class folder; raises UserError where there is none at all."""
    entries = visible(folder)
    by_class = {entry.name: list_sounds(entry) for entry in entries if entry.is_dir()}
    if not any(by_class.values()):
        loose = any(entry.suffix.lower() in SUFFIXES for entry in entries)
        why = "they lie in no class's folder" if loose else f"known: {' '.join(sorted(SUFFIXES))}"
        raise UserError(f"{folder}: no sounds of any class; expected {folder.name}/CLASS/SOUND ({why})")
    return by_class


def _listing(root: Path, listed: dict[SplitName, dict[str, list[Path]]], *, divided: bool) -> Listing:
    classes = tuple(sorted(listed["train"]))
    for name in classes:
        if not listed["train"][name]:
            raise UserError(f"{root}: class folder {name!r} has no training sounds; fill it or remove it")
    files, labels, parts = [], [], []
    for split, by_class in listed.items():
        for name in sorted(by_class):
            if name not in classes:
                raise UserError(f"{root}: {split} has a class {name!r} that train lacks")
            files += by_class[name]
            labels += [classes.index(name)] * len(by_class[name])
            parts += [split] * len(by_class[name])
    names = [file.relative_to(root).as_posix() for file in files]
    return Listing(root, "a folder per class", files, names, labels, classes, parts if divided else None)
