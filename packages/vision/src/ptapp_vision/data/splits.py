"""What every reader returns: three splits of images, those that the data lacks taken from its training samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ptapp_core.data.members import Members
from ptapp_core.data.split import SPLITS, Assigned, Division, Known, Samples, SplitName, assign, digest
from ptapp_core.data.targets import CLASSIFY, note_on_single, refuse_single, said_of, text_of
from ptapp_core.errors import UserError, counted
from ptapp_core.kinds.kind import Kind
from ptapp_vision.data.decode import OnDisk, conform
from ptapp_vision.data.image import Span

if TYPE_CHECKING:
    from ptapp_vision.models.weights import Weights

SEGMENT = "segment"
"""The kind of targets that are masks: a class number for each pixel."""
IGNORED = 255
"""The number of the pixels of a mask that count for nothing."""
_SHOWN = 20  # samples left out that the console names


@dataclass(frozen=True)
class Images:
    """One split: `images` uint8 (N, C, H, W), or on disk; `samples` says which they are.

    `labels` are their targets: class numbers int64 (N,), labels or numbers float64 (N, K), masks uint8 (N, H, W).
    """

    images: Tensor | OnDisk
    labels: Tensor
    samples: Samples

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> Sequence[str]:
        """For messages."""
        return self.samples.names

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
        return Images(images, self.labels[rows], self.samples.take(order))

    def as_learned(self, kind: Kind, names: Sequence[str]) -> "Images":
        """The same with the targets as the loss takes them; `names` are those of the targets here."""
        return replace(self, labels=kind.as_learned(names, self.labels))

    def join(self, others: Sequence["Images"]) -> "Images":
        """These and then those of the others, of the same shape and kind."""
        parts = [self, *others]
        if isinstance(self.images, OnDisk):
            files = [file for part in parts if isinstance(part.images, OnDisk) for file in part.images.files]
            images: Tensor | OnDisk = self.images.of(files)
        else:
            images = torch.cat([part.images for part in parts if isinstance(part.images, Tensor)])
        samples = self.samples.join([part.samples for part in others])
        return Images(images, torch.cat([part.labels for part in parts]), samples)


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "path: reason" of each bad sample left out."""

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    """What the numbers of the classes, or the columns of the targets, are called."""
    about: str
    drawn: bool = False
    skipped: tuple[str, ...] = ()
    span: Span | None = None
    """That of the data's deep grey images."""
    notes: tuple[str, ...] = ()
    """Lines on what was decided about the data that may surprise."""
    kind: str = CLASSIFY
    """The kind of the targets."""
    weights: "Weights | None" = None
    """The initial weights of the job, which decide the size of the images."""

    def lines(self) -> list[str]:
        """What the console says of the data after `about`: the notes, and the first samples that were left out."""
        left_out = [f"left out: {reason}" for reason in self.skipped[:_SHOWN]]
        return [*(f"note: {note}" for note in self.notes), *left_out]

    def part(self, name: str) -> Images:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @cached_property
    def members(self) -> Members:
        """Which sample is in which split."""
        parts = [(split, self.part(split)) for split in SPLITS]
        named = [(split, part.samples, self._texts(part)) for split, part in parts]
        return Members.of(named)

    def _texts(self, part: Images) -> list[str]:
        """The targets as the record of a run keeps them; of masks their digests."""
        if self.kind == SEGMENT:
            return digests(part.labels)
        return [text_of(self.kind, target, self.classes) for target in part.labels.tolist()]

    def conform(self, size: int | None, channels: int | None) -> "Splits":
        """The same splits with images `size` pixels square and of `channels`; None keeps what is there."""
        had, height, width = self.train.shape
        shape = (channels or had, size or max(height, width), size or max(height, width))
        if shape == (had, height, width):
            return self

        def one(part: Images) -> Images:
            assert isinstance(part.images, Tensor), "images on disk are decoded to the size asked for"
            labels = part.labels
            if self.kind == SEGMENT:
                labels = functional.interpolate(labels[:, None], shape[1:], mode="nearest-exact").squeeze(1)
            return replace(part, images=conform(part.images, shape[1], shape[0]), labels=labels)

        about = f"{self.about}, made {shape_text(shape)}"
        return replace(self, train=one(self.train), val=one(self.val), test=one(self.test), about=about)


