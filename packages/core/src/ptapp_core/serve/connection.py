"""A client's connection: HTTP/1.1 within limits of time and size, which uvicorn alone does not have."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE = 30.0
"""Seconds in which the head of a request must have come, and its body; and in which an answer must be taken."""
_HEAD = 2**16
"""Bytes of a request, at most, that belong to no body."""
_UNSENT = 2**16
"""Bytes of an answer that may wait for the client before the next part is asked for."""
_RATE = 2**20
"""Bytes of a large answer that a client takes in each further second, at least."""


class Patient(HttpToolsProtocol):
    """HTTP/1.1 whose clients have some seconds for a head, for what is left of a refused body, and to take an answer.

    uvicorn waits for each of them without end, and reads a head of any size. Of a body that is wanted, `Bodies` keeps
    the time.
    """

    _in_head = True
    _in_body = False
    _head = 0
    """The bytes that have come since a part of a body did, or the end of a head."""
    _sending: asyncio.TimerHandle | None = None
    """Ends a connection whose client does not go on with a request."""
    _taking: asyncio.TimerHandle | None = None
    """Ends a connection whose client does not take its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(_UNSENT, low=0)  # so that `resume_writing` says that all was taken
        self._keep_time()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._head += len(data)
        super().data_received(data)
        if self._head > _HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")
        self._keep_time()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The head of a request has come."""
        self._in_head, self._in_body, self._head = False, True, 0
        if self._taking and not self.transport.get_write_buffer_size():
            self._taken()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body has come."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        self._in_body, self._head = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was handed to the system, or waits until the client takes what came before."""
        super().on_response_complete()
        self._wait_for_taking()

    def pause_writing(self) -> None:
        """Much of an answer waits until the client takes it."""
        super().pause_writing()
        self._wait_for_taking()

    def resume_writing(self) -> None:
        """The client has taken all of it."""
        super().resume_writing()
        self._taken()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        super().connection_lost(exc)
        self._taken()
        if self._sending:
            self._sending.cancel()

    def _keep_time(self) -> None:
        refused = self._in_body and self.cycle.response_complete
        if (self._in_head or refused) and self._sending is None:
            self._sending = self.loop.call_later(PATIENCE, self.transport.close)
        elif not (self._in_head or refused) and self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _wait_for_taking(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._taking is None:
            self._taking = self.loop.call_later(PATIENCE + unsent / _RATE, self._give_up)

    def _taken(self) -> None:
        if self._taking:
            self._taking.cancel()
            self._taking = None

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        self._taking = None
