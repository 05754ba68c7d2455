"""The collectives of torch.distributed: each is made on known values, timed, and compared with two algorithms.

Buffers are float32 (n,). Rank r fills its own with (17 r + i) mod 251 at place i: whole numbers, whose sums are exact
on up to 60,000 ranks, and which are found out if they end at another place or come from another rank.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

BYTES = 4  # of a float32


class Case(NamedTuple):
    """A collective on buffers that are filled already."""

    call: Callable[[], object]
    result: Tensor
    """What the call fills on this rank, float32 (m,)."""
    expected: Tensor
    """What it must be filled with, float32 (m,)."""


@dataclass(frozen=True)
class Here:
    """The rank on which a case is made."""

    rank: int
    world: int
    device: torch.device

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def filled(self, rank: int, count: int) -> Tensor:
        """The buffer of a rank, float32 (count,)."""
        return (torch.arange(count, device=self.device) + 17 * rank).remainder(251).float()

    def summed(self, count: int) -> Tensor:
        """The sum of the buffers of all ranks, float32 (count,)."""
        return torch.stack([self.filled(rank, count) for rank in range(self.world)]).sum(0)

    def pieces(self, count: int) -> Tensor:
        """Piece number `rank` of the buffer of every rank, in their order, float32 (count,)."""
        share = count // self.world
        own = slice(self.rank * share, (self.rank + 1) * share)
        return torch.cat([self.filled(rank, count)[own] for rank in range(self.world)])

    def shares(self, count: int) -> Tensor:
        """The first share of every rank's buffer, one after the other, float32 (count,)."""
        return torch.cat([self.filled(rank, count // self.world) for rank in range(self.world)])


def _send_recv(here: Here, count: int) -> Case:
    """Around a ring: each rank sends to the next and receives from the one before."""
    after, before = (here.rank + 1) % here.world, (here.rank - 1) % here.world
    own, result = here.filled(here.rank, count), torch.zeros(count, device=here.device)

    def call() -> None:
        for work in dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, own, after), dist.P2POp(dist.irecv, result, before)]
        ):
            work.wait()

    return Case(call, result, here.filled(before, count))


def _broadcast(here: Here, count: int) -> Case:
    result = here.filled(here.rank, count)
    return Case(lambda: dist.broadcast(result, 0), result, here.filled(0, count))


def _scatter(here: Here, count: int) -> Case:
    share = count // here.world
    parts = list(here.filled(0, count).split(share)) if here.rank == 0 else None
    result = torch.zeros(share, device=here.device)
    expected = here.filled(0, count).split(share)[here.rank]
    return Case(lambda: dist.scatter(result, parts, 0), result, expected)


