"""Whether the ranks of a job find and reach each other: the store, who is there, and a connection of each pair.

torch says of a rank that cannot be reached that something timed out. Here each step is made by itself, with plain
sockets and before torch connects anything, so that the first that fails can be named with its address and port.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import metadata
from threading import Thread

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from ptapp_core.errors import CheckFailed, UserError, counted

_SIOCGIFADDR = 0x8915 if sys.platform == "linux" else 0xC0206921
_PAUSE = 0.2  # seconds between two attempts to reach a store that is not there yet


@dataclass(frozen=True)
class Place:
    """The rank of this process, and where the ranks meet, as a launcher says it in the environment."""

    rank: int
    world: int
    address: str
    port: int

    @classmethod
    def of_environment(cls) -> "Place":
        """The place that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT name; raises UserError where one is missing."""
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if absent := [name for name in names if not os.environ.get(name)]:
            raise UserError(f"{absent[0]} is not set in the environment: start the ranks by --nproc or by torchrun")
        rank, world, address, port = (os.environ[name] for name in names)
        if not (rank.isdecimal() and world.isdecimal() and port.isdecimal()):
            raise UserError(f"RANK {rank}, WORLD_SIZE {world} and MASTER_PORT {port} must be whole numbers")
        return cls(int(rank), int(world), address, int(port))


@dataclass(frozen=True)
class Peer:
    """What a rank tells the others before they are connected."""

    host: str
    device: str
    address: str
    """The address on which the other ranks are to reach it."""
    port: int
    """Where it listens while this is tried."""
    interfaces: dict[str, str]
    """The addresses of its machine, by interface."""
    versions: dict[str, str]


def open_store(place: Place, seconds: float) -> Store:
    """The key-value store in which the ranks meet: torchrun's, or else one that rank 0 serves.

    Raises:
        CheckFailed: nothing answers at the address and port within so many seconds.
    """
    by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    serves = place.rank == 0 and not by_agent
    until = time.monotonic() + seconds
    while not serves and (reason := _refusal(place.address, place.port, until - time.monotonic())):
        if time.monotonic() + _PAUSE >= until:
            raise CheckFailed(
                f"rank {place.rank} ({socket.gethostname()}) cannot reach the store of rank 0 at {place.address}:"
                f"{place.port} ({reason}): check that address, and that the firewall there lets port {place.port} in"
            )
        time.sleep(_PAUSE)
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            place.address,
            place.port,
            is_master=serves,
            timeout=timedelta(seconds=seconds),
            wait_for_workers=False,
        )
    except RuntimeError as error:  # its port is taken, the address is not of this machine, or no store answers there
        what = "serve the store" if serves else "use what answers"
        reason = str(error).splitlines()[0]
        raise CheckFailed(f"rank {place.rank} cannot {what} at {place.address}:{place.port} ({reason})") from None
    return PrefixStore(f"ptapp-check-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def answers(store: Store, what: str, place: Place, *, own: str, seconds: float) -> list[str | None]:
    """What each rank has to say, in order of rank; None of one that says nothing within so many seconds.

    Rank 0, with which the store may end, stays until the others have heard as well.
    """
    until = time.monotonic() + seconds

    def read(key: str) -> str | None:
        try:
            store.wait([key], timedelta(seconds=max(until - time.monotonic(), 0.1)))
            return str(store.get(key).decode())
        except RuntimeError:  # torch's own DistStoreError, or DistNetworkError where rank 0 has gone
            return None

    ranks = range(place.world)
    store.set(f"{what}/{place.rank}", own)
    heard = [own if rank == place.rank else read(f"{what}/{rank}") for rank in ranks]
    if place.rank == 0:
        until = time.monotonic() + seconds
        for rank in ranks[1:]:
            if heard[rank] is not None:
                read(f"{what}/heard by {rank}")
    else:
        with suppress(RuntimeError):  # rank 0 has gone
            store.set(f"{what}/heard by {place.rank}", "")
    return heard


def meet(store: Store, place: Place, device: str, *, seconds: float) -> list[Peer]:
    """Every rank, in order, once each has been seen to reach each other and to have the same versions.

    Raises:
        CheckFailed: a rank did not come, has other versions, or cannot be reached; every rank says the same.
        UserError: GLOO_SOCKET_IFNAME names an interface that is not there.
    """
    with _listening(_offered_address(), place) as (address, port):
        own = Peer(socket.gethostname(), device, address, port, interfaces(), versions())
        heard = answers(store, "peer", place, own=json.dumps(asdict(own)), seconds=seconds)
        if absent := [rank for rank, told in enumerate(heard) if told is None]:
            raise CheckFailed(
                f"{_ranks(absent)} of {place.world} did not come to the store at {place.address}:{place.port} within "
                f"{seconds:g} s: see what is printed there, and whether the firewall lets port {place.port} in"
            )
        peers = [Peer(**json.loads(told)) for told in heard if told is not None]
        _refuse_unequal(peers)
        failure = next((text for rank in range(place.world) if (text := _unreached(peers, place.rank, rank))), "")
        found = answers(store, "links", place, own=failure, seconds=seconds * place.world)
        for rank, fault in enumerate(found):
            if fault is None:
                raise CheckFailed(
                    f"rank {rank} ({peers[rank].host}) has gone, or hangs, while it tries to reach others"
                )
            if fault:
                raise CheckFailed(fault)
    return peers


def versions() -> dict[str, str]:
    """Those that must be the same on all ranks."""
    return {"torch": str(torch.__version__), "ptapp": metadata.version("ptapp-core")}


def interfaces() -> dict[str, str]:
    """The IPv4 address of each network interface of this machine that has one, by its name."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


