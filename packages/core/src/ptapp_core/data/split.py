"""Division of a data set into train, val and test by what each sample is, never by where it stands.

A sample's key is its group if it has one, else its id: its relative path, the id of its row, or the row's content. A
seeded hash of the key against fixed thresholds decides its split, so adding or removing a sample moves no other. Of
classes with fewer keys than there are splits all stay in train.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, Self
from unicodedata import normalize

from ptapp_core.errors import UserError, counted

if TYPE_CHECKING:
    from ptapp_core.data.members import Members

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
TEST = 0.1
"""Share of the samples that become the test split where the data brings none."""
_SHOWN = 3  # samples that a message names


@dataclass(frozen=True)
class Samples:
    """What distinguishes the samples of a data set. Every sequence has one entry per sample, in the data's order."""

    names: Sequence[str]
    """For messages and reports: a relative path, or FILE:ROW."""
    ids: Sequence[str]
    """What names a sample wherever it stands in the data: a relative path, the id of a row, or a digest."""
    digests: Sequence[str] = ()
    """`digest` of each sample's content, the same for byte-identical samples; empty: copies are not looked for."""
    groups: Sequence[str] = ()
    """The group (speaker, patient, recording) of each sample, "" for one without; empty: there are no groups."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_rows(cls, names: Sequence[str], digests: Sequence[str]) -> Self:
        """Samples that have no name of their own: their content says which they are."""
        return cls(names, digests, digests)

    def take(self, rows: Sequence[int]) -> "Samples":
        """The samples `rows`, in that order."""
        return Samples(*([column[row] for row in rows] if column else () for column in self._columns()))

    def join(self, others: Iterable["Samples"]) -> "Samples":
        """These samples, then those of the others."""
        parts = [self, *others]
        columns = zip(*(part._columns() for part in parts), strict=True)
        return Samples(*([value for column in each for value in column] for each in columns))

    def _columns(self) -> tuple[Sequence[str], ...]:
        return self.names, self.ids, self.digests, self.groups

    def key(self, row: int) -> str:
        """The group of a sample, or its id where it has none."""
        return (self.groups[row] if self.groups else "") or self.ids[row]


@dataclass(frozen=True)
class Division:
    """How a job wants its data divided."""

    seed: int = 0
    how: Literal["hash", "exact"] = "hash"
    """`exact` takes exact shares of each class, in the order of the hash; it suits small sets."""
    val: float = 0.1
    """Share of the samples that become the validation split where the data brings none; 0: no such split."""
    fold: int | None = None
    """The fold that is the test split; None: no cross-validation."""
    folds: int | None = None
    """How many folds are made, where the data has none of its own."""
    allow_duplicates: bool = False
    before: "Members | None" = None
    """The splits of the run that is resumed or evaluated: its samples stay where they were."""


BY_HASH = Division()
"""The division of a job that says nothing of it."""


@dataclass(frozen=True)
class Assigned:
    """The split of each sample, and a line about how it came about."""

    parts: Sequence[SplitName | None]
    """None: in no split, as the data's own test samples are while folds of the others take turns."""
    note: str = ""

    def rows(self, split: SplitName) -> list[int]:
        """The samples of a split, in the data's order."""
        return [row for row, part in enumerate(self.parts) if part == split]


@dataclass(frozen=True)
class Known:
    """What the data itself says of its samples; every sequence has one entry per sample."""

    where: object
    """The data's name in messages."""
    labels: Sequence[int] = ()
    """The class of each sample; empty where there are no classes."""
    classes: Sequence[str] = ()
    parts: Sequence[SplitName] = ()
    """The data's own splits; empty where it has none."""
    folds: Sequence[int] = ()
    """The data's own folds; empty where it has none."""
    same: str = "byte-identical samples"
    """What samples of one digest are called in messages."""
    one_class_each: bool = True
    """Whether the same content under two classes is a mistake, as for files; a text may well have two labels."""

    def label(self, row: int) -> int:
        """The class of a sample, 0 where there are no classes."""
        return self.labels[row] if self.labels else 0

    @property
    def kinds(self) -> int:
        """The number of classes, 1 where there are none."""
        return len(self.classes) if self.labels else 1