def _gather(here: Here, count: int) -> Case:
    own = here.filled(here.rank, count // here.world)
    result = torch.zeros(count if here.rank == 0 else 0, device=here.device)
    parts = list(result.split(len(own))) if here.rank == 0 else None
    expected = here.shares(count) if here.rank == 0 else result.clone()
    return Case(lambda: dist.gather(own, parts, 0), result, expected)


def _reduce(here: Here, count: int) -> Case:
    buffer = here.filled(here.rank, count)
    # what the other ranks are left with is undefined
    result = buffer if here.rank == 0 else buffer[:0]
    return Case(lambda: dist.reduce(buffer, 0), result, here.summed(count)[: len(result)])


def _all_reduce(here: Here, count: int) -> Case:
    result = here.filled(here.rank, count)
    return Case(lambda: dist.all_reduce(result), result, here.summed(count))


def _gather_all(result: Tensor, own: Tensor) -> None:
    known = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"  # before torch 2.14
    getattr(dist, known)(result, own)


def _scatter_sums(result: Tensor, own: Tensor) -> None:
    known = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"
    getattr(dist, known)(result, own)


def _all_gather(here: Here, count: int) -> Case:
    own, result = here.filled(here.rank, count // here.world), torch.zeros(count, device=here.device)
    return Case(lambda: _gather_all(result, own), result, here.shares(count))


def _reduce_scatter(here: Here, count: int) -> Case:
    own, share = here.filled(here.rank, count), count // here.world
    result = torch.zeros(share, device=here.device)
    expected = here.summed(count).split(share)[here.rank]
    return Case(lambda: _scatter_sums(result, own), result, expected)


def _all_to_all(here: Here, count: int) -> Case:
    own, result = here.filled(here.rank, count), torch.zeros(count, device=here.device)
    return Case(lambda: dist.all_to_all_single(result, own), result, here.pieces(count))


def _barrier(here: Here, count: int) -> Case:
    nothing = torch.zeros(0)
    return Case(dist.barrier, nothing, nothing)


COLLECTIVES: Mapping[str, Callable[[Here, int], Case]] = {
    "send/recv": _send_recv,
    "broadcast": _broadcast,
    "scatter": _scatter,
    "gather": _gather,
    "reduce": _reduce,
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "all_to_all": _all_to_all,
    "barrier": _barrier,
}
"""By name: (here, n) -> a case on buffers of n numbers, a multiple of the ranks. Where the buffers of a rank have two
sizes, n is that of the larger one."""


def difference(case: Case) -> str:
    """Where a result is not as expected, for a message; empty where all of it is."""
    wrong = (case.result != case.expected).nonzero().flatten()
    if not len(wrong):
        return ""
    place = int(wrong[0])
    return (
        f"{len(wrong):,} of {len(case.result):,} numbers are wrong, the first at place {place:,}: "
        f"{case.result[place].item():g} in place of {case.expected[place].item():g}"
    )


def seconds_of(case: Case, here: Here, repeats: int) -> float:
    """The median time of a call, of the slowest rank."""
    times = []
    for _ in range(repeats):
        dist.barrier()
        began = time.perf_counter()
        case.call()
        here.wait()
        times.append(time.perf_counter() - began)
    slowest = torch.tensor(statistics.median(times), dtype=torch.float64, device=here.device)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


@dataclass(frozen=True)
class Link:
    """A message between two ranks: `latency` seconds, and `per_byte` seconds more for each byte."""

    latency: float
    per_byte: float

    @classmethod
    def measured(cls, here: Here, sizes: Sequence[int], repeats: int) -> "Link":
        """The line through the times of the smallest and the largest message, in bytes, as rank 0 measures them.

        Rank 0 sends each to the last rank, which may be on another machine, and gets it back; the others wait, and
        what they return means nothing. The best of the repeats counts.
        """
        times = {}
        for size in (min(sizes), max(sizes)):
            buffer = torch.zeros(size // BYTES, device=here.device)
            times[size] = min(_round_trip(buffer, here) for _ in range(repeats)) / 2
        (small, little), (large, much) = times.items()
        slope = max(much - little, 0.0) / (large - small)
        return cls(max(little - slope * small, 0.0), slope)


def _round_trip(buffer: Tensor, here: Here) -> float:
    """Seconds from rank 0 to the last one and back; they mean something on rank 0."""
    last = here.world - 1
    dist.barrier()
    began = time.perf_counter()
    if here.rank == 0:
        dist.send(buffer, last)
        dist.recv(buffer, last)
    elif here.rank == last:
        dist.recv(buffer, 0)
        dist.send(buffer, 0)
    here.wait()
    return time.perf_counter() - began


class Bounds(NamedTuple):
    """The seconds that a collective takes by two algorithms, where a message takes what a `Link` says."""

    ring: float
    tree: float


def bounds(name: str, size: int, world: int, *, link: Link) -> Bounds:
    """The time of a collective on buffers of `size` bytes, without the additions of a sum.

    The formulas are those of Thakur, Rabenseifner and Gropp (2005), "Optimization of Collective Communication
    Operations in MPICH". `ring` sends pieces from neighbour to neighbour; `tree` doubles, in each round, the ranks that
    have something to send.
    """
    rounds, others = ceil(log2(world)), world - 1
    latency, whole = link.latency, size * link.per_byte
    most = whole * others / world  # all pieces but one
    match name:
        case "send/recv":
            return Bounds(latency + whole, latency + whole)
        case "broadcast" | "reduce":
            return Bounds(others * latency + whole, rounds * (latency + whole))
        case "all_reduce":
            return Bounds(2 * (others * latency + most), 2 * rounds * (latency + whole))
        case "all_to_all":
            return Bounds(others * latency + most, rounds * (latency + whole / 2))
        case "barrier":
            return Bounds(2 * others * latency, rounds * latency)
    return Bounds(others * latency + most, rounds * latency + most)


@dataclass
class Times:
    """Seconds of a collective by the bytes of its larger buffer, beside those of two algorithms."""

    measured: dict[int, float] = field(default_factory=dict)
    bounds: dict[int, Bounds] = field(default_factory=dict)
