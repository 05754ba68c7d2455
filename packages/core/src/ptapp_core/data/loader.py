"""Batches in a seeded, resumable order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptapp_core.data.draws import Draws
from ptapp_core.data.targets import Target
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime, end_with_job, outlive_stop_request
from ptapp_core.runs.states import refuse_unlike

Batch = dict[str, Any]
"""Tensors by name, whose first dimension counts the samples; a number stays on the host, whatever the device."""
Columns = Mapping[str, Tensor]
"""A data set in memory: tensors whose first dimension counts the samples."""


@runtime_checkable
class Gathers(Protocol):
    """A data set in memory that makes its own batches: samples of unequal lengths, padded to the batch's longest."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor) -> Batch:
        """The samples `index`, int64 (n,), each tensor with n rows."""
        ...


Data = Columns | Gathers | Dataset[Batch]


def target_tensor(targets: Sequence[Target]) -> Tensor:
    """Class numbers as int64 (N,), or labels or numbers as float64 (N, K)."""
    numbered = not targets or isinstance(targets[0], int)
    return torch.tensor(targets, dtype=torch.int64 if numbered else torch.float64)


def balanced_sampling(labels: Tensor) -> Tensor:
    """How often a sampler draws each sample, (N,) float32, so that all classes of labels (N,) int64 come equally."""
    return (1.0 / labels.bincount())[labels]


class Loader:
    """A Source over a data set: epoch after epoch, each in its own order, without end.

    The order depends on (seed, epoch) alone. Optimizer step s of an epoch takes `batch_size` samples of that order (the
    last step of an epoch takes what is left); they are cut into `accumulate` micro-batches and each of those into one
    share a rank, so neither number changes which samples a step learns from. An empty share is None. Its state is two
    numbers, epoch and step.

    Args:
        data: tensors in memory, gathered by index; a data set that gathers batches itself; or a map-style Dataset
            whose items are dicts of tensors, read by `workers` processes.
        batch_size: samples an optimizer step, over all micro-batches and ranks.
        runtime: for the device and the ranks.
        transform: called with (batch, draws) on the batch's own device; `draws` are the samples' random numbers.
        sampling: shape (N,); samples are drawn with replacement in this proportion instead of each once an epoch.
        order: takes a generator, seeded with (seed, epoch), to the order of an epoch, int64 (N,); else it is random.
        companions: takes samples, int64 (n,), and their random numbers to P others each, int64 (n, P), that come with
            them. A batch then holds n * (1 + P) samples: first the n, then the first companion of each, and so on.
        names: what sample i is called in messages.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        runtime: Runtime,
        *,
        seed: int = 0,
        accumulate: int = 1,
        transform: Callable[[Batch, Draws], Batch] | None = None,
        sampling: Tensor | None = None,
        order: Callable[[torch.Generator], Tensor] | None = None,
        companions: Callable[[Tensor, Draws], Tensor] | None = None,
        names: Sequence[str] = (),
        workers: int = 0,
    ) -> None:
        self.size = size_of(data)
        if batch_size > self.size:
            raise UserError(
                f"--batch-size {batch_size} is larger than the training set of {self.size} samples; make it smaller"
            )
        self.steps_per_epoch = -(-self.size // batch_size)
        self._data, self._batch_size, self._runtime = data, batch_size, runtime
        self._seed, self._accumulate, self._transform = seed, accumulate, transform
        self._sampling, self._own_order, self._names, self._workers = sampling, order, names, workers
        self._companions = companions
        self._epoch = self._step = 0

    def __iter__(self) -> Iterator[Batch | None]:
        """Micro-batches, `accumulate` an optimizer step; each holds the data set's columns and `index`, int64 (n,)."""
        for number, (epoch, index, batch) in enumerate(self._read(self._epoch, self._step)):
            if number % self._accumulate == 0:  # the state counts whole steps: what is given out is learned
                self._epoch, self._step = divmod(
                    self._epoch * self.steps_per_epoch + self._step + 1, self.steps_per_epoch
                )
            if batch is None:
                yield None
                continue
            batch["index"] = index
            batch = self._runtime.to_device(batch)
            yield self._transform(batch, Draws(self._seed, epoch, batch["index"])) if self._transform else batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and step that come next, and the number of samples that this order is one of."""
        return {"epoch": self._epoch, "step": self._step, "size": self.size}

    def of_ranks(self, states: Sequence[dict[str, int]], rank: int) -> dict[str, int]:
        """All ranks are at the same step, and divide its samples by how many they are now."""
        return states[0]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues at an epoch and step; raises ValueError if the data set has another size."""
        if state["size"] != self.size:
            raise ValueError(f"the data had {state['size']} training samples, now {self.size}")
        refuse_unlike(state, self.state_dict())
        if state["step"] >= self.steps_per_epoch:
            raise ValueError(f"step {state['step']} is beyond the {self.steps_per_epoch} of an epoch")
        self._epoch, self._step = state["epoch"], state["step"]

    def names(self, step: int) -> list[str]:
        """The names of optimizer step `step`, counted from 1 over the whole job."""
        epoch, step = divmod(step - 1, self.steps_per_epoch)
        index = self._order(epoch)[step * self._batch_size : (step + 1) * self._batch_size].tolist()
        return [self._names[i] if self._names else f"sample {i}" for i in index]

    def _order(self, epoch: int) -> Tensor:
        key = Draws(self._seed, epoch, torch.zeros(1, dtype=torch.int64)).bits("order").item()
        generator = torch.Generator().manual_seed(int(key))
        if self._own_order is not None:
            return self._own_order(generator)
        if self._sampling is None:
            return torch.randperm(self.size, generator=generator)
        return torch.multinomial(self._sampling, self.size, replacement=True, generator=generator)

    def _shares(self, first_epoch: int, step: int) -> Iterator[tuple[int, Tensor]]:
        """Yields from that step on the epoch and this rank's part of the next micro-batch as indices."""
        rank, world = self._runtime.data_rank, self._runtime.data_ranks
        for epoch in count(first_epoch):
            order = self._order(epoch)
            for samples in order[step * self._batch_size :].split(self._batch_size):
                if self._accumulate * world == 1:
                    yield epoch, self._accompanied(epoch, samples)
                    continue
                for micro in samples.tensor_split(self._accumulate):
                    yield epoch, self._accompanied(epoch, micro.tensor_split(world)[rank])
            step = 0

    def _accompanied(self, epoch: int, samples: Tensor) -> Tensor:
        """The samples, int64 (n,), and then their companions."""
        if self._companions is None:
            return samples
        drawn = self._companions(samples, Draws(self._seed, epoch, samples))
        return torch.cat([samples, drawn.T.flatten()])

    def _read(self, epoch: int, step: int) -> Iterator[tuple[int, Tensor, Batch | None]]:
        shares = self._shares(epoch, step)
        if isinstance(self._data, Mapping | Gathers):
            for epoch, index in shares:
                yield epoch, index, (_gather(self._data, index) if len(index) else None)
            return
        wanted = (index.tolist() for _, index in self._shares(epoch, step) if len(index))
        batches = _decoded(self._data, wanted, self._workers)
        for epoch, index in shares:
            yield epoch, index, (next(batches) if len(index) else None)


