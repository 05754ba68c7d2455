"""Figures of tagged words: entity F1 by seqeval where the tags are of the IOB family, else of the words alone."""

import re
from collections.abc import Sequence

_IOB = re.compile(r"O|[BIESLU]-.+")


def tag_figures(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and f1 of whole entities (CoNLL's way), and the accuracy of the words.

    Its last word may be marked by E or L, its only one by S or U (IOBES, BILOU). Tags that mark no entities, such as
    parts of speech, have macro figures of the words instead.
    """
    from seqeval.metrics import f1_score, precision_score, recall_score

    flat = [pair for one, other in zip(true, said, strict=True) for pair in zip(one, other, strict=True)]
    accuracy = sum(one == other for one, other in flat) / max(len(flat), 1)
    if all(_IOB.fullmatch(tag) for row in (*true, *said) for tag in row):
        names = (("precision", precision_score), ("recall", recall_score), ("f1", f1_score))
        rows = [[[_known(tag) for tag in row] for row in part] for part in (true, said)]
        return {**{name: float(score(*rows, zero_division=0)) for name, score in names}, "accuracy": accuracy}
    f1 = []
    for tag in sorted({tag for pair in flat for tag in pair}):
        right = sum(one == other == tag for one, other in flat)
        f1.append(2 * right / sum((one == tag) + (other == tag) for one, other in flat))
    return {"f1": sum(f1) / max(len(f1), 1), "accuracy": accuracy}


def _known(tag: str) -> str:
    """A tag of BILOU as that of IOBES, which seqeval counts."""
    return {"L": "E", "U": "S"}.get(tag[0], tag[0]) + tag[1:]
