"""Reads the body of a request: so many bytes at most, in so much time at most, counted while it is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

_AT_ONCE = 8
"""So many of the largest bodies are in memory at once, at most."""


@dataclass
class Bodies:
    """The bodies that are in memory now."""

    most: int
    """The bytes of a body, at most."""
    patience: float
    """The seconds in which a body must have come."""
    _held: int = 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts as in memory until the context is left.

        Raises HTTPException: 413 it is too large, 408 too slow, 415 compressed, 503 there are too many at once.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "the body must not be compressed (Content-Encoding)")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.most:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.patience):
                async for part in request.stream():
                    size += len(part)
                    self._held += len(part)
                    parts.append(part)
                    if size > self.most:
                        raise self._too_large()
                    if self._held > _AT_ONCE * self.most:
                        raise HTTPException(503, "too many large requests at once", {"Retry-After": "1"})
            yield b"".join(parts)
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body did not come within {self.patience:g} s", {"Connection": "close"}
            ) from error
        finally:
            self._held -= size

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is larger than {self.most:,} bytes")
