"""What every reader returns: three splits of images, those that the data lacks taken from its training samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptapp_core.errors import UserError, counted
from ptapp_core.split import SplitName, divide_rows, fold_rows
from ptapp_vision.decode import OnDisk, Span, conform

_HELD_OUT_SPLITS: tuple[SplitName, ...] = ("val", "test")
_ALL_SPLITS: tuple[SplitName, ...] = ("train", *_HELD_OUT_SPLITS)
HELD_OUT = 10  # a missing split takes one in this many of each class


@dataclass(frozen=True)
class Images:
    """One split: `images` uint8 (N, C, H, W), or on disk; `labels` int64 (N,); `names`, for messages."""

    images: Tensor | OnDisk
    labels: Tensor
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        if isinstance(self.images, OnDisk):
            return self.images.channels, self.images.size, self.images.size
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, rows: Tensor) -> "Images":
        """The samples `rows` (int64), in that order."""
        order: list[int] = rows.tolist()
        if isinstance(self.images, OnDisk):
            files = [self.images.files[row] for row in order]
            images: Tensor | OnDisk = self.images.of(files)
        else:
            images = self.images[rows]
        return Images(images, self.labels[rows], [self.names[row] for row in order])

    def join(self, others: Sequence["Images"]) -> "Images":
        """These and then those of the others, of the same shape and kind."""
        parts = [self, *others]
        if isinstance(self.images, OnDisk):
            files = [file for part in parts if isinstance(part.images, OnDisk) for file in part.images.files]
            images: Tensor | OnDisk = self.images.of(files)
        else:
            images = torch.cat([part.images for part in parts if isinstance(part.images, Tensor)])
        names = [name for part in parts for name in part.names]
        return Images(images, torch.cat([part.labels for part in parts]), names)


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "path: reason" of each bad sample left out."""

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    about: str
    drawn: bool = False
    skipped: tuple[str, ...] = ()
    held_out: tuple[SplitName, ...] = ()
    """Splits that were taken from train."""
    span: Span | None = None
    """That of the data's deep grey images."""
    left_out: tuple[str, ...] = ()
    """A line for each kind of files that were not read."""

    def part(self, name: str) -> Images:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def fold(self, fold: int, folds: int, seed: int) -> "Splits":
        """A fold of the training images as the test, in place of the data's own; raises UserError if there is none."""
        pool = self.train.join([self.part(name) for name in self.held_out])
        rest, own = fold_rows(pool.labels, fold, folds, seed)
        divided: dict[SplitName, Images] = {"train": pool.take(rest), "test": pool.take(own)}
        if "val" not in self.held_out:
            divided["val"] = self.val
        what = f"{self.about.split(': ')[0]}, fold {fold} of {folds}"
        parts = divide(divided, self.classes, where=what, what=what, seed=seed, skipped=self.skipped, drawn=self.drawn)
        return replace(parts, span=self.span, left_out=self.left_out)

    def conform(self, size: int | None, channels: int | None) -> "Splits":
        """The same splits with images `size` pixels square and of `channels`; None keeps what is there."""
        had, height, width = self.train.shape
        shape = (channels or had, size or max(height, width), size or max(height, width))
        if shape == (had, height, width):
            return self

        def one(part: Images) -> Images:
            assert isinstance(part.images, Tensor), "images on disk are decoded to the size asked for"
            return replace(part, images=conform(part.images, shape[1], shape[0]))

        about = f"{self.about}, made {shape_text(shape)}"
        return replace(self, train=one(self.train), val=one(self.val), test=one(self.test), about=about)


def divide(
    parts: dict[SplitName, Images],
    classes: tuple[str, ...],
    *,
    where: object,
    what: str,
    seed: int | None,
    skipped: Sequence[str] = (),
    drawn: bool = False,
) -> Splits:
    """Checks the labels and completes the splits.

    A split that `parts` lacks takes 10 % of each class of train, at least one sample, drawn by (seed, position) alone;
    val is never taken from test. Data that is only measured has no seed: a split that is not there is empty, train too,
    and no label is refused. `where` names the data in messages and `what` says in `about` what was recognised.
    Raises UserError where train has fewer than two classes, val or test has a class that train lacks, or a class has
    too few samples to be divided.
    """
    missing = [name for name in (_ALL_SPLITS if seed is None else _HELD_OUT_SPLITS) if name not in parts]
    done, first = dict(parts), next(iter(parts.values()))
    if seed is None:
        done |= {name: first.take(torch.arange(0)) for name in missing}
    else:
        train = parts["train"]
        held_out = _held_out(parts, classes, missing, where)
        if missing:
            rows = divide_rows(train.labels, held_out, len(missing), seed)
            done |= {name: train.take(own) for name, own in zip(["train", *missing], rows, strict=True)}

    origin = f" (10 % of each class of train, seed {seed})"
    there = [name for name in _ALL_SPLITS if len(done[name])]
    sizes = ", ".join(f"{len(done[name]):,} {name}{origin if name in missing else ''}" for name in there)
    about = f"{what}: {sizes}; {len(classes)} classes; {shape_text(first.shape)}"
    if skipped:
        about += f"; {counted(len(skipped), 'bad sample')} left out"
    return Splits(done["train"], done["val"], done["test"], classes, about, drawn, tuple(skipped), tuple(missing))


def shape_text(shape: tuple[int, int, int]) -> str:
    """`48x48 grey` (width x height) for a shape (channels, height, width)."""
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


def _held_out(
    parts: Mapping[SplitName, Images], classes: Sequence[str], missing: Sequence[SplitName], where: object
) -> Tensor:
    """How many samples of each class a missing split takes, int64 (classes,); refuses labels that allow no division."""
    train = parts["train"]
    counts = train.labels.bincount(minlength=len(classes))
    present: list[int] = counts.nonzero().flatten().tolist()
    if len(present) < 2:
        only = f"{len(train):,} training images, all of class {classes[present[0]]!r}"
        raise UserError(f"{where}: {only}; a classifier needs at least two classes")
    for name, part in parts.items():
        strange = (part.labels.bincount(minlength=len(classes)) * (counts == 0)).nonzero().flatten().tolist()
        if strange:
            raise UserError(f"{where}: {name} has images of class {classes[strange[0]]!r}, of which train has none")
    held_out = ((counts + HELD_OUT // 2) // HELD_OUT).clamp(min=1)
    for label in present:
        if counts[label] <= held_out[label] * len(missing):
            there = counted(int(counts[label]), "training image")
            raise UserError(
                f"{where}: class {classes[label]!r} has {there}, too few to take "
                f"{' and '.join(missing)} from; add images of it, or provide {' and '.join(missing)} images"
            )
    return held_out
