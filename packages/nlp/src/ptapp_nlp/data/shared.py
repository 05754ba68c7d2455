"""Pairs of texts that share a text, such as one premise with several hypotheses, are kept in one split."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

from ptapp_core.data.split import SPLITS, SplitName, digest
from ptapp_nlp.data.pairs import in_words
from ptapp_nlp.data.splits import Examples

Pair = tuple[str, str]
_MOST = 0.1  # of the pairs may be one group: of a larger one no split of a tenth can be made


def keep_together(
    parts: Mapping[SplitName, Examples], columns: tuple[str, str]
) -> tuple[dict[SplitName, Examples], tuple[str, ...]]:
    """The splits that the data has, in which pairs that share a text are a group; and what a user should know of them.

    A pair whose texts are in no other one has no group, nor have copies of one pair, which stay together by their
    content. Where texts that are nearly everywhere would make one group of more than a tenth of the pairs, the groups
    are pairs of the same text in one of the `columns`, or pairs that are each other's reverse.
    """
    pairs: list[Pair] = [*dict.fromkeys(source for part in parts.values() for source in part.source)]
    counts = Counter(text for pair in pairs for text in {*pair})
    sharing = sum(any(counts[text] > 1 for text in pair) for pair in pairs)
    if not sharing:
        return dict(parts), ()
    groups, kept = _groups(pairs, columns)
    notes = []
    if len(parts) < len(SPLITS):
        divides = "; --group-column none divides them" if groups else ""
        notes.append(f"the texts of {sharing:,} of {len(pairs):,} pairs are in other pairs, too: {kept}{divides}")
    done = {
        name: replace(part, groups=[groups.get(source, "") for source in part.source] if groups else ())
        for name, part in parts.items()
    }
    first: dict[str, tuple[SplitName, str]] = {}  # split and name of the first row of each group
    for split in filter(done.__contains__, SPLITS):
        for group, name in zip(done[split].groups, done[split].names, strict=False):
            if group and first.setdefault(group, (split, name))[0] != split:
                found = f"such as {first[group][1]} ({first[group][0]}) and {name} ({split})"
                where = "in two splits of the data, so its figures may be too good"
                notes.append(f"pairs that share a text, {found}, are {where}")
                return {own: each if own == "train" else parts[own] for own, each in done.items()}, tuple(notes)
    return done, tuple(notes)


def _groups(pairs: Sequence[Pair], columns: tuple[str, str]) -> tuple[dict[Pair, str], str]:
    """The group of each pair that has one, and which pairs are kept together, for people."""

    def found(keys: Callable[[Pair], Sequence[Hashable]]) -> dict[Pair, str]:
        groups = _joined(pairs, keys)
        most = max(Counter(groups.values()).values(), default=0)
        return groups if most <= max(_MOST * len(pairs), 2) else {}

    if groups := found(lambda pair: pair):
        return groups, "pairs that share a text are kept in one split"
    by_column = [
        (found(lambda pair: (pair[0], frozenset(pair))), f"of the same {columns[0]}"),
        (found(lambda pair: (pair[1], frozenset(pair))), f"of the same {columns[1]}"),
    ]
    groups, which = max(by_column, key=lambda each: len(each[0]))
    if not groups:
        groups, which = found(lambda pair: (frozenset(pair),)), "that are each other's reverse"
    others = "texts that nearly all pairs have in common may be in several, so that the figures may be too good"
    return groups, f"pairs {which} are kept in one split; {others}" if groups else others


def _joined(pairs: Sequence[Pair], keys: Callable[[Pair], Sequence[Hashable]]) -> dict[Pair, str]:
    """A name for pairs that have a key in common, directly or by other pairs; a pair without such others has none."""
    parent = list(range(len(pairs)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    seen: dict[Hashable, int] = {}
    for row, pair in enumerate(pairs):
        for key in keys(pair):
            parent[root(row)] = root(seen.setdefault(key, row))
    members: dict[int, list[Pair]] = {}
    for row, pair in enumerate(pairs):
        members.setdefault(root(row), []).append(pair)
    return {
        pair: digest(in_words(min(together)).encode())
        for together in members.values()
        if len(together) > 1
        for pair in together
    }
