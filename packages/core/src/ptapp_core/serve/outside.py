"""What every request meets first and last: its id, the token, the access log and the count of requests."""

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ptapp_core.serve.metrics import Metrics
from ptapp_core.serve.pages import OPEN

access = logging.getLogger("ptapp.access")
_KEY = "ptapp.exchange"
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_OPEN = frozenset(["/v2/health/live", "/v2/health/ready", *OPEN])
"""What whoever asks is told: probes have no token, and the page asks for it."""


@dataclass(frozen=True)
class Computed:
    """How long the samples of a request waited for a thread, in seconds, and how many they were."""

    waited: float
    samples: int


@dataclass
class Exchange:
    """A request and its answer, as the log and the counters have them."""

    id: str
    client: str
    """What the request calls its client (`x-client-id`), else the client's address."""
    began: float = field(default_factory=time.perf_counter)
    status: int = 499
    """499 where the client has left before there was an answer."""
    size: int = 0
    """The bytes of the answer."""
    model: str = ""
    version: str = ""
    computed: Computed | None = None
    reason: str = ""
    """Why the request was refused."""

    @classmethod
    def of(cls, request: Request) -> "Exchange":
        """That of a request."""
        found: Exchange = request.scope[_KEY]
        return found


class Outside:
    """The outermost layer of the server, an ASGI application around another."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, token: str | None, draining: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        address = scope["client"][0] if scope.get("client") else ""
        exchange = Exchange(given if _ID.fullmatch(given) else uuid.uuid4().hex, headers.get("x-client-id", address))
        scope[_KEY] = exchange

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                added = MutableHeaders(scope=message)
                added["x-request-id"] = exchange.id
                if self._draining():  # the next request of this client goes to a server that stays
                    added["connection"] = "close"
            else:
                exchange.size += len(message.get("body", b""))
            await send(message)

        app = self._app if self._may(scope["path"], headers) else _refused
        try:
            await app(scope, receive, observed)
        finally:
            self._write(scope, address, exchange)

    def _may(self, path: str, headers: Headers) -> bool:
        if self._expected is None or path in _OPEN:
            return True
        return hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self._expected)

    def _write(self, scope: Scope, address: str, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        model, version = exchange.model, exchange.version
        if scope["method"] == "POST":
            self._metrics.request(model, version, code=exchange.status, seconds=seconds)
        line = {
            "request_id": exchange.id,
            "client": address,
            "method": scope["method"],
            "path": scope["path"],
            "status": exchange.status,
            "seconds": round(seconds, 6),
            "bytes": exchange.size,
        }
        if model:
            line |= {"model": model, "version": version}
        if (done := exchange.computed) is not None:
            self._metrics.computed(model, version, waited=done.waited, samples=done.samples)
            line |= {"queue_seconds": round(done.waited, 6), "samples": done.samples}
        if exchange.reason:
            line["reason"] = exchange.reason
        access.info("%s", line["path"], extra={"fields": line})


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    answer = JSONResponse(
        {"error": "a token is needed: Authorization: Bearer TOKEN"}, 401, {"WWW-Authenticate": "Bearer"}
    )
    await answer(scope, receive, send)


class JsonLines(logging.Formatter):
    """A record of the log as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The time in UTC, the level, and the fields of the record or else its message."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{when}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