def size_of(data: Data) -> int:
    """How many samples a data set has."""
    return len(next(iter(data.values()))) if isinstance(data, Mapping) else len(data)  # type: ignore[arg-type]


def each_once(data: Data, batch_size: int, runtime: Runtime, *, workers: int = 0) -> Iterator[Batch]:
    """Every sample of this rank's share once, in order, for evaluation; `index` says which they are."""
    index = torch.arange(runtime.rank, size_of(data), runtime.world)
    shares = [part for part in index.split(batch_size) if len(part)]
    batches: Iterator[Batch]
    if isinstance(data, Mapping | Gathers):
        batches = (_gather(data, part) for part in shares)
    else:
        batches = _decoded(data, (part.tolist() for part in shares), workers)
    for part, batch in zip(shares, batches, strict=True):
        batch["index"] = part
        yield runtime.to_device(batch)


def _gather(data: Columns | Gathers, index: Tensor) -> Batch:
    if isinstance(data, Mapping):
        return {name: column.index_select(0, index) for name, column in data.items()}
    return data.gather(index)


def _decoded(data: Dataset[Batch], wanted: Iterator[list[int]], workers: int) -> Iterator[Batch]:
    # A generator of its own: DataLoader would draw a seed from the global one each time that it starts.
    loader = DataLoader(
        data,
        batch_sampler=wanted,
        num_workers=workers,
        generator=torch.Generator(),
        worker_init_fn=outlive_stop_request if workers else None,
    )
    batches = iter(loader)
    end_with_job(getattr(batches, "_workers", ()))
    try:
        yield from batches
    except UserError as error:  # a worker's error arrives with its traceback as text; the last line is the message
        raise UserError(str(error).splitlines()[-1].removeprefix("ptapp_core.errors.UserError: ")) from None