def divide(
    parts: dict[SplitName, Images],
    classes: tuple[str, ...],
    *,
    where: object,
    what: str,
    division: Division | None,
    skipped: Sequence[str] = (),
    drawn: bool = False,
    folds: Sequence[int] = (),
    kind: str = CLASSIFY,
) -> Splits:
    """Completes the splits that the data has, as `split.assign` decides; raises UserError where it refuses.

    `where` names the data in messages and `what` says in `about` what was recognised. Without a division the data is
    only measured: a split that is not there is empty, and no label is refused. `folds` are the data's own, in the order
    of `parts`.
    """
    first, *others = parts.values()
    samples = first.samples.join([part.samples for part in others])
    labels = torch.cat([part.labels for part in parts.values()]).tolist()
    own = [split for split, part in parts.items() for _ in range(len(part))]
    classifies = kind == CLASSIFY
    if division is not None and classifies:
        _refuse_unknown_classes(parts, classes, where)
    assigned = assign(
        samples, Known(where, labels if classifies else (), classes if classifies else (), own, folds), division
    )
    done = _taken(parts, assigned)
    notes: list[str] = []
    if division is not None and kind not in (CLASSIFY, SEGMENT):
        refuse_single(where, kind, done["train"].labels.tolist(), names=classes)
        notes = note_on_single(kind, done["train"].labels.tolist())

    sizes = ", ".join(f"{len(done[name]):,} {name}" for name in SPLITS if len(done[name]))
    about = f"{what}: {sizes}; {said_of(kind, classes)}; {shape_text(first.shape)}"
    about += f"; {assigned.note}" if assigned.note else ""
    if skipped:
        about += f"; {counted(len(skipped), 'bad sample')} left out"
    return Splits(
        done["train"], done["val"], done["test"], classes, about, drawn, tuple(skipped), notes=tuple(notes), kind=kind
    )


def _taken(parts: dict[SplitName, Images], assigned: Assigned) -> dict[SplitName, Images]:
    """The images of each split. What the data has as it should be is not copied."""
    done: dict[SplitName, Images] = {}
    for split in SPLITS:
        taken: list[Images] = []
        start = 0
        for part in parts.values():
            own = assigned.parts[start : start + len(part)]
            rows = torch.tensor([row for row, name in enumerate(own) if name == split], dtype=torch.int64)
            if len(rows):
                taken.append(part if len(rows) == len(part) else part.take(rows))
            start += len(part)
        done[split] = taken[0].join(taken[1:]) if len(taken) > 1 else (taken or [_none_of(parts)])[0]
    return done


def _none_of(parts: dict[SplitName, Images]) -> Images:
    """An empty split."""
    return next(iter(parts.values())).take(torch.arange(0))


def _refuse_unknown_classes(parts: dict[SplitName, Images], classes: Sequence[str], where: object) -> None:
    known = set(parts["train"].labels.tolist()) if "train" in parts else set(range(len(classes)))
    for name, part in parts.items():
        if strange := sorted(set(part.labels.tolist()) - known):
            raise UserError(f"{where}: {name} has images of class {classes[strange[0]]!r}, of which train has none")


def digests(images: Tensor) -> list[str]:
    """The digest of each of the images, uint8 (N, ...), which have no file of their own."""
    return [digest(image.tobytes()) for image in images.numpy()]


def shape_text(shape: tuple[int, int, int]) -> str:
    """`48x48 grey` (width x height) for a shape (channels, height, width)."""
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
