"""`ptapp dist check` between two machines, which are two network namespaces of this one, joined by a cable."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

A, B, PORT = "10.77.0.1", "10.77.0.2", "29500"
_numbers = count()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """The names of two namespaces, whose interfaces `lan0` have the addresses A and B."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs root, and ip of iproute2")
    names = [f"ptapp-{os.getpid()}-{next(_numbers)}" for _ in range(2)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "lan0", "netns", names[0], "type", "veth", "peer", "name", "lan0", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for name, address in zip(names, (A, B), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "lan0")
            for device in ("lo", "lan0"):
                ip("-n", name, "link", "set", device, "up")
            ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
            subprocess.run(["ip", "netns", "exec", name, "sh", "-c", f"echo 40000 60999 > {ports}"], check=True)
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def answered(
    machines: tuple[str, str], *interfaces: str, wait: int = 8, by_torchrun: bool = False
) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of a rank on each machine, whose gloo is told the interface ("": none)."""
    started = []
    for rank, (name, interface) in enumerate(zip(machines, interfaces, strict=True)):
        words = ["-m", "ptapp_core.cli.main", "dist", "check", "--timeout", str(wait), "--size", "1"]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": interface}
        if by_torchrun:
            node = f"--nnodes=2 --node-rank={rank} --nproc-per-node=1 --master-addr={A} --master-port={PORT}".split()
            words = ["-m", "torch.distributed.run", *node, *words]
        else:
            environment |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": A, "MASTER_PORT": PORT}
        command = ["ip", "netns", "exec", name, sys.executable, "-P", *words]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    answers = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, answers, strict=True)]


def errors(answers: list[tuple[int, str, str]]) -> list[str]:
    """The line of each rank, all of which end with exit code 1."""
    assert [code for code, _, _ in answers] == [1, 1]
    lines = [stderr.splitlines() for _, _, stderr in answers]
    assert [len(each) for each in lines] == [1, 1]
    return [line for (line,) in lines]


@pytest.mark.parametrize("by_torchrun", [False, True])
def test_two_machines_are_checked(machines: tuple[str, str], by_torchrun: bool) -> None:
    (code, stdout, stderr), (other, _, _) = answered(machines, "lan0", "lan0", wait=40, by_torchrun=by_torchrun)
    assert (code, other) == (0, 0), stderr
    assert A in stdout
    assert B in stdout
    assert "are right on 2 ranks" in stdout


def test_a_rank_on_a_wrong_interface_is_named_with_the_right_one(machines: tuple[str, str]) -> None:
    for line in errors(answered(machines, "lan0", "lo")):
        assert "rank 0 (" in line
        assert "cannot reach rank 1 (" in line
        assert ") at 127.0.0.1:" in line
        assert f"set GLOO_SOCKET_IFNAME there to the interface that the other machines reach (lan0 {B})" in line


def drop(machine: str, ports: str) -> None:
    """What a firewall does: packets that come in to these ports are gone, and nobody is told."""
    ip("-n", machine, "rule", "add", "pref", "100", "lookup", "local")  # behind what drops, in place of before all
    ip("-n", machine, "rule", "del", "pref", "0")
    ip("-n", machine, "rule", "add", "pref", "50", "iif", "lan0", "ipproto", "tcp", "dport", ports, "blackhole")


def test_a_firewall_before_the_store_is_named_with_its_address_and_port(machines: tuple[str, str]) -> None:
    drop(machines[0], PORT)
    first, second = errors(answered(machines, "lan0", "lan0"))
    assert f"rank 1 of 2 did not come to the store at {A}:{PORT} within 8 s" in first
    assert f"cannot reach the store of rank 0 at {A}:{PORT} (timed out)" in second
    assert f"the firewall there lets port {PORT} in" in second


def test_a_firewall_between_the_ranks_is_named_with_the_port_that_was_tried(machines: tuple[str, str]) -> None:
    drop(machines[0], "40000-60999")
    for line in errors(answered(machines, "lan0", "lan0")):
        assert re.search(
            rf"rank 0 \(\S+\) cannot reach rank 1 \(\S+\) at {re.escape(B)}:[45]\d{{4}} \(timed out\)", line
        )
        assert "let the firewall open all ports between these machines" in line


def test_a_rank_that_has_no_way_to_the_store_says_so(machines: tuple[str, str]) -> None:
    ip("-n", machines[1], "addr", "del", f"{B}/24", "dev", "lan0")
    first, second = errors(answered(machines, "lan0", "lo"))
    assert "rank 1 of 2 did not come" in first
    assert f"cannot reach the store of rank 0 at {A}:{PORT} (network is unreachable)" in second
