"""Which clips are for training, which choose the checkpoint, which are the test; recordings stay on one side."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ptapp_audio.clips import Clips
from ptapp_core.draws import Draws
from ptapp_core.errors import UserError
from ptapp_core.listing import Listing
from ptapp_core.split import SplitName

TEST = 0.1  # of each class, where the data says nothing


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "path: reason" of each bad sample left out."""

    train: Clips
    val: Clips
    test: Clips
    classes: tuple[str, ...]
    rate: int
    about: str
    made: bool = False
    """The sounds were made by the program."""
    skipped: tuple[str, ...] = ()

    def part(self, name: str) -> Clips:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def assign(listing: Listing, fold: int | None, folds: int | None, val: float, seed: int | None) -> list[SplitName]:
    """The split of each file: by its fold, else as the data says, else drawn by class with the seed.

    Args:
        listing: the files.
        fold: the fold that is the test; of `folds` that are made, where the data has none.
        folds: how many to make, where the data has none.
        val: share of each class of the training files, where the data has no validation files.
        seed: of what is drawn; None where the sounds are only measured: nothing is drawn, and nothing refused.

    Raises:
        UserError: there is no such fold, nothing to train on, or a class is too small to be divided.
    """
    count = len(listing.files)
    parts: list[SplitName] = list(listing.parts or ["train"] * count)
    if seed is None:
        return parts
    if fold is not None:
        own = folds_of(listing, folds, seed)
        if folds is not None and listing.folds is None and max(own) < folds:
            raise UserError(f"--folds {folds}: {listing.where} has recordings for {max(own)}; give at most as many")
        if fold not in own:
            raise UserError(f"--fold {fold}: the data has the folds {', '.join(map(str, sorted(set(own))))}")
        parts = ["test" if each == fold else "train" for each in own]
    if "train" not in parts:
        raise UserError(f"{listing.where}: all its sounds are of {' and '.join(sorted(set(parts)))}, none of train")
    if "test" not in parts:
        for row in _draw(listing, parts, TEST, seed, "test"):
            parts[row] = "test"
    if "val" not in parts and val:
        for row in _draw(listing, parts, val, seed, "val"):
            parts[row] = "val"
    _check(listing, parts)
    return parts


def folds_of(listing: Listing, folds: int | None, seed: int) -> Sequence[int]:
    """The fold of each file: the data's own, or `folds` drawn by class, from 1, whole recordings each."""
    if listing.folds is not None:
        return listing.folds
    if folds is None:
        raise UserError(f"{listing.where}: has no folds; --folds K makes them")
    own = [0] * len(listing.files)
    counts = [[0] * folds for _ in listing.classes]  # of each class in each fold
    for group in _shuffled(listing, range(len(listing.files)), seed, "fold"):
        sizes = counts[listing.labels[group[0]]]
        smallest = sizes.index(min(sizes))
        for row in group:
            own[row] = smallest + 1
            counts[listing.labels[row]][smallest] += 1
    return own


def _shuffled(listing: Listing, rows: Sequence[int], seed: int, name: str) -> list[list[int]]:
    """These rows by recording, in an order that depends on the seed."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(listing.groups[row] if listing.groups else str(row), []).append(row)
    first = torch.tensor([members[0] for members in groups.values()], dtype=torch.int64)
    keys = Draws(seed, 0, first).bits(name, 1).flatten()
    members = list(groups.values())
    return [members[place] for place in keys.argsort(stable=True).tolist()]


def _draw(listing: Listing, parts: Sequence[SplitName], share: float, seed: int, name: str) -> list[int]:
    """Rows of train for a split: of each class its share, at least one, in whole recordings."""
    rows = [row for row, part in enumerate(parts) if part == "train"]
    wanted = [0] * len(listing.classes)
    for row in rows:
        wanted[listing.labels[row]] += 1
    wanted = [max(1, round(share * count)) if count else 0 for count in wanted]
    taken: list[int] = []
    for group in _shuffled(listing, rows, seed, name):
        label = listing.labels[group[0]]
        if wanted[label] > 0:
            wanted[label] -= len(group)
            taken += group
    return taken


def _check(listing: Listing, parts: Sequence[SplitName]) -> None:
    """Refuses a division in which a class has no training clip, or clips of one recording are on two sides."""
    learnt = {label for label, part in zip(listing.labels, parts, strict=True) if part == "train"}
    if len(set(listing.labels)) < 2:
        raise UserError(
            f"{listing.where}: all sounds are of class {listing.classes[listing.labels[0]]!r}; a classifier needs two"
        )
    for label in sorted(set(range(len(listing.classes))) - learnt):
        raise UserError(
            f"{listing.where}: class {listing.classes[label]!r} has too few sounds to divide; add some, or provide "
            "val and test sounds"
        )
    side: dict[str, SplitName] = {}
    for group, part in zip(listing.groups or (), parts, strict=False):
        if side.setdefault(group, part) != part:
            raise UserError(
                f"{listing.where}: clips of the recording {group!r} are in {side[group]} and in {part}, which makes "
                "the figures too good; mend its splits or folds, or what names its recordings"
            )
