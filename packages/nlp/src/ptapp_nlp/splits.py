"""What every reader returns: three splits of examples, those that the data lacks taken from its training examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ptapp_core.errors import UserError, counted
from ptapp_core.split import SplitName, divide_rows, fold_rows

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
HELD_OUT = 10  # a missing split takes one in this many


@dataclass(frozen=True)
class Examples:
    """One split. `names` are "FILE:ROW", for messages.

    classify: `source` holds texts and `target` class numbers; tag: lists of words and of tags; translate: texts and
    texts; generate: texts and None.
    """

    source: Sequence[Any]
    target: Sequence[Any]
    names: Sequence[str]
    groups: Sequence[str] = ()
    """Examples of one group belong on the same side of every split; "" is none. Empty where the data has no groups."""
    ids: Sequence[str] = ()
    """What the data itself calls each example, "" where it does not. Empty where the data has no ids."""

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Sequence[int]) -> "Examples":
        """The examples `rows`, in that order."""
        return Examples(*([part[row] for row in rows] if len(part) else () for part in self._columns()))

    def join(self, others: Sequence["Examples"]) -> "Examples":
        """These and then those of the others; where only some have groups or ids, those of the rest are empty."""
        parts = [self, *others]
        columns = []
        for own in zip(*(part._columns() for part in parts), strict=True):
            some = any(len(column) for column in own)
            filled = (column or [""] * (len(part) * some) for part, column in zip(parts, own, strict=True))
            columns.append([value for column in filled for value in column])
        return Examples(*columns)

    def _columns(self) -> tuple[Sequence[Any], ...]:
        return self.source, self.target, self.names, self.groups, self.ids


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "FILE:ROW: reason" of each bad row left out."""

    train: Examples
    val: Examples
    test: Examples
    classes: tuple[str, ...]
    """Names of the classes or tags; none in translation and generation."""
    about: str
    made: bool = False
    """Whether the program made the examples itself."""
    skipped: tuple[str, ...] = ()
    held_out: tuple[SplitName, ...] = ()
    """Splits that were taken from train."""
    notes: tuple[str, ...] = ()
    """Lines about the data that a user should read."""

    def fold(self, fold: int, folds: int, seed: int) -> "Splits":
        """A fold of the training texts as the test, in place of the data's own; raises UserError if there is none."""
        pool = self.train.join([self.part(name) for name in self.held_out])
        rest, own = fold_rows(torch.tensor(pool.target), fold, folds, seed)
        divided: dict[SplitName, Examples] = {"train": pool.take(rest.tolist()), "test": pool.take(own.tolist())}
        if "val" not in self.held_out:
            divided["val"] = self.val
        what = f"{self.about.split(': ')[0]}, fold {fold} of {folds}"
        return divide(divided, self.classes, where=what, what=what, seed=seed, skipped=self.skipped, made=self.made)

    def part(self, name: str) -> Examples:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def divide(
    parts: dict[SplitName, Examples],
    classes: tuple[str, ...],
    *,
    where: object,
    what: str,
    seed: int | None,
    skipped: Sequence[str] = (),
    made: bool = False,
) -> Splits:
    """Completes the splits: one that `parts` lacks takes 10 % of train (of each class), never of test.

    Data that is only measured has no seed: such a split is empty, train too, and no label is refused.

    Raises UserError where train has fewer than two classes, or too few examples to be divided.
    """
    any_part = next(iter(parts.values()))
    by_class = bool(any_part) and isinstance(any_part.target[0], int)
    missing: list[SplitName] = [name for name in SPLITS if name not in parts]
    if seed is None:
        done = parts | {name: any_part.take([]) for name in missing}
    else:
        done = parts | _held_out(parts["train"], classes if by_class else (), missing, where, seed)
    origin = f" (10 % of train, seed {seed})"
    there = [name for name in SPLITS if len(done[name])]
    sizes = ", ".join(f"{len(done[name]):,} {name}{origin if name in missing else ''}" for name in there)
    about = f"{what}: {sizes}" + (f"; {len(classes)} {'classes' if by_class else 'tags'}" if classes else "")
    if skipped:
        about += f"; {counted(len(skipped), 'bad row')} left out"
    return Splits(done["train"], done["val"], done["test"], classes, about, made, tuple(skipped), tuple(missing))


def _held_out(
    train: Examples, classes: Sequence[str], missing: Sequence[SplitName], where: object, seed: int
) -> dict[SplitName, Examples]:
    """Train and the splits that are taken from it, of each of the `classes` if there are any."""
    labels = torch.tensor(train.target if classes else [0] * len(train))
    counts = labels.bincount(minlength=len(classes) or 1)
    if classes and int((counts > 0).sum()) < 2:
        only = classes[int(counts.argmax())]
        raise UserError(f"{where}: all {len(train):,} training texts are of class {only!r}; it takes at least two")
    if not missing:
        return {}
    held_out = ((counts + HELD_OUT // 2) // HELD_OUT).clamp(min=1)
    for label in (counts > 0).nonzero().flatten().tolist():
        if counts[label] <= held_out[label] * len(missing):
            whose = f"class {classes[label]!r} has" if classes else "there are"
            raise UserError(
                f"{where}: {whose} {counts[label]} training examples, too few to take {' and '.join(missing)} from"
            )
    rows = divide_rows(labels, held_out, len(missing), seed)
    names: list[SplitName] = ["train", *missing]
    return {name: train.take(own.tolist()) for name, own in zip(names, rows, strict=True)}


def in_order(labels: Counter[str]) -> tuple[str, ...]:
    """Class names in the order a reader expects: numbers by size, words by the alphabet."""
    if all(name.removeprefix("-").isdecimal() for name in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