def digest(content: bytes | memoryview) -> str:
    """64 bits of BLAKE2b of a sample's content, as 16 hexadecimal digits."""
    return blake2b(content, digest_size=8).hexdigest()


def place(key: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that depends on (key, seed, purpose) alone, uniform over keys.

    Composed and decomposed accents are one key: file systems store either.
    """
    content = normalize("NFC", key).encode("utf-8", "surrogateescape")
    hashed = blake2b(content, digest_size=8, key=f"{purpose} {seed}".encode())
    return int.from_bytes(hashed.digest()) / 2**64


def assign(samples: Samples, known: Known, division: Division | None) -> Assigned:
    """Decides the split of each sample.

    In this order: the fold; the data's own splits; and what these lack is drawn from train. Where a run is resumed or
    evaluated, its samples stay in their splits, copies are counted, and nothing is refused. Without a division the data
    is only measured: nothing is drawn.

    Raises:
        UserError: there is no such fold, a class would be missing from a split, a group is in two splits, or
            byte-identical samples are.
    """
    if division is None:
        return Assigned(known.parts or ["train"] * len(samples))
    dividing = _Dividing(samples, known, division)
    if division.fold is not None:
        dividing.test_a_fold(division.fold)
    dividing.draw_what_is_missing()
    dividing.keep_rare_classes()
    copies = dividing.copies()
    # The samples of a run are compared with its record instead, and what was added to its data is only measured.
    if division.before is None:
        dividing.refuse_empty()
        dividing.refuse_split_groups()
    if copies and division.before is None and not division.allow_duplicates:
        raise UserError(f"{known.where}: {copies}; remove the copies, or continue with --allow-duplicates")
    return Assigned(dividing.parts, "; ".join(filter(None, [dividing.note(), copies])))


class _Dividing:
    """The splits of the samples while they are decided."""

    def __init__(self, samples: Samples, known: Known, division: Division) -> None:
        self.samples, self.known, self.division = samples, known, division
        self.parts: list[SplitName | None] = list(known.parts) or ["train"] * len(samples)
        self.drawn: list[SplitName] = []
        self.rare: list[int] = []
        if "train" not in self.parts:
            found = " and ".join(sorted(set(known.parts)))
            raise UserError(f"{known.where}: all its samples are of {found}, none of train")

    @property
    def pool(self) -> list[int]:
        """The samples that other splits can be drawn from."""
        return [row for row, part in enumerate(self.parts) if part == "train"]

    def test_a_fold(self, fold: int) -> None:
        """The test split is a fold: of the data's own folds, or of those that are made from its training samples."""
        before = self.division.before
        own = dict(enumerate(self.known.folds)) or (self._folds_of(before, fold) if before else self._make_folds())
        if fold not in own.values() and not before:
            numbers = ", ".join(map(str, sorted(set(own.values()))))
            raise UserError(f"--fold {fold}: {self.known.where} has the folds {numbers}")
        for row, part in enumerate(self.parts):
            if row in own:
                self.parts[row] = "test" if own[row] == fold else "train"
            elif part == "test":  # the data's own test samples take no part in cross-validation
                self.parts[row] = None

    @property
    def _folds(self) -> int:
        if self.division.folds is None:
            raise UserError(f"{self.known.where}: has no folds; --folds K makes them")
        return self.division.folds

    def _folds_of(self, before: "Members", fold: int) -> dict[int, int]:
        """The fold of each sample of the pool: that of the run, whose others are all 0; of a new one by hash."""
        own: dict[int, int] = {}
        for row in self.pool:
            if kept := before.split_of(self.samples, row):
                own[row] = fold if kept == "test" else 0
            else:
                own[row] = 1 + int(place(self.samples.key(row), self.division.seed, "fold") * self._folds)
        return own

    def _make_folds(self) -> dict[int, int]:
        """The fold of each sample of the pool, from 1: whole groups, in the order of the hash, to the smallest fold."""
        folds, where = self._folds, self.known.where
        groups = self._groups(self.pool, "fold")
        if len(groups) < folds:
            what = "groups" if any(self.samples.groups) else "samples"
            raise UserError(f"--folds {folds}: {where} has {len(groups):,} {what} to divide; give at most as many")
        counts = [[0] * folds for _ in range(self.known.kinds)]  # samples of each class in each fold
        totals = [0] * folds
        own: dict[int, int] = {}
        for group in groups:
            sizes = counts[self.known.label(group[0])]
            smallest = min(range(folds), key=lambda fold: (sizes[fold], totals[fold]))
            totals[smallest] += len(group)
            for row in group:
                own[row] = smallest + 1
                counts[self.known.label(row)][smallest] += 1
        return own

    def _groups(self, pool: Iterable[int], purpose: str) -> list[list[int]]:
        """The samples of the pool by key, in the order of the hash."""
        groups: dict[str, list[int]] = {}
        for row in pool:
            groups.setdefault(self.samples.key(row), []).append(row)
        seed = self.division.seed
        return [groups[key] for key in sorted(groups, key=lambda key: (place(key, seed, purpose), key))]

    def draw_what_is_missing(self) -> None:
        """Takes the splits that the data lacks from its training samples."""
        shares: dict[SplitName, float] = {"test": TEST, "val": self.division.val}
        self.drawn = [split for split, share in shares.items() if share and split not in self.parts]
        before = self.division.before
        if self.drawn and before is None and self.division.how == "exact":
            for split in self.drawn:
                self._draw_exact(split, shares[split])
        elif self.drawn:
            for row in self.pool:
                self.parts[row] = (before and before.split_of(self.samples, row)) or self._split_by_hash(row)

    def _split_by_hash(self, row: int) -> SplitName:
        """The hash of a key lies below TEST: test; below TEST and the share of val: val; else train.

        The thresholds are the same whichever of the two is drawn, so that a sample does not move when one is added.
        """
        at = place(self.samples.key(row), self.division.seed, "split")
        split: SplitName = "test" if at < TEST else "val" if at < TEST + self.division.val else "train"
        return split if split in self.drawn else "train"

    def _draw_exact(self, split: SplitName, share: float) -> None:
        """Takes the share of each class, at least one sample, in whole groups."""
        among = ("train", *self.drawn)  # the share is of all that splits are drawn from
        counts = Counter(self.known.label(row) for row, part in enumerate(self.parts) if part in among)
        wanted = {label: max(1, round(share * count)) for label, count in counts.items()}
        for group in self._groups(self.pool, split):
            if any(wanted[self.known.label(row)] > 0 for row in group):
                for row in group:
                    self.parts[row] = split
                    wanted[self.known.label(row)] -= 1

    def keep_rare_classes(self) -> None:
        """Leaves in train the samples of classes with fewer keys than there are splits, in whole groups.

        Not of a run, whose samples have their splits, and not where less than two classes would be measured.
        """
        if not self.known.labels or not self.drawn or self.division.before is not None or not self._lacking(self.parts):
            return
        parts, rare = list(self.parts), set[int]()
        keys = [self.samples.key(row) for row in range(len(parts))]
        own: dict[int, set[str]] = {}
        for row, part in enumerate(parts):
            if part in ("train", *self.drawn):
                own.setdefault(self.known.label(row), set()).add(keys[row])
        few = {label for label, found in own.items() if len(found) <= len(self.drawn)}
        while lacking := (self._lacking(parts) & few) - rare:  # a group that stays may be all that another class had
            rare |= lacking
            kept = {key for row, key in enumerate(keys) if self.known.label(row) in rare}
            parts = ["train" if part in self.drawn and keys[row] in kept else part for row, part in enumerate(parts)]
        measured = [{self.known.label(row) for row, own in enumerate(parts) if own == split} for split in self.drawn]
        if all(len(labels) > 1 for labels in measured):
            self.parts, self.rare = parts, sorted(rare)

    def _lacking(self, parts: Sequence[SplitName | None]) -> set[int]:
        """The classes of which train, or a split that was drawn, has no sample."""
        found = {split: {self.known.label(row) for row, own in enumerate(parts) if own == split} for split in SPLITS}
        return {label for split in ("train", *self.drawn) for label in set().union(*found.values()) - found[split]}

    def note(self) -> str:
        """How the splits came about, for the console."""
        if not self.drawn:
            idle = self.division.how == "exact" and self.division.before is None
            return "--split exact does nothing here: the data brings all its splits" if idle else ""
        shares = "exact shares of each class" if self.division.how == "exact" else "approximate shares"
        return f"{' and '.join(self.drawn)} drawn from train ({shares}, seed {self.division.seed}){self._on_rare()}"

    def _on_rare(self) -> str:
        """What is said of classes that stay in train."""
        if not self.rare:
            return ""
        names = ", ".join(repr(self.known.classes[label]) for label in self.rare[:_SHOWN])
        names += ", ..." if len(self.rare) > _SHOWN else ""
        count = f"{len(self.rare):,} of {self.known.kinds:,} classes"
        left = f"all of their samples stay in train, and none is in {' or '.join(self.drawn)}"
        return f"; {count} ({names}) are too rare to divide: {left}"

    def refuse_empty(self) -> None:
        """Refuses a division in which a class has no training sample, or none in a split that was drawn."""
        known, where = self.known, self.known.where
        counts = Counter((part, known.label(row)) for row, part in enumerate(self.parts))
        totals = {label: sum(counts[split, label] for split in SPLITS) for label in range(known.kinds)}
        if known.labels and sum(map(bool, totals.values())) < 2:
            only = known.classes[max(totals, key=totals.__getitem__)]
            raise UserError(f"{where}: all samples are of class {only!r}; a classifier needs at least two classes")
        divided: tuple[SplitName, ...] = ("train", *self.drawn)
        for label, total in totals.items():
            lacking = [split for split in divided if total and not counts[split, label]]
            if not lacking or (label in self.rare and counts["train", label]):
                continue
            whose = f"{where}: class {known.classes[label]!r}" if known.labels else f"{where}: the data"
            if not (own := sum(counts[split, label] for split in divided)):
                raise UserError(f"{whose} has {counted(total, 'sample')}, and none to train on; add some")
            whose += f" has {counted(own, 'sample')}{self._in_groups(label, own)}, "
            if self.division.how == "hash":
                raise UserError(f"{whose}none of which fell into {lacking[0]}; add some, or give --split exact")
            wanted = " and ".join(self.drawn) or lacking[0]
            raise UserError(f"{whose}too few to divide; add some, or provide {wanted} samples")

    def _in_groups(self, label: int, total: int) -> str:
        """` in 2 groups` where those samples of a class that are divided stay together, as copies do."""
        divided = ("train", *self.drawn)
        rows = (row for row, part in enumerate(self.parts) if part in divided and self.known.label(row) == label)
        keys = {self.samples.key(row) for row in rows}
        if len(keys) == total:
            return ""
        if any(self.samples.groups):
            return f" in {counted(len(keys), 'group')}"
        return f", {len(keys):,} of them different" if len(keys) > 1 else " that are all the same"

    def refuse_split_groups(self) -> None:
        """Refuses a group in two splits."""
        side: dict[str, SplitName] = {}
        for group, part in zip(self.samples.groups, self.parts, strict=False):
            if group and part and side.setdefault(group, part) != part:
                raise UserError(
                    f"{self.known.where}: samples of the group {group!r} are in {side[group]} and in {part}, which "
                    "makes the figures too good; move them to one split, or name another column with --group-column"
                )

    def copies(self) -> str:
        """How many byte-identical samples are in two splits, or under two classes; empty where none are."""
        first: dict[str, int] = {}
        across, torn = [], []
        for row, content in enumerate(self.samples.digests):
            if self.parts[row] is None:
                continue
            other = first.setdefault(content, row)
            if self.parts[other] != self.parts[row]:
                across.append((other, row))
            elif self.known.one_class_each and self.known.label(other) != self.known.label(row):
                torn.append((other, row))
        found = ((across, "in two splits"), (torn, "under two classes"))
        return " and ".join(
            f"{self.known.same} {where}: {len(pairs):,} ({self._some(pairs)})" for pairs, where in found if pairs
        )

    def _some(self, pairs: Sequence[tuple[int, int]]) -> str:
        names = self.samples.names
        shown = ", ".join(f"{names[one]} is {names[two]}" for one, two in pairs[:_SHOWN])
        return shown + (", ..." if len(pairs) > _SHOWN else "")
