"""The work of `ptapp dist check` on one rank: meet the others, make each collective, and print what was found."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from ptapp_core.cli.dist import CheckRanks
from ptapp_core.errors import CheckFailed, UserError, counted, one_line
from ptapp_core.machine.collectives import BYTES, COLLECTIVES, Here, Link, Times, bounds, difference, seconds_of
from ptapp_core.machine.reach import Peer, Place, answers, meet, open_store, versions
from ptapp_core.machine.runtime import choose_device
from ptapp_core.machine.terminal import tell

_REPEATS = 5
_SIZES = (4 * 2**10, 256 * 2**10)  # bytes of the buffers that are timed, besides the largest
_FEW = 7  # numbers of a rank, in the first buffers that are checked
_LOST = "lost: "
"""How the fault of a rank begins that lost another one, which may have caused it."""
_OF_A_LINK = re.compile("gloo|nccl|timed out|by peer", re.IGNORECASE)

T = TypeVar("T")


def check_ranks(settings: CheckRanks) -> dict[str, Times]:
    """Checks and times every collective between this rank and the others; rank 0 prints what is found.

    Raises:
        CheckFailed: a rank is not reached or has other versions, or a collective is wrong.
        UserError: the settings, or the environment, ask for what this machine has not.
    """
    cuda = torch.cuda.is_available()
    backend = settings.backend if settings.backend != "auto" else "nccl" if cuda else "gloo"
    if backend == "nccl" and not cuda:
        raise UserError("--backend nccl: torch sees no CUDA device on this machine; give gloo")
    place = Place.of_environment()
    if place.world == 1:
        raise UserError("a single rank has no other to reach: start at least 2, by --nproc or by torchrun")
    device = choose_device("cuda" if backend == "nccl" else "cpu")
    if place.rank == 0:
        tell(f"{_backends()}\nchecking {backend} on {place.world} ranks that meet at {place.address}:{place.port}")
    store = open_store(place, settings.timeout)
    peers = meet(store, place, _device_name(device), seconds=settings.timeout)
    if place.rank == 0:
        tell("\n".join(_peer_lines(peers)))
    _connect(backend, place, store, device=device, seconds=settings.timeout)
    largest = settings.size or (128 if backend == "nccl" else 4)
    sizes = (*_SIZES, largest * 2**20)
    here = Here(place.rank, place.world, device)
    times = _run_all(here, store, place, peers=peers, sizes=sizes, wait=settings.timeout)
    dist.barrier()  # rank 0 may serve the store
    dist.destroy_process_group()
    return times


def _backends() -> str:
    """Which of torch's backends this build has, with what keeps one from working."""
    built = {"gloo": dist.is_gloo_available(), "nccl": dist.is_nccl_available(), "mpi": dist.is_mpi_available()}
    devices = torch.cuda.device_count()
    about = {"nccl": f" ({counted(devices, 'CUDA device')})"}
    there = [name + about.get(name, "") for name, has in built.items() if has]
    absent = [name for name, has in built.items() if not has]
    line = f"{', '.join(f'{name} {version}' for name, version in versions().items())}\nbackends: {', '.join(there)}"
    return line + (f"; not in this torch: {', '.join(absent)}" if absent else "")


def _device_name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else f"{device} {torch.cuda.get_device_name(device)}"


def _peer_lines(peers: Sequence[Peer]) -> list[str]:
    """Who is there, and that each reaches each other."""
    width = max(4, *(len(peer.host) for peer in peers))
    lines = [f"rank  {'host':{width}}  {'address':15}  device"]
    for rank, peer in enumerate(peers):
        lines.append(f"{rank:4}  {peer.host:{width}}  {peer.address:15}  {peer.device}")
    return [*lines, "each rank reaches each other\n"]


