"""Labels of texts that are no classes: several in one cell, or numbers with decimals; and classes that look alike."""

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

_SEPARATORS = (",", ";", "|", "/")
_WEAK = ("+", "&", " ")  # which a single label may well have: its parts must all be labels
_SHOWN = 60  # characters of a label in a message
_MANY = 20  # different numbers with decimals, of which a scale of half points has fewer
_ENOUGH = 10  # rows that show whether all labels are different


def several(labels: Mapping[str, int]) -> str | None:
    """The first label that holds several: a list, or names apart by commas that are labels themselves; else None.

    Of the parts one must be a label alone, and each other one too, or come after different ones: neither "Food, drinks"
    nor the path "Arts/Music" is several. Apart by blanks, + or & ("a b", not "very good") each must be one alone.

    Args:
        labels: how often each occurs.
    """
    combined = {label: parts for label in labels if (parts := _parts(label))}
    steps = {step for parts in combined.values() for step in zip([None, *parts], parts, strict=False)}
    befores = Counter(part for _, part in steps)
    for label in labels:
        if is_list(label):
            return label
        parts = combined.get(label, [])
        alone = [part in labels for part in parts]
        if any(_are_apart_by(separator, label, labels) for separator in _WEAK):
            return label
        if any(alone) and all(own or befores[part] > 1 for own, part in zip(alone, parts, strict=True)):
            return label
    return None


def not_classes(labels: Mapping[str, int]) -> str | None:
    """Why labels (and how often each occurs) cannot be classes: they are measurements, or nearly all different."""
    rows, example = sum(labels.values()), shown(next(iter(labels)))
    numbers = [_number(label) for label in labels]
    decimals = [label for label, number in zip(labels, numbers, strict=True) if number is not None and number % 1]
    if decimals and None not in numbers and (len(labels) > _MANY or 2 * len(labels) > rows):
        return f"numbers with decimals, such as {decimals[0]}: give --task regress to learn them as numbers"
    if rows >= _ENOUGH and 2 * len(labels) > rows:
        return f"nearly all different, {len(labels):,} in {rows:,} rows, such as {example}"
    return None


def alike(labels: Mapping[str, int]) -> str | None:
    """A line about the first classes that differ only by case, blanks or leading zeros; None where none do."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(_bare(label), label)
        if other != label:
            ours, theirs = f"{labels[label]:,} of {shown(label)}", f"{labels[other]:,} of {shown(other)}"
            return f"two classes look alike, {theirs} and {ours}: spell them the same if they are one"
    return None


def shown(label: str) -> str:
    """A label in a message: quoted, on one line, and not too long."""
    return repr(label if len(label) <= _SHOWN else label[:_SHOWN] + "...")


def is_list(cell: str) -> bool:
    """Whether a cell is a list, a set or an object as Python, JSON or NumPy writes them."""
    cell = cell.strip()
    if not re.fullmatch(r"\[.*\]|\(.*,.*\)|\{.*\}", cell, re.DOTALL):
        return False
    if re.fullmatch(r"[\[\](){}\s\d.,+-]*|\[.*,.*\]", cell, re.DOTALL):
        return True
    for parse in (json.loads, ast.literal_eval):
        try:
            return isinstance(parse(cell), list | tuple | set | dict)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return False


def _parts(label: str) -> list[str]:
    """The names in a label of several, or nothing: numbers may be apart by blanks."""
    if re.fullmatch(r"\d+( +\d+)+", label):
        return label.split()
    for separator in _SEPARATORS:
        parts = [part.strip() for part in label.split(separator)]
        if len(parts) > 1 and all(parts):
            return parts
    return []


def _are_apart_by(separator: str, label: str, labels: Mapping[str, int]) -> bool:
    """Whether a label is of different ones that are labels themselves."""
    parts = {part.strip() for part in label.split(separator)}
    return len(parts) > 1 and all(part in labels for part in parts)


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _bare(label: str) -> str:
    """A label without what two spellings of one name differ by."""
    bare = re.sub(r"\s+", "", unicodedata.normalize("NFKC", label)).casefold()
    return re.sub(r"(?<![\d.])0+(?=\d)|(?<=\d)\.0+$", "", bare)
