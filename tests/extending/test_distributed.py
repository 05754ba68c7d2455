"""The files of examples/distributed print what their README says, on gloo; the figures of time aside."""

import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
import torch.distributed as dist

from extending.run_examples import HOME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(dist, "all_gather_single"), reason="the programs use names of torch 2.14"),
]

NUMBER = re.compile(r"\d+(?:\.\d+)?")
FILES = sorted(path.name for path in HOME.glob("*.py") if path.name != "show.py")
MEASURED = ("data_parallel.py", "overlap.py")  # what they print is times alone


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@cache
def launched(world: int) -> subprocess.CompletedProcess[str]:
    """All files that are for so many ranks, run one after the other."""
    names = [name for name in FILES if ranks_of(name) == world]
    words = [f"{name}:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)]
    launch = ["-W", "error::FutureWarning", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    script = Path(__file__).with_name("run_examples.py")
    command = [sys.executable, *launch, str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


def printed(world: int) -> dict[str, str]:
    """What each of these files prints."""
    done = launched(world)
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^# (\S+)\n", done.stdout, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def ranks_of(name: str) -> int:
    return 2 if "Run it with 2 ranks." in (HOME / name).read_text() else 4


def told() -> dict[str, str]:
    """What the README says that each file prints, in reading order."""
    parts = re.findall(r"\[(\w+\.py)\]\(\1\).*?```text\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)
    return dict(parts)


def test_the_readme_has_every_file_and_each_is_short() -> None:
    assert sorted(told()) == FILES
    for name in FILES:
        assert len((HOME / name).read_text().splitlines()) <= 65


@pytest.mark.parametrize("name", FILES)
def test_a_file_prints_what_the_readme_says(name: str) -> None:
    expected, got = told()[name], printed(ranks_of(name))[name]
    expected, got = (re.sub(r"step 3/3.*", "", text) for text in (expected, got))  # a line of fit has its speed
    assert NUMBER.sub("#", got) == NUMBER.sub("#", expected)
    if name not in MEASURED:
        numbers = [float(text) for text in NUMBER.findall(expected)]
        assert [float(text) for text in NUMBER.findall(got)] == pytest.approx(numbers, rel=0.05, abs=1e-3)
