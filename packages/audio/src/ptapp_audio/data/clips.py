"""Clips of any length in one block of int16 samples, in memory or mapped from a file, and windows of them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_audio.data.read import Samples
from ptapp_audio.data.windows import deciding, places
from ptapp_core.data.files import cache_folder
from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Kind


@dataclass(frozen=True)
class Clips:
    """One split. All splits of a data set share `samples`."""

    samples: Tensor
    """int16, the clips of all splits one after the other."""
    starts: Tensor
    """int64 (N,): where each clip begins."""
    lengths: Tensor
    """int64 (N,), in samples."""
    labels: Tensor
    """The targets: class numbers int64 (N,), labels or numbers float64 (N, K)."""
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> "Clips":
        """The clips `rows`, int64 (M,), in that order."""
        names = [self.names[row] for row in rows.tolist()]
        return Clips(self.samples, self.starts[rows], self.lengths[rows], self.labels[rows], names)

    def as_learned(self, kind: Kind, names: Sequence[str]) -> "Clips":
        """The same with the targets as the loss takes them; `names` are those of the targets here."""
        return replace(self, labels=kind.as_learned(names, self.labels))

    def join(self, others: Sequence["Clips"]) -> "Clips":
        """These and then those of other splits of the same data set."""
        parts = [self, *others]
        starts, lengths, labels = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("starts", "lengths", "labels")
        )
        return Clips(self.samples, starts, lengths, labels, [name for part in parts for name in part.names])

    def to(self, device: torch.device) -> "Clips":
        """The clips on that device, so that windows are cut there."""
        samples, starts, lengths = self.samples.to(device), self.starts.to(device), self.lengths.to(device)
        return Clips(samples, starts, lengths, self.labels.to(device), self.names)

    def windows(self, rows: Tensor, at: Tensor, size: int) -> Tensor:
        """`size` samples of each of the clips `rows` from sample `at` on: int16 (n, size).

        Before a clip's beginning and beyond its end there is silence; `at` may be negative.
        """
        rows, at = rows.to(self.starts.device), at.to(self.starts.device)
        place = at[:, None] + torch.arange(size, device=at.device)
        inside = (place >= 0) & (place < self.lengths[rows][:, None])
        index = torch.where(inside, place + self.starts[rows][:, None], 0)
        return torch.where(inside, self.samples[index], 0)


def spread(lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The windows of `size` samples that cover whole clips: whose clip, and where they begin, int64 (M,) each."""
    return _joined([places(length, size) for length in lengths.tolist()])


def _joined(at: Sequence[npt.NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """The windows of each clip in one: whose clip, and where they begin, int64 (M,) each."""
    counts = torch.tensor([len(each) for each in at])
    return torch.arange(len(at)).repeat_interleave(counts), torch.from_numpy(np.concatenate(at))


class Windows:
    """The windows that decide on every clip of a split, for evaluation: a data set that gathers its own batches.

    They cover the clip, but for those that are silent; a clip of silence has all of them. Raises UserError for a clip
    without samples.
    """

    def __init__(self, clips: Clips, size: int) -> None:
        empty = (clips.lengths == 0).nonzero()
        if len(empty):
            raise UserError(f"{clips.names[int(empty[0])]}: holds no samples; leave it out")
        samples = clips.samples.numpy()
        spans = zip(clips.starts.tolist(), clips.lengths.tolist(), strict=True)
        self.owner, self._at = _joined([deciding(samples[start : start + length], size) for start, length in spans])
        self._clips, self._size = clips, size

    def __len__(self) -> int:
        return len(self.owner)

    def gather(self, index: Tensor) -> Batch:
        """`input`, int16 (n, size), and `target` (n,)."""
        rows = self.owner[index]
        windows = self._clips.windows(rows, self._at[index], self._size)
        return {"input": windows, "target": self._clips.labels[rows]}


class Store:
    """Takes clip after clip and ends as one block: in memory, or in a file of its own that goes with the process.

    Args:
        on_disk: keep them in a file without a name under `cache_folder()`, mapped into memory, of which
            the system holds as much as there is room for.
    """

    def __init__(self, on_disk: bool) -> None:
        self._parts: list[Tensor] = []
        self._total = 0
        self._file = None
        if on_disk:
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, clip: Samples) -> int:
        """Takes a clip, int16 (samples,); returns where it begins in the block, in samples."""
        start = self._total
        self._total += len(clip)
        if self._file is None:
            self._parts.append(torch.from_numpy(clip))
        else:
            self._file.write(clip.tobytes())
        return start

    def block(self) -> Tensor:
        """All samples, int16 (total,)."""
        if self._file is None:
            return torch.cat(self._parts)
        with self._file:  # the mapping keeps the bytes
            self._file.flush()
            return torch.from_numpy(np.memmap(self._file, np.int16, "r+", shape=(self._total,)))
