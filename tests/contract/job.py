"""Runs jobs that are killed, each in processes of its own: forks of this one, which has imported all.

A line of stdin is a job, in JSON: the name of a function and the `words` it is given; `ranks`; files for `out` and
`err`; where it sends itself a signal: `step`, `signal`, `to_group`; and the number of the change of a file under the
folder `within` before which it is killed: `change`. It is answered with a line, the exit status.
The arguments are the modules to import, all domains unless some are given.
(Importing takes most of a short job's time, also what torch imports at the first step of a job. A fork hashes as its
parent does, so that jobs that are compared should come from different parents.)
"""

import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ptapp_core.loop.milestones import Milestones

SECONDS = 300
AT_THE_FIRST_STEP = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes")
"""What torch itself imports only there, in ranks and in every backward pass."""


def save_empty(figure: Figure, path: Path, **options: Any) -> None:
    """In place of `Figure.savefig`: drawing takes most of a short job, and has tests of its own."""
    path.write_bytes(b"")


def run(job: dict[str, Any]) -> int:
    """Calls the function, which sends itself the signal right after the step, for its exit status."""
    original = Milestones.pass_step

    def pass_step(self: Milestones, stop: bool) -> None:
        if self.progress.step == job["step"]:
            os.kill(0 if job["to_group"] else os.getpid(), job["signal"])
        original(self, stop)

    if job["step"] is not None:
        Milestones.pass_step = pass_step  # type: ignore[method-assign]
    if job["change"] is not None:
        kill_before(job["change"], job["within"])
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under
    signal.alarm(SECONDS)
    sys.argv[1:] = job["words"]
    return int(pkgutil.resolve_name(job["function"])(job["words"]))


def kill_before(change: int, within: str) -> None:
    """Kills this process right before it makes, opens to write, renames or removes so many files."""
    seen = count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink")
        writes |= event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        # What is removed with its folder is named within the folder.
        inside = any(str(path).startswith(within) for path in arguments[:2])
        inside |= event in ("os.remove", "os.rmdir") and arguments[1] != -1
        if writes and inside and next(seen) == change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def ranks_of(job: dict[str, Any]) -> list[dict[str, str]]:
    """What torchrun would tell each rank."""
    if job["ranks"] == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    common = address | {"WORLD_SIZE": str(job["ranks"]), "LOCAL_WORLD_SIZE": str(job["ranks"])}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(job["ranks"])]


def domains() -> Iterator[str]:
    """The module of each domain that imports most of it."""
    for entry in metadata.entry_points(group="ptapp.domains"):
        package = entry.module.partition(".")[0]
        yield f"{package}.{'domain' if importlib.util.find_spec(f'{package}.domain') else 'train'}"


def serve() -> None:
    """Forks a process for each rank of each line; in that process, returns by way of `sys.exit`."""
    for module in (*AT_THE_FIRST_STEP, *(sys.argv[1:] or domains())):
        importlib.import_module(module)
    Figure.savefig = save_empty  # type: ignore[method-assign]
    gc.freeze()  # else each process would search it all for cycles as it ends, and so copy it
    for line in sys.stdin:
        job = json.loads(line)
        children = []
        for environment in ranks_of(job):
            children.append(os.fork())
            if not children[-1]:
                os.environ.update(environment)
                os.setsid()
                for number, file in enumerate((os.devnull, job["out"], job["err"])):
                    os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
                sys.exit(run(job))
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(max(statuses, key=abs), flush=True)


if __name__ == "__main__":
    serve()