def _connect(backend: str, place: Place, store: Store, *, device: torch.device, seconds: float) -> None:
    """Makes torch's process group of all ranks."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.world, timeout=timedelta(seconds=seconds)
        )
    except RuntimeError as error:
        raise CheckFailed(f"rank {place.rank}: {backend} connects no ranks ({one_line(error)})") from error


def _run_all(
    here: Here, store: Store, place: Place, *, peers: Sequence[Peer], sizes: Sequence[int], wait: float
) -> dict[str, Times]:
    """Every collective in order; rank 0 prints a line of the table for each that is right on all ranks.

    Raises:
        CheckFailed: a collective is wrong or ends with an error on a rank, or the rank does not answer.
    """
    found: dict[str, Times] = {}
    agree = partial(_agree, store, place, peers=peers, wait=wait)
    link = agree("message", lambda: (Link.measured(here, sizes, _REPEATS), ""))
    if here.rank == 0:
        tell("\n".join(_head(sizes)))
    for name in COLLECTIVES:
        seconds = agree(name, partial(_measure, name, here, sizes))
        found[name] = Times(seconds, {size: bounds(name, size, here.world, link=link) for size in seconds})
        if here.rank == 0:
            tell(_row(name, found[name], sizes))
    if here.rank == 0:
        pace = f"{_short(link.latency * 1e3)} ms and {_rate(link.per_byte)}"
        tell(
            f"\nall {len(found)} are right on {here.world} ranks\n"
            "GB/s: bytes of a rank's larger buffer by the time of the slowest rank\n"
            "ring, tree: ms of the largest size by these algorithms, if a message takes\n"
            f"{pace}, as it does between rank 0 and {here.world - 1}"
        )
    return found


def _measure(name: str, here: Here, sizes: Sequence[int]) -> tuple[dict[int, float], str]:
    """Seconds by size, and what is wrong with the collective on this rank; empty if nothing is.

    A rank with a wrong result goes on, or the others would wait for it.
    """
    seconds: dict[int, float] = {}
    faults: list[str] = []
    for size in (0, *sizes[: 1 if name == "barrier" else None]):
        count = max(size // BYTES // here.world, _FEW) * here.world
        case = COLLECTIVES[name](here, count)
        case.call()
        if fault := difference(case):
            faults.append(f"with {_bytes(count * BYTES)}, {fault}")
        if size:
            seconds[size] = seconds_of(case, here, _REPEATS)
    return seconds, next(iter(faults), "")


def _agree(
    store: Store, place: Place, name: str, work: Callable[[], tuple[T, str]], *, peers: Sequence[Peer], wait: float
) -> T:
    """What the work on a collective gives, once it is right on all ranks; else every rank raises CheckFailed."""
    result, fault = None, ""
    try:
        result, fault = work()
    except RuntimeError as error:
        text = one_line(error)
        fault = f"{_LOST if _OF_A_LINK.search(text) else ''}it ends with {text}"
    refuse_faults(name, answers(store, name, place, own=fault, seconds=2 * wait), peers)
    return cast(T, result)


def refuse_faults(name: str, heard: Sequence[str | None], peers: Sequence[Peer]) -> None:
    """Raises CheckFailed with the fault of one rank, if any: not one that may follow from another rank's.

    Args:
        heard: what is wrong on each rank; empty where nothing is, None of a rank that does not answer.
    """
    told = {rank: fault for rank, fault in enumerate(heard) if fault}
    own = {rank: fault for rank, fault in told.items() if not fault.startswith(_LOST)}
    silent = {rank: "it does not answer" for rank, fault in enumerate(heard) if fault is None}
    if faults := own or silent or told:
        rank, fault = min(faults.items())
        raise CheckFailed(f"{name} fails on rank {rank} ({peers[rank].host}): {fault.removeprefix(_LOST)}")


def _head(sizes: Sequence[int]) -> list[str]:
    columns = "".join(f"{_bytes(size):>16}" for size in sizes)
    units = f"{'ms':>8}{'GB/s':>8}" * len(sizes)
    return [f"{'':14}{columns}{'ring':>9}{'tree':>9}", f"{'':14}{units}{'ms':>9}{'ms':>9}"]


def _row(name: str, times: Times, sizes: Sequence[int]) -> str:
    """Milliseconds and GB/s by size, then the bounds of the largest size; a barrier has no size."""
    cells = ""
    for size in sizes:
        took = times.measured.get(size)
        rate = "" if took is None or name == "barrier" else f"{size / took / 1e9:.2g}"
        cells += f"{'' if took is None else _short(took * 1e3):>8}{rate:>8}"
    bound = times.bounds[max(times.bounds)]
    return f"{name:14}{cells}{_short(bound.ring * 1e3):>9}{_short(bound.tree * 1e3):>9}"


def _short(number: float) -> str:
    """Three digits or all before the point: `0.0125`, `3.21`, `1540`."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}" if number >= 1e-4 else "0"


def _rate(per_byte: float) -> str:
    return f"{_short(1e-9 / per_byte)} GB/s" if per_byte else "no time for its bytes"


def _bytes(size: int) -> str:
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} bytes"
