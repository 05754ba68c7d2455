"""Figures of tagged words: entity F1 by seqeval where the tags mark entities, else of the words alone."""

import re
from collections.abc import Iterable, Sequence

_IOB = re.compile(r"O|[BIESLUMW](-.+)?")


def figure_of(tags: Iterable[str]) -> str:
    """The figure that says how good tags are: `f1` of entities, or `word_f1` where the tags mark none."""
    return "f1" if _mark_entities(tags) else "word_f1"


def tag_figures(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]], tags: Iterable[str]) -> dict[str, float]:
    """Precision, recall and f1 of whole entities (CoNLL's way), and the accuracy of the words.

    Where `tags`, all that the model knows, mark no entities, as parts of speech do, `word_f1` is in their place: the
    mean of the words' F1 over the tags that occur.
    """
    from seqeval.metrics import f1_score, precision_score, recall_score

    flat = [pair for one, other in zip(true, said, strict=True) for pair in zip(one, other, strict=True)]
    accuracy = sum(one == other for one, other in flat) / max(len(flat), 1)
    if _mark_entities(tags):
        names = (("precision", precision_score), ("recall", recall_score), ("f1", f1_score))
        rows = [[[_known(tag) for tag in row] for row in part] for part in (true, said)]
        return {**{name: float(score(*rows, zero_division=0)) for name, score in names}, "accuracy": accuracy}
    f1 = []
    for tag in sorted({tag for pair in flat for tag in pair}):
        right = sum(one == other == tag for one, other in flat)
        f1.append(2 * right / sum((one == tag) + (other == tag) for one, other in flat))
    return {"word_f1": sum(f1) / max(len(f1), 1), "accuracy": accuracy}


def _mark_entities(tags: Iterable[str]) -> bool:
    """Whether tags are of the IOB family, with types or without (B, I and O alone).

    A last word may be marked by E or L, an only one by S, U or W, one within by I or M (IOBES, BILOU, BMEWO).
    """
    tags = list(tags)
    return all(map(_IOB.fullmatch, tags)) and any(tag in ("O", "B", "I") or "-" in tag for tag in tags)


def _known(tag: str) -> str:
    """A tag of the other schemes as that of IOBES, which seqeval counts."""
    return {"L": "E", "U": "S", "W": "S", "M": "I"}.get(tag[0], tag[0]) + tag[1:]
