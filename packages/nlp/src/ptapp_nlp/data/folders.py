"""A folder of text files for each class, divided into splits or not, as reviews and newsgroups are published."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ptapp_core.data.class_folders import files_of_splits
from ptapp_core.data.files import visible
from ptapp_core.data.layout import folders_in, note_on_people
from ptapp_core.data.split import SplitName
from ptapp_core.data.unread import FileType, left_out
from ptapp_core.errors import UserError, counted
from ptapp_nlp.data.found import split_of_file
from ptapp_nlp.data.labels import alike
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.splits import Examples, in_order

_UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
_SNIFFED = 1024  # bytes without a NUL that show that a file without suffix is a text


def _is_text(file: Path) -> bool:
    if file.suffix:
        return False
    with file.open("rb") as stream:
        return b"\0" not in stream.read(_SNIFFED)


TEXTS = FileType("text", frozenset((".txt", ".text")), _is_text, remedy="save them as .txt")


class Folders(NamedTuple):
    """The texts of each split, the names of their classes, and lines that a user should read."""

    parts: dict[SplitName, Examples]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def holds_texts(root: Path) -> bool:
    """Whether there are texts in several folders in this one, or in its only one that holds any."""
    inside = [folder for folder in folders_in(root) if _has_text(folder)]
    return len(inside) > 1 or (len(inside) == 1 and not inside[0].is_symlink() and holds_texts(inside[0]))


def _has_text(folder: Path) -> bool:
    """Whether there is a text at or below a folder; it ends at the first."""
    inside = visible(folder)
    return any(_has_text(e) if e.is_dir() and not e.is_symlink() else TEXTS.takes(e) for e in inside)


def read_folders(root: Path, encoding: str, bad: Bad, *, need_train: bool) -> Folders:
    """Each file is a text, of the class that its folder is called after, and its relative path is its id.

    Texts without labels, as `unsup` holds them, are left out, which a note says.

    Raises UserError where the folders are no classes, or a text is bad.
    """
    listed = files_of_splits(root, TEXTS, need_train=need_train, splits=_affixed(root))
    notes: list[str] = []
    used = [file for by_class in listed.values() for files in by_class.values() for file in files]
    for by_class in listed.values():
        for name in [name for name in by_class if name.lower() in _UNLABELLED]:
            if files := by_class.pop(name):
                notes.append(f"{files[0].parent}: {counted(len(files), 'text')} without labels left out")
    classes = in_order(Counter(name for by_class in listed.values() for name in by_class))
    if not any(files for by_class in listed.values() for files in by_class.values()):
        raise UserError(f"{root}: holds no text with a label; expected {root.name}/CLASS/TEXT.txt")
    numbers = {name: number for number, name in enumerate(classes)}
    parts = {
        split: _read(root, [(file, numbers[name]) for name in by_class for file in by_class[name]], encoding, bad)
        for split, by_class in listed.items()
    }
    sizes = Counter(classes[target] for part in parts.values() for target in part.target)
    said = (*notes, note_on_people(classes), alike(sizes), *left_out([root], used, TEXTS).lines())
    return Folders(parts, classes, tuple(note for note in said if note))


def _affixed(root: Path) -> dict[Path, SplitName]:
    """The folders of a root if all are called after different splits, in a name of theirs: 20news-bydate-train."""
    folders = folders_in(root)
    named = {folder: split for folder in folders if folders_in(folder) and (split := split_of_file(folder))}
    different = len(set(named.values())) == len(named) == len(folders)
    return named if different and "train" in named.values() else {}


def _read(root: Path, files: Sequence[tuple[Path, int]], encoding: str, bad: Bad) -> Examples:
    texts: list[str] = []
    targets: list[int] = []
    names: list[str] = []
    for file, target in files:
        known = len(bad.reasons)
        text = "\n".join(line for _, line in lines(file, encoding, bad)).strip()
        if not text and len(bad.reasons) == known:
            bad.row(file, 1, "the text is empty")
        if len(bad.reasons) > known:  # a text without its bad lines would be another
            del bad.reasons[known + 1 :]
            continue
        texts.append(text)
        targets.append(target)
        names.append(file.relative_to(root).as_posix())
    if files and not texts:
        raise UserError(f"{files[0][0].parent}: holds no good text")
    return Examples(texts, targets, names, ids=names)
