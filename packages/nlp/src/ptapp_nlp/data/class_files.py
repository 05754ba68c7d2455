"""A folder for each class with a text a file, as aclImdb (Maas et al. 2011) and many collections of documents come."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptapp_core.data.class_folders import list_classes
from ptapp_core.data.files import opened
from ptapp_core.data.layout import folders_in, split_folders
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import Division, SplitName
from ptapp_core.data.unread import Kind, left_out
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.splits import Examples, Splits, divide

_UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""What a folder is called whose texts have no class."""


def _opens(file: Path) -> bool:
    """Whether a file of another suffix, or of none, begins as a text does."""
    with file.open("rb") as stream:
        head = stream.read(512)
    return bool(head) and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


TEXTS = Kind("text", frozenset((".txt", ".text")), _opens, "save them as plain text first")


def has_class_files(root: Path) -> bool:
    """Whether a folder, or each of its splits, holds folders with texts in them."""
    holders = list(split_folders(root)) or [root]
    inside = [folder for holder in holders for folder in folders_in(holder)]
    return any(TEXTS.takes(file) for folder in inside for file in folder.iterdir())


def read_class_files(
    root: Path, *, encoding: str, group_column: str | None, bad: Bad, division: Division | None
) -> Splits:
    """Texts whose folder names their class; a text's id is its path in `root`. Classes go by name.

    Raises UserError for a file that is no text in the encoding, or empty, unless such files are skipped.
    """
    listing = list_classes(root, TEXTS, need_train=division is not None)
    others = left_out([root], listing.files, TEXTS).lines()
    notes = list(listing.said)
    for name in _UNLABELLED:
        if name in listing.classes:
            listing = listing.without(name)
            notes.append(f"left out: {name}, whose texts have no class")
    listing = listing.grouped(group_column)
    texts = [_text(file, encoding, bad) for file in listing.files]
    rows = [row for row, text in enumerate(texts) if text is not None]
    own: Sequence[SplitName] = listing.parts or ["train"] * len(texts)
    parts = {
        split: _examples(listing, texts, [row for row in rows if own[row] == split]) for split in dict.fromkeys(own)
    }
    what = f"{root.name}, a folder per class"
    done = divide(parts, listing.classes, where=root, what=what, division=division, skipped=bad.reasons)
    return replace(done, notes=(*notes, *(f"left out: {line}" for line in others)))


def _examples(listing: Listing, texts: Sequence[str | None], rows: Sequence[int]) -> Examples:
    names = [listing.names[row] for row in rows]
    groups = () if listing.groups is None else [listing.groups[row] for row in rows]
    return Examples([texts[row] for row in rows], [listing.labels[row] for row in rows], names, names, groups)


def _text(file: Path, encoding: str, bad: Bad) -> str | None:
    """A whole file; None where it is left out."""
    with opened(file) as stream:
        raw = stream.read().removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        hint = " (is it --encoding latin-1?)" if encoding == "utf-8" else ""
        bad.row(file, raw[: error.start].count(b"\n") + 1, f"not {encoding} text{hint}")
        return None
    if "\0" in text or not text.strip():
        bad.row(file, 1, "holds a NUL byte, so it is no text" if "\0" in text else "the text is empty")
        return None
    return text