def _offered_address() -> str:
    """The address that gloo offers to the other ranks: that of GLOO_SOCKET_IFNAME, or what the host's name means."""
    if wanted := os.environ.get("GLOO_SOCKET_IFNAME"):
        name, known = wanted.split(",")[0], interfaces()
        if name not in known:
            raise UserError(
                f"GLOO_SOCKET_IFNAME={wanted}: this machine has no interface {name!r} with an IPv4 address; it has "
                f"{_listed(known)}"
            )
        return known[name]
    try:
        address = socket.gethostbyname(socket.gethostname())
        with socket.socket() as probe:
            probe.bind((address, 0))
        return address
    except OSError:  # the name means nothing, or the address of another machine
        pass
    return "127.0.0.1"


@contextmanager
def _listening(address: str, place: Place) -> Iterator[tuple[str, int]]:
    """Answers whoever connects with the number of this rank, on a port of the system's choice."""

    def answer() -> None:
        while True:
            try:
                with server.accept()[0] as caller:
                    caller.sendall(_name_of(place.rank))
            except OSError:  # the server was closed, or the caller has gone
                if server.fileno() < 0:
                    return

    with socket.create_server((address, 0), backlog=place.world) as server:
        Thread(target=answer, daemon=True).start()
        yield address, server.getsockname()[1]
        with suppress(OSError):  # macOS shuts down no socket that listens
            server.shutdown(socket.SHUT_RDWR)


def _name_of(rank: int) -> bytes:
    """What a rank answers; another program at its address and port would not."""
    return f"ptapp rank {rank}\n".encode()


def _refusal(address: str, port: int, seconds: float, *, expect: bytes = b"") -> str:
    """Why nothing can be had from the address and port within so many seconds; empty where it can."""
    try:
        with socket.create_connection((address, port), max(seconds, 0.1)) as link, link.makefile("rb") as answer:
            return "" if not expect or answer.readline() == expect else "another program answers there"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _unreached(peers: Sequence[Peer], own: int, rank: int) -> str:
    """Why this rank does not reach another one, and what to do; empty where it does."""
    peer, here = peers[rank], peers[own]
    reason = _refusal(peer.address, peer.port, 5.0, expect=_name_of(rank))
    if not reason:
        return ""
    others = {name: address for name, address in peer.interfaces.items() if not address.startswith("127.")}
    if peer.address.startswith("127."):
        advice = (
            f"that is how {peer.host} reaches itself: set GLOO_SOCKET_IFNAME there to the interface that the other "
            f"machines reach ({_listed(others)})"
        )
    else:
        advice = (
            "let the firewall open all ports between these machines, or set GLOO_SOCKET_IFNAME on "
            f"{peer.host} to an interface that is open ({_listed(others)})"
        )
    where = f"{peer.address}:{peer.port}"
    return f"rank {own} ({here.host}) cannot reach rank {rank} ({peer.host}) at {where} ({reason}): {advice}"


def _refuse_unequal(peers: Sequence[Peer]) -> None:
    for name, first in peers[0].versions.items():
        if other := [rank for rank, peer in enumerate(peers) if peer.versions[name] != first]:
            there = peers[other[0]]
            raise CheckFailed(
                f"{name} is {first} on rank 0 ({peers[0].host}) and {there.versions[name]} on {_ranks(other)} "
                f"({there.host}): install the same version on all machines"
            )


def _ranks(numbers: Sequence[int]) -> str:
    return f"rank {numbers[0]}" if len(numbers) == 1 else f"{counted(len(numbers), 'rank')} (the first is {numbers[0]})"


def _listed(known: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {address}" for name, address in known.items()) or "none"
