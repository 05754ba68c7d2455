"""What tags mark: entities in the schemes of the IOB family or nothing but words; and the figures of tagged words."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from ptapp_core.errors import counted

Scheme = Literal["IOB1", "BIO", "BIOES", "BILOU", "BMEWO", "BMESO"]
ENDS: dict[Scheme, tuple[str, str, str]] = {
    "BIOES": ("I", "E", "S"),
    "BILOU": ("I", "L", "U"),
    "BMEWO": ("M", "E", "W"),
    "BMESO": ("M", "E", "S"),
}
"""The letters of a word within an entity, of its last word and of an only word, in the schemes that mark these."""
_IOB = re.compile(r"O|[BIESLUMW](-.+)?")


def figure_of(tags: Iterable[str]) -> str:
    """The figure that says how good tags are: `f1` of entities, or `word_f1` where the tags mark none."""
    return "f1" if mark_entities(tags) else "word_f1"


def tag_figures(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]], tags: Iterable[str]) -> dict[str, float]:
    """Precision, recall and f1 of whole entities (CoNLL's way), and the accuracy of the words.

    Where `tags`, all that the model knows, mark no entities, as parts of speech do, `word_f1` is in their place: the
    mean of the words' F1 over the tags that occur.
    """
    from seqeval.metrics import f1_score, precision_score, recall_score

    flat = [pair for one, other in zip(true, said, strict=True) for pair in zip(one, other, strict=True)]
    accuracy = sum(one == other for one, other in flat) / max(len(flat), 1)
    if mark_entities(tags):
        names = (("precision", precision_score), ("recall", recall_score), ("f1", f1_score))
        rows = [[[_known(tag) for tag in row] for row in part] for part in (true, said)]
        return {**{name: float(score(*rows, zero_division=0)) for name, score in names}, "accuracy": accuracy}
    f1 = []
    for tag in sorted({tag for pair in flat for tag in pair}):
        right = sum(one == other == tag for one, other in flat)
        f1.append(2 * right / sum((one == tag) + (other == tag) for one, other in flat))
    return {"word_f1": sum(f1) / max(len(f1), 1), "accuracy": accuracy}


def mark_entities(tags: Iterable[str]) -> bool:
    """Whether tags are of the IOB family, with types or without (B, I and O alone).

    A last word may be marked by E or L, an only one by S, U or W, one within by I or M (see `ENDS`).
    """
    tags = list(tags)
    return all(map(_IOB.fullmatch, tags)) and any(tag in ("O", "B", "I") or "-" in tag for tag in tags)


def _known(tag: str) -> str:
    """A tag of the other schemes as that of IOBES, which seqeval counts."""
    return {"L": "E", "U": "S", "W": "S", "M": "I"}.get(tag[0], tag[0]) + tag[1:]


def allowed(tags: Sequence[str]) -> tuple[list[bool], list[list[bool]]]:
    """Which tags may be the first of a sentence, and which may follow each of them, where they are of BIO.

    An I goes on with an entity of its type. Tags that mark no entities may follow each other in any way.
    """
    if not mark_entities(tags):
        return [True] * len(tags), [[True] * len(tags) for _ in tags]
    first = [tag[0] != "I" for tag in tags]
    after = [[tag[0] != "I" or (before[0] != "O" and before[1:] == tag[1:]) for tag in tags] for before in tags]
    return first, after


def scheme_of(rows: Iterable[Sequence[str]]) -> Scheme | None:
    """The scheme of sentences of tags: one of `ENDS` where a last or an only word of an entity has a tag of its own
    (BIOES where the letters are of none), IOB1 where a B stands only between two entities of one type, else BIO; None
    where they mark no entities.
    """
    rows = list(rows)
    tags = {tag for row in rows for tag in row}
    if not mark_entities(tags):
        return None
    letters = {tag[0] for tag in tags} - {"B", "O"}
    if letters - {"I"}:
        return next((scheme for scheme, own in ENDS.items() if letters <= set(own)), "BIOES")
    pairs = [pair for row in rows for pair in zip(["O", *row], row, strict=False)]
    within = all(before[0] != "O" and before[1:] == tag[1:] for before, tag in pairs if tag[0] == "B")
    begun = any(tag[0] == "I" and (before[0] == "O" or before[1:] != tag[1:]) for before, tag in pairs)
    return "IOB1" if within and begun else "BIO"


def to_bio(row: Sequence[str]) -> list[str]:
    """The tags of a sentence in any of the schemes as BIO: what `conlleval` counts as the begin of an entity is a B."""
    found, open_type = [], None  # the type of an entity that may go on
    for tag in map(_known, row):
        letter, kind = tag[0], tag[1:]
        goes_on = letter in "IE" and kind == open_type
        found.append(tag if letter == "O" else ("I" if goes_on else "B") + kind)
        open_type = kind if letter in "BI" else None
    return found


def from_bio(row: Sequence[str], scheme: Scheme) -> list[str]:
    """The tags of a sentence in BIO as another scheme has them."""
    found = []
    for before, tag, after in zip(["O", *row], row, [*row[1:], "O"], strict=False):
        letter, kind = tag[0], tag[1:]
        ends = after != f"I{kind}"
        if letter == "O" or scheme == "BIO":
            found.append(tag)
        elif scheme == "IOB1":
            found.append(("B" if letter == "B" and before[0] != "O" and before[1:] == kind else "I") + kind)
        else:
            within, last, only = ENDS[scheme]
            inner, end = ("B", only) if letter == "B" else (within, last)
            found.append((end if ends else inner) + kind)
    return found


def types_of(tags: Iterable[str]) -> list[str]:
    """The types of the entities that tags mark; empty where they have none (B, I and O alone)."""
    return sorted({tag[2:] for tag in tags if tag[1:2] == "-"})


def about_tags(tags: Iterable[str], scheme: Scheme | None, *, bio: bool) -> str:
    """What tags mark, for people; `bio` says that they were read as BIO."""
    if scheme is None:
        return "each of a word, and none of an entity"
    types = types_of(tags)
    of_types = f"of {counted(len(types), 'type')}" if types else "without types"
    return f"entities {of_types} in {scheme}" + (", read as BIO" if bio and scheme != "BIO" else "")


def spans_of(row: Sequence[str]) -> list[tuple[int, int, str | None]]:
    """The first and last word of each entity of a sentence, and its type, where it has one. Tags in any scheme."""
    found: list[tuple[int, int, str | None]] = []
    for place, tag in enumerate(to_bio(row)):
        if tag[0] == "B":
            found.append((place, place, tag[2:] or None))
        elif tag[0] == "I":
            found[-1] = (found[-1][0], place, found[-1][2])
    return found
