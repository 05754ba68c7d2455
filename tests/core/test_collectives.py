"""What `ptapp dist check` knows of collectives and of ranks, without starting any."""

import json
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from ptapp_core.cli.dist import CheckRanks
from ptapp_core.cli.dist_check import check_ranks, refuse_faults
from ptapp_core.errors import CheckFailed, UserError
from ptapp_core.machine import reach
from ptapp_core.machine.collectives import COLLECTIVES, Bounds, Here, Link, Times, bounds, difference
from ptapp_core.machine.reach import Peer, Place, _listening, interfaces, meet, versions
from ptapp_core.measure.link_pictures import draw_times

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", sorted(COLLECTIVES.keys() - {"barrier"}))
def test_a_collective_that_does_nothing_is_found_out_and_the_place_is_named(name: str) -> None:
    cases = [COLLECTIVES[name](Here(rank, 3, CPU), 21) for rank in range(3)]
    found = [difference(case) for case in cases]
    assert any("numbers are wrong, the first at place" in text for text in found)
    for case in cases:
        case.result.copy_(case.expected)
        assert difference(case) == ""


def test_a_result_that_came_from_another_rank_is_wrong() -> None:
    case = COLLECTIVES["all_gather"](Here(0, 3, CPU), 21)
    case.result.copy_(torch.cat([case.expected[7:], case.expected[:7]]))
    assert difference(case).startswith("21 of 21 numbers are wrong, the first at place 0: 17 in place of 0")


def test_bounds_are_those_of_messages_counted_by_hand() -> None:
    link, size = Link(latency=1.0, per_byte=0.5), 8
    assert bounds("all_reduce", size, 4, link=link) == Bounds(ring=6 * (1 + 2 * 0.5), tree=4 * (1 + 8 * 0.5))
    assert bounds("reduce_scatter", size, 4, link=link) == Bounds(ring=3 * (1 + 2 * 0.5), tree=(1 + 2) + (1 + 1))
    assert bounds("all_to_all", size, 4, link=link) == Bounds(ring=3 * (1 + 2 * 0.5), tree=2 * (1 + 4 * 0.5))
    assert bounds("broadcast", size, 5, link=link) == Bounds(ring=4 + 4, tree=3 * (1 + 4))
    assert bounds("send/recv", size, 4, link=link) == Bounds(5, 5)
    assert bounds("barrier", size, 4, link=link) == Bounds(6, 2)


def peer(**changes: object) -> Peer:
    """One that is like this rank and listens nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    known = {"lo": "127.0.0.1", "eth0": "10.0.0.2"}
    return replace(Peer("other", "cpu", "127.0.0.1", port, known, versions()), **changes)  # type: ignore[arg-type]


def met(other: Peer | None) -> str:
    """What rank 0 of two says of the other one."""
    store = HashStore()
    if other is not None:
        store.set("peer/1", json.dumps(asdict(other)))
        store.set("peer/heard by 1", "")
    with pytest.raises(CheckFailed) as error:
        meet(store, Place(0, 2, "10.0.0.1", 29500), "cpu", seconds=0.5)
    return str(error.value)


def test_a_rank_that_does_not_come_is_named_with_the_address_and_port_of_the_store() -> None:
    assert met(None).startswith("rank 1 of 2 did not come to the store at 10.0.0.1:29500 within 0.5 s")


def test_unequal_versions_are_named_with_the_rank_and_its_machine() -> None:
    other = peer(versions={**versions(), "torch": "2.0.0"})
    assert met(other) == (
        f"torch is {versions()['torch']} on rank 0 ({socket.gethostname()}) and 2.0.0 on rank 1 (other): install the "
        "same version on all machines"
    )


def test_a_rank_that_offers_the_address_of_its_machine_for_itself_is_told_its_interfaces() -> None:
    other = peer()
    text = met(other)
    assert f"cannot reach rank 1 (other) at 127.0.0.1:{other.port} (connection refused)" in text
    assert "set GLOO_SOCKET_IFNAME there to the interface that the other machines reach (eth0 10.0.0.2)" in text


def test_a_rank_that_goes_while_links_are_tried_is_named() -> None:
    with _listening("127.0.0.1", Place(1, 2, "10.0.0.1", 29500)) as (_, port):
        assert met(peer(port=port)) == "rank 1 (other) has gone, or hangs, while it tries to reach others"


def test_another_program_at_the_port_is_not_taken_for_a_rank() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)  # a caller is let in by the system, and never answered
        assert "cannot reach rank 1" in met(peer(port=server.getsockname()[1]))


def test_an_interface_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "wan7")
    with pytest.raises(UserError, match=r"GLOO_SOCKET_IFNAME=wan7: this machine has no interface 'wan7'.*127\.0\.0\.1"):
        meet(HashStore(), Place(0, 2, "10.0.0.1", 29500), "cpu", seconds=0.1)
    (loopback,) = (name for name, address in interfaces().items() if address == "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", loopback)
    assert reach._offered_address() == "127.0.0.1"


def test_a_variable_of_the_launcher_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        Place.of_environment()
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert Place.of_environment() == Place(0, 2, "localhost", 29500)


def test_a_single_rank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="a single rank has no other to reach"):
        check_ranks(CheckRanks(backend="gloo"))


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (["lost: it ends with x", "with 28 bytes, 1 of 7", None], "rank 1 (b): with 28 bytes"),
        (["lost: it ends with x", "", None], "rank 2 (c): it does not answer"),
        (["lost: a", "it ends with x", "lost: b"], "rank 1 (b): it ends with x"),
    ],
)
def test_the_fault_is_that_of_the_rank_that_caused_it(heard: list[str | None], said: str) -> None:
    with pytest.raises(CheckFailed) as error:
        refuse_faults("gather", heard, [peer(host=name) for name in "abc"])
    assert str(error.value).startswith(f"gather fails on {said}")


@pytest.mark.draws
def test_the_picture_is_a_png(tmp_path: Path) -> None:
    times = Times({8: 0.1, 64: 0.2}, {8: Bounds(0.1, 0.2), 64: Bounds(0.1, 0.2)})
    file = draw_times({"all_reduce": times, "barrier": Times({8: 0.1}, {8: Bounds(0, 0)})}, tmp_path / "a" / "t.png")
    assert file.read_bytes().startswith(b"\x89PNG")
