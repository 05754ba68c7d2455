"""A folder for each class: to be divided, divided into train/ val/ test/ already, or by Speech Commands' lists."""

from dataclasses import replace
from pathlib import Path
from posixpath import normpath

from ptapp_audio.listing import recording_of
from ptapp_audio.read import SUFFIXES
from ptapp_core.errors import UserError
from ptapp_core.folders import files_of_classes, files_of_splits
from ptapp_core.listing import Listing
from ptapp_core.split import SplitName

LISTS: dict[str, SplitName] = {"validation_list.txt": "val", "testing_list.txt": "test"}
_NOT_WORDS = "_background_noise_"  # minutes of noise to mix in, no class


def read_folder(root: Path) -> Listing:
    """Sound files whose folder names their class; classes go by name. There may be a test/ alone, to be measured."""
    listed = files_of_splits(root, SUFFIXES, "sound", need_train=False)
    return _listing(root, listed, divided=set(listed) != {"train"})


def has_lists(root: Path) -> bool:
    """Whether the lists of Speech Commands are there."""
    return all((root / name).is_file() for name in LISTS)


def read_lists(root: Path) -> Listing:
    """Speech Commands (Warden 2018): a folder per word, and the files of val and test in two lists."""
    by_class = {name: files for name, files in files_of_classes(root, SUFFIXES, "sound").items() if name != _NOT_WORDS}
    whole = _listing(root, {"train": by_class}, divided=False)
    split: dict[str, SplitName] = dict.fromkeys(whole.names, "train")
    for name, part in LISTS.items():
        try:
            lines = (root / name).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{root / name}: not a text in UTF-8 ({error})") from error
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line:
                continue
            file = normpath(line)  # ./yes/0.wav is yes/0.wav
            if file not in split:
                raise UserError(f"{root / name}:{number}: {line}: no such file in the folder of a word")
            if split[file] not in ("train", part):
                raise UserError(f"{root / name}:{number}: {line}: is in the list of {split[file]} as well; remove one")
            split[file] = part
    parts = [split[name] for name in whole.names]
    return replace(whole, what="a folder per word, and lists of val and test", parts=parts)


def _listing(root: Path, listed: dict[SplitName, dict[str, list[Path]]], *, divided: bool) -> Listing:
    classes = tuple(sorted({name for by_class in listed.values() for name in by_class}))
    files, labels, parts = [], [], []
    for split, by_class in listed.items():
        for name in sorted(by_class):
            files += by_class[name]
            labels += [classes.index(name)] * len(by_class[name])
            parts += [split] * len(by_class[name])
    names = [file.relative_to(root).as_posix() for file in files]
    groups = [recording_of(file, name) for file, name in zip(files, names, strict=True)]
    own = parts if divided else None
    return Listing(root, "a folder per class", files, names, labels, classes, own, groups=groups)
