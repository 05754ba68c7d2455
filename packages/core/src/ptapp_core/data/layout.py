"""What the names of folders say: which of them are splits, and which are no classes."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ptapp_core.data.files import visible
from ptapp_core.data.split import SplitName
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError

_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "evaluate", "holdout", "heldout"), "test"),
    "privatetest": "test",  # with publictest the words of FER-2013
}
_TAILS = "sets?|data|dataset|split|samples|files|folder|images?|imgs?|photos|pictures|audio|sounds|clips|wavs?"
_SPLIT = re.compile(f"({'|'.join(_WORDS)})({_TAILS})?")
_NUMBERED = re.compile(r"([a-z]+)[-_ .]*\d+", re.IGNORECASE)
_OF_FOLDS = ("fold", "folds", "cv", "split", "part", "batch")
_OF_PEOPLE = ("actor", "speaker", "spk", "subject", "sub", "patient", "participant", "user", "person", "session")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_UNLABELLED = ("pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled")
_HOLDERS = frozenset(
    "images image imgs img jpegimages jpg jpgs jpeg png pngs photos pictures audio sounds wav wavs clips".split()  # noqa: SIM905
)
"""What a folder is called that holds all samples."""
_ANNOTATIONS = frozenset(
    "annotations annotation anns masks mask labels label gt truth groundtruth segmentation segmentations trimaps "  # noqa: SIM905
    "bboxes boxes".split()
)
"""What a folder is called that holds what is said about samples, often as images of the same names."""
_SUPPORT = frozenset(("meta", "metadata", "attributes", "docs", "splits", "lists", "parts", "setup", "tools"))
MANIFEST = "a CSV manifest (columns filename, label, and fold, split or speaker where there are any)"


def split_of(name: str) -> SplitName | None:
    """The split that a folder or a cell is called after, in any case: `Training`, `test_set`, `dev`, `eval-images`."""
    match = _SPLIT.fullmatch(re.sub("[-_ .]", "", name.lower()))
    return _WORDS[match[1]] if match else None


def split_folders(root: Path) -> dict[Path, SplitName]:
    """The folders in `root` that are its splits; empty where `root` is not divided.

    Raises UserError where two of them are one split.
    """
    folders = folders_in(root)
    named = {folder: split for folder in folders if (split := split_of(folder.name))}
    if len(named) < len(folders):  # beside other folders, a folder of trains without folders in it is a class
        named = {folder: split for folder, split in named.items() if folders_in(folder)}
        if "train" not in named.values():
            return {}
    if len(set(named.values())) < len(named):
        raise UserError(f"{root}: two folders for one split ({', '.join(folder.name for folder in named)})")
    return named


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    return [entry for entry in visible(folder) if entry.is_dir()]


def refuse_other_levels(root: Path, kind: FileType) -> None:
    """Refuses folders that are no classes: folds, splits at another level, one folder that holds the classes.

    `root` holds what should be class folders. Raises UserError, saying what the folders look like and what to do.
    """
    folders = [folder for folder in folders_in(root) if visible(folder)]
    names = [folder.name for folder in folders]
    _refuse_folds(root, names)
    _refuse_affixed_splits(root, folders)
    _refuse_annotations(root, folders, kind)
    _refuse_a_holder(root, folders, kind)
    if any(entry.suffix.lower() in kind.suffixes for folder in folders for entry in visible(folder)):
        return
    inner = {folder: [below.name for below in folders_in(folder)] for folder in folders}
    if len(folders) == 1:
        (only,) = folders
        if inside := split_folders(only):
            what = f"its only folder {only.name!r} holds the splits ({_some([folder.name for folder in inside])})"
            raise UserError(f"{root}: {what}; give --data {only}")
        if len(inner[only]) > 1:
            what = f"its only folder {only.name!r} holds folders that look like classes ({_some(inner[only])})"
            raise UserError(f"{root}: {what}; give --data {only}")
    elif folders and _repeat(folders):
        raise UserError(f"{root}: {_some(names)} hold no {kind.name}s but {_what_repeats(root, folders, inner)}")


def classes_below(folder: Path) -> Path | None:
    """The folder with the class folders at or below a folder, through folders that hold one folder each, if any."""
    inside = folders_in(folder)
    if len(inside) == 1:
        return None if inside[0].is_symlink() else classes_below(inside[0])  # a link to one above would never end
    return folder if len(inside) > 1 else None


def unpacked_twice(folder: Path, split: SplitName) -> Path:
    """The folder with the classes of a split: `folder`, or the only one in it where that is called after the split."""
    inside = folders_in(folder)
    if len(inside) == 1 and split_of(inside[0].name) == split and folders_in(inside[0]):
        return inside[0]
    return folder


def _words(name: str) -> list[str]:
    """The words of a name: seg, train and images of `seg_trainImages2`."""
    return [word.lower() for word in _WORD.findall(name)]


def _refuse_folds(root: Path, names: Sequence[str]) -> None:
    """Refuses fold1, fold2, ..., whatever stands before; `screw_part_1` may be a class, `x_images_part_1` is none."""
    words = [_words(name) for name in names]
    stems = {tuple(each) for each in words}
    if len(names) < 2 or len(stems) > 1 or not all(name[-1].isdigit() for name in names):
        return
    *before, word = words[0] or [""]
    sure = word in _OF_FOLDS and (word != "part" or not before or not _HOLDERS.isdisjoint(before))
    if sure or numbered(names) in _OF_FOLDS:
        raise UserError(f"{root}: {_some(names)} look like folds, not like classes; write {MANIFEST}")


def _role(name: str) -> tuple[str, tuple[str, ...]] | None:
    """(split, the other words) of `seg_train`, `test1`, `train_images`; None where no split is at either end."""
    words = _words(name)
    for place in (-1, 0) if words else ():
        word = words[place]
        if split := "unlabelled" if word in _UNLABELLED else split_of(word):
            rest = words[1:] if place == 0 else words[:-1]
            return split, tuple(rest)
    return None


def _refuse_affixed_splits(root: Path, folders: Sequence[Path]) -> None:
    """Refuses `seg_train` beside `seg_test`, or `train` beside `test1`: one name but for the words of two splits.

    `test_tube` and `train_station` are classes, and so are `train` and `car`.
    """
    roles = {folder: role for folder in folders if (role := _role(folder.name))}
    splits: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for split, rest in roles.values():
        splits[rest].add(split)
    alike = {folder: split for folder, (split, rest) in roles.items() if len(splits[rest]) > 1}
    if not alike or ("train" not in alike.values() and len(alike) < len(folders)):
        return
    places = {folder: place for folder in alike if (place := classes_below(folder))}
    train = next((place for folder, place in places.items() if alike[folder] == "train"), None)
    if train is None:
        remedy = f"write {MANIFEST}"
    elif len(places) > 1:
        there = ", ".join(f"{place} to {root / alike[folder]}" for folder, place in places.items())
        remedy = f"move the folders of classes ({there}), or give --data {train} to train on that alone"
    else:
        remedy = f"give --data {train}, for there are classes in that alone"
    raise UserError(f"{root}: {_some([each.name for each in alike])} look like splits, not like classes; {remedy}")


def _refuse_annotations(root: Path, folders: Sequence[Path], kind: FileType) -> None:
    """Refuses `images` beside `masks`, `annotations` or `labels`, where there are no folders but such."""
    last = {folder: (_words(folder.name) or [""])[-1] for folder in folders}
    holders = [folder for folder, word in last.items() if word in _HOLDERS]
    about = [folder for folder, word in last.items() if word in _ANNOTATIONS]
    if not holders or not about or not set(last.values()) <= _HOLDERS | _ANNOTATIONS | _SUPPORT:
        return
    inside = next((place for folder in holders if (place := classes_below(folder))), None)
    remedy = f"give --data {inside}" if inside else f"write {MANIFEST}"
    raise UserError(
        f"{root}: {_some([each.name for each in holders])} and {_some([each.name for each in about])} look like "
        f"{kind.name}s and what is said about them, not like classes; {remedy}"
    )


def _refuse_a_holder(root: Path, folders: Sequence[Path], kind: FileType) -> None:
    """Refuses `images` alone, with samples in it: a table beside it, or nothing, says which classes they are of."""
    if len(folders) == 1 and folders[0].name.lower() in _HOLDERS and any(map(kind.takes, visible(folders[0]))):
        only = folders[0].name
        raise UserError(
            f"{root}: its only folder {only!r} looks like all the {kind.name}s, not a class; write {MANIFEST}"
        )


def _what_repeats(root: Path, folders: Sequence[Path], inner: dict[Path, list[str]]) -> str:
    counts = Counter(name for own in inner.values() for name in set(own))
    below = [name for name, _ in counts.most_common()]
    if all(map(split_of, below)):
        where = root / below[0] / folders[0].name
        return f"the splits ({_some(below)}), one level too low; move them up, as {where}, or write {MANIFEST}"
    if numbered(below) in (*_OF_FOLDS, *_OF_PEOPLE):
        return f"the same folders ({_some(below)}), which look like folds or people; write {MANIFEST}"
    return (
        f"folders of the same names ({_some(below)}), so they look like splits or sources, not like classes; call "
        f"splits train, val and test, or write {MANIFEST}"
    )


def numbered(names: Sequence[str]) -> str | None:
    """`fold` for fold1, fold2, ...: the one word that all of the names are, each with a number."""
    words = {match[1].lower() if (match := _NUMBERED.fullmatch(name)) else None for name in names}
    return words.pop() if len(words) == 1 else None


def note_on_people(classes: Sequence[str]) -> str | None:
    """A line for the user where the classes are called like people; distinguishing them may be what is wanted."""
    if len(classes) > 1 and numbered(classes) in _OF_PEOPLE:
        return f"the classes are {_some(classes)}: if they are not what the model is to learn, write {MANIFEST}"
    return None


def _repeat(folders: Sequence[Path]) -> bool:
    """Whether at least half of the folders in each one, at any depth, are called as folders in another."""
    below = {folder: set(_below(folder)) for folder in folders}
    counts = Counter(name for names in below.values() for name in names)
    return all(names and 2 * sum(counts[name] > 1 for name in names) >= len(names) for names in below.values())


def _below(folder: Path) -> Iterator[str]:
    for below in folders_in(folder):
        yield below.name
        if not below.is_symlink():  # a link to a folder above would never end
            yield from _below(below)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")
