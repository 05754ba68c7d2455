"""Threads that compute answers, and the bounded queue before them."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Full(Exception):
    """As many requests as may wait are waiting."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What a job returned, and how long it waited for a thread, in seconds."""

    value: T
    waited: float


class Pool:
    """Computes `threads` jobs at once; `queue` more may wait. Its methods belong to the thread of the event loop."""

    def __init__(self, threads: int, queue: int) -> None:
        self._threads = threads
        self._most = threads + queue
        self._held = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="compute")

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return max(0, self._held - self._threads)

    @property
    def idle(self) -> bool:
        """Whether a job would begin at once."""
        return self._held < self._threads

    async def run(self, job: Callable[[], T]) -> Done[T]:
        """Waits for a thread, and for what the job returns or raises. Raises Full at once where the queue is full."""
        if self._held >= self._most:
            raise Full
        queued = time.perf_counter()

        def timed() -> Done[T]:
            waited = time.perf_counter() - queued
            return Done(job(), waited)

        self._held += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, timed)
        future.add_done_callback(self._release)  # also where the request was cancelled, and the thread computes on
        return await asyncio.shield(future)

    def _release(self, future: "asyncio.Future[Done[T]]") -> None:
        self._held -= 1
        if not future.cancelled():
            future.exception()  # which was raised where somebody still waited for it

    def close(self) -> None:
        """Ends the threads; what is computed now comes to its end."""
        self._executor.shutdown(wait=True, cancel_futures=True)
