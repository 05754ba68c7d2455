"""`ptapp serve`: opens the models, listens, and ends without losing a request."""

import asyncio
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from ptapp_core.errors import UserError
from ptapp_core.machine.terminal import tell
from ptapp_core.serve import connection
from ptapp_core.serve.app import Service, State, build
from ptapp_core.serve.body import Bodies
from ptapp_core.serve.config import ServeSettings
from ptapp_core.serve.metrics import Metrics
from ptapp_core.serve.outside import JsonLines
from ptapp_core.serve.places import Place
from ptapp_core.serve.pool import Pool
from ptapp_core.serve.registered import Registered
from ptapp_core.serve.shadow import Shadows
from ptapp_core.serve.split import pairs, shares_of
from ptapp_core.serve.store import Store, described

_EVERY = 1.0
"""Seconds from one look at the models' files to the next."""
_LAST = 30
"""Seconds that the last requests have to end, once nothing new is accepted."""
_SHORTEST = 16
"""Characters that a token has, at least."""
_BACKLOG = 2048
"""Connections that may wait to be accepted."""


def serve(settings: ServeSettings) -> None:
    """Serves until it is told to end. Lines for the user go to stderr, the log as JSON to stdout."""
    token = None if settings.token_file is None else _token(settings)
    store = store_for(settings)
    store.load()
    service = service_for(store, settings)
    listening = listen(settings)
    log_json()
    for served in store.models.values():
        tell(described(served), sys.stderr)
    host, port = listening.getsockname()[:2]
    if settings.token_file is None and not host.startswith("127.") and host != "::1":
        tell("ptapp: note: whoever reaches this address may use the models (--token-file asks for a token)", sys.stderr)
    tell(f"ready at http://{f'[{host}]' if ':' in host else host}:{port}", sys.stderr)
    Draining(config_for(service, token), service.state, settings.drain).run([listening])


def store_for(settings: ServeSettings) -> Store:
    """The models that the settings name; none of them is open yet."""
    shares = {
        name: shares_of(text, f"--split {name}={text}") for name, text in pairs(settings.split, "--split").items()
    }
    shadows, say = pairs(settings.shadow, "--shadow"), logging.getLogger("ptapp.serve").info
    registered = [Registered.of(text, say) for text in settings.models]
    for model in filter(None, registered):
        if model.name in shares or model.name in shadows:
            raise UserError(
                f"--split and --shadow: of {model.path} one version is served; copy the versions to a folder of models "
                f"(ptapp fetch names theirs), and serve that"
            )
    places = [model or Place.of(text) for model, text in zip(registered, settings.models, strict=True)]
    return Store(places, shares, shadows, say)


def service_for(store: Store, settings: ServeSettings) -> Service:
    """All that the addresses need."""
    pool = Pool(settings.threads, settings.queue)
    metrics = Metrics(lambda: pool.waiting)
    bodies = Bodies(settings.most_bytes, connection.PATIENCE)
    return Service(store, pool, metrics, bodies, Shadows(pool, metrics), State())


def config_for(service: Service, token: str | None) -> uvicorn.Config:
    """What uvicorn runs; a `token` that is given must come with every request."""
    return uvicorn.Config(
        build(service, token=token, every=_EVERY),
        http=connection.Patient,
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST,
    )


def log_json() -> None:
    """Sends the log of this process to stdout, a JSON object a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)  # libraries warn of odd files, from any thread
    for name in ("ptapp.serve", "ptapp.access"):
        logging.getLogger(name).setLevel(logging.INFO)


def _token(settings: ServeSettings) -> str:
    assert settings.token_file is not None
    try:
        token = settings.token_file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"--token-file {settings.token_file}: a token has letters and digits of ASCII alone") from error
    if len(token) < _SHORTEST or not token.isprintable() or " " in token:
        raise UserError(f"--token-file {settings.token_file}: must hold one token of {_SHORTEST} characters or more")
    return token


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say; raises UserError where none can."""
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        return listening
    except OSError as error:
        if listening is not None:
            listening.close()
        where = f"--host {settings.host} --port {settings.port}"
        raise UserError(f"{where}: cannot listen there ({error.strerror})") from error


class Draining(uvicorn.Server):
    """On SIGTERM it says that it is not ready, serves on for `drain` seconds, and ends with exit code 0.

    uvicorn alone closes its port at once, while a balancer still sends requests there. A second signal, or Ctrl-C, ends
    it without the wait.
    """

    def __init__(self, config: uvicorn.Config, state: State, drain: float) -> None:
        super().__init__(config)
        self._state = state
        self._drain = drain
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves on sockets that are bound."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends what is served, now or later."""
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self._state.draining or self._loop is None:
            self.should_exit = True
        else:
            self._state.draining = True
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, self._end)

    def _end(self) -> None:
        self.should_exit = True
