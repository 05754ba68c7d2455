"""A rank for which the others wait too long ends the job, which says which rank it is and where each of them is.

The ranks of a job make the same collectives in the same order, each in its own group where only some take part, and
torch counts them. So none that has made the fewest waits for another, and those that have made more wait for one of
these in the end, whatever they are doing. A thread of each rank compares the counts through the job's store, as the
main thread of a rank that waits, or hangs, can do nothing.
"""

import faulthandler
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from ptapp_core.errors import counted
from ptapp_core.machine.reach import Place
from ptapp_core.machine.terminal import speaks_first, tell
from ptapp_core.machine.torch_private import collectives_made

_GRACE = 10.0  # seconds that a rank has to say where it is


@dataclass(frozen=True)
class Where:
    """What a rank says when it is asked where it is."""

    host: str
    made: int
    """Collectives that it has begun."""
    at: str
    """The line of the program that its main thread is in."""
    stacks: str
    """Of all its threads, as faulthandler writes them."""

    @classmethod
    def of_this_process(cls, made: int) -> "Where":
        """Where this process is now."""
        number = threading.main_thread().ident
        frame = sys._current_frames().get(number) if number is not None else None
        code = frame.f_code if frame else None
        at = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}" if frame and code else "an unknown place"
        with TemporaryFile() as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            return cls(socket.gethostname(), made, at, file.read().decode(errors="replace"))


class Watch:
    """Ends this process with exit code 1 where a collective has waited for a rank for longer than so many seconds.

    All ranks end, and one of them says why.
    """

    note: Callable[[str], str]
    """Keeps the text of all stacks, and returns what the message says of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._pause, self._place = seconds, min(1.0, seconds / 4), Place.of_environment()
        self.note = lambda stacks: ""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(RuntimeError):  # the store has gone, as it does at the end of a job
            place, attempt = self._place, os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            client = dist.TCPStore(place.address, place.port, wait_for_workers=False)  # type: ignore[attr-defined]
            self._compare(PrefixStore(f"ptapp-watch-{attempt}", client))

    def _compare(self, store: Store) -> None:
        """Until the ranks part, asks all of them where they are when a collective of this one takes too long.

        What is asked is a number of collectives. It is answered by all, and a rank that has made fewer is late.
        """
        made, since, asked, judged, until = -1, 0.0, -1, -1, 0.0
        while dist.is_initialized():
            now = time.monotonic()
            if (number := collectives_made()) != made:
                made, since = number, now
                store.set(f"made/{self._place.rank}", f"{made} {socket.gethostname()}")
            newest = int(store.get("asked")) if store.check(["asked"]) else -1
            if now - since >= self._seconds and newest < made:
                newest = made
                store.set("asked", str(made))
            if newest > asked:
                asked, until = newest, now + _GRACE
                store.set(self._keys(asked)[self._place.rank], json.dumps(asdict(Where.of_this_process(made))))
            if judged < asked and (now >= until or store.check(self._keys(asked))):
                judged = asked
                self._judge(store, asked)
            time.sleep(self._pause)

    def _keys(self, asked: int) -> list[str]:
        """Where each rank leaves its answer."""
        return [f"where/{asked}/{rank}" for rank in range(self._place.world)]

    def _judge(self, store: Store, asked: int) -> None:
        """Ends this rank if one of the job has made fewer collectives than one that waits."""
        answers = {rank: store.get(key) for rank, key in enumerate(self._keys(asked)) if store.check([key])}
        heard = {rank: Where(**json.loads(answer)) for rank, answer in answers.items()}
        known = [_known(store, rank) for rank in range(self._place.world)]
        made = [heard[rank].made if rank in heard else number for rank, (number, _) in enumerate(known)]
        if min(made) >= asked:
            return  # each computes for itself, which may take as long as it does
        with suppress(RuntimeError):
            if self._place.rank == min(heard):
                late = {rank: known[rank][1] for rank, number in enumerate(made) if number == min(made)}
                self._say(late, heard)
                store.set("said", "")
            self._wait_for(store, ["said"])
            store.set(f"left/{self._place.rank}", "")
            if self._place.rank == 0:  # the store goes with it, and those that have not judged by then would not end
                self._wait_for(store, [f"left/{rank}" for rank in heard])
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(1)  # the main thread waits in torch, or hangs, and hears of no exception

    def _wait_for(self, store: Store, keys: list[str]) -> None:
        """Until the keys are there, or the time is up that a rank has to answer."""
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and not store.check(keys):
            time.sleep(self._pause)

    def _say(self, late: Mapping[int, str], heard: Mapping[int, Where]) -> None:
        """Says which ranks are late, on which machines."""
        whole = "\n".join(
            f"rank {rank} ({where.host}), {counted(where.made, 'collective')}, at {where.at}\n{where.stacks}"
            for rank, where in heard.items()
        )
        names = " and ".join(f"rank {rank} ({host})" for rank, host in late.items())
        first = heard.get(min(late))
        at = f"at {first.at}" if first else "stopped, cut off, or busy outside Python, for it does not answer"
        text = f"{names} did not come to the other ranks within --timeout {self._seconds:g} s: it is {at}"
        try:
            text += self.note(whole)
        except OSError as error:
            text += f" (the stacks of all ranks were not written: {error})"
        if speaks_first(1):
            tell(f"ptapp: error: {text}", sys.stderr)


def _known(store: Store, rank: int) -> tuple[int, str]:
    """How many collectives a rank had made when it was last heard of (-1: it never was), and on which machine."""
    key = f"made/{rank}"
    made, _, host = store.get(key).decode().partition(" ") if store.check([key]) else ("-1", "", "unknown machine")
    return int(made), host
