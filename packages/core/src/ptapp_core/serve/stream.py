"""An answer piece by piece: from the thread that computes it to the client, as lines of JSON."""

import asyncio
import json
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

LINES = "application/x-ndjson"
"""The content type: a JSON value in each line."""


class Left(Exception):
    """Nobody reads the answer any more."""


class Pieces:
    """What a thread tells of an answer while it computes it.

    All but `tell` and `show` belongs to the thread of the event loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._left = False

    def tell(self, sample: int, piece: str) -> None:
        """Passes on what comes next of the answer to a sample; raises Left where the client has left."""
        self._pass_on({"sample": sample, "piece": piece})

    def show(self, picture: bytes, total: float, rate: float) -> None:
        """Passes on the next picture of an episode (see `front.Show`); raises Left where the client has left."""
        self._pass_on({"picture": b64encode(picture).decode(), "return": total, "rate": rate})

    async def begun(self, job: "asyncio.Task[Any]") -> bool:
        """Waits for a first piece, or for the end of the job; whether there is a piece."""
        job.add_done_callback(lambda _: self._news.set())
        await self._wait(job)
        return bool(self._told)

    async def lines(
        self, job: "asyncio.Task[T]", *, whole: Callable[[T], bytes], refused: Callable[[Exception], str]
    ) -> AsyncIterator[bytes]:
        """A line for each piece of a job that has `begun`, and at the end that of what it returns or raises."""
        try:
            while self._told or not job.done():
                while self._told:
                    yield self._told.popleft()
                await self._wait(job)
            try:
                end = whole(job.result())
            except Exception as error:
                end = _line({"error": refused(error)})
            yield end
        finally:
            self._left = True
            job.cancel()

    def _pass_on(self, value: Mapping[str, Any]) -> None:
        if self._left:
            raise Left
        self._loop.call_soon_threadsafe(self._add, _line(value))

    def _add(self, line: bytes) -> None:
        self._told.append(line)
        self._news.set()

    async def _wait(self, job: "asyncio.Task[Any]") -> None:
        while not self._told and not job.done():
            self._news.clear()
            await self._news.wait()


def _line(value: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(value, ensure_ascii=False)}\n".encode(errors="backslashreplace")
