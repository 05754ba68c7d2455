"""Threads that compute answers, and the bounded queue before them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Full(Exception):
    """As many requests as may wait are waiting."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What a job returned, and how long it waited for a thread, in seconds."""

    value: T
    waited: float


@dataclass(frozen=True)
class _Queued:
    job: Callable[[], Any]
    future: "asyncio.Future[Done[Any]]"
    since: float


class Pool:
    """Computes `threads` jobs at once; `queue` more may wait. Its methods belong to the thread of the event loop.

    `concurrent.futures` would add a second future with a lock to each job, and callbacks between the two: a good part
    of the time of a small model.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._most = threads + queue
        self._held = 0
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name="compute", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return max(0, self._held - len(self._threads))

    @property
    def idle(self) -> bool:
        """Whether a job would begin at once."""
        return self._held < len(self._threads)

    async def run(self, job: Callable[[], T]) -> Done[T]:
        """Waits for a thread, and for what the job returns or raises. Raises Full at once where the queue is full."""
        if self._held >= self._most:
            raise Full
        self._held += 1
        future: asyncio.Future[Done[T]] = asyncio.get_running_loop().create_future()
        self._queue.put(_Queued(job, future, time.perf_counter()))
        return await future

    def close(self, patience: float = 5.0) -> None:
        """Ends the threads; what is computed now has so many seconds to come to its end, and what waits is left."""
        end = time.monotonic() + patience
        while not self._queue.empty():
            self._queue.get()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))  # they are daemons: one that goes on ends with the process

    def _work(self) -> None:
        while queued := self._queue.get():
            self._compute(queued)
            del queued  # or an idle thread would hold the body of its last request

    def _compute(self, queued: _Queued) -> None:
        waited = time.perf_counter() - queued.since
        done: Done[Any] | BaseException
        try:
            done = Done(queued.job(), waited)
        except BaseException as error:
            done = error
        loop = queued.future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release, queued.future, done)

    def _release(self, future: "asyncio.Future[Done[Any]]", done: Done[Any] | BaseException) -> None:
        self._held -= 1  # only now where the request was cancelled, too, for the thread computed on
        if future.cancelled():
            return
        if isinstance(done, Done):
            future.set_result(done)
        else:
            future.set_exception(done)
