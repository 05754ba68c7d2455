"""The addresses of the server, and what each of them answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ptapp_core.errors import UserError, nearest, one_line
from ptapp_core.serve import predicting, protocol
from ptapp_core.serve.body import Bodies
from ptapp_core.serve.front import Playing, Tell
from ptapp_core.serve.metrics import Metrics
from ptapp_core.serve.openapi import described
from ptapp_core.serve.outside import Computed, Exchange, Outside
from ptapp_core.serve.pages import pages, shown
from ptapp_core.serve.pool import Done, Full, Pool
from ptapp_core.serve.session import Model
from ptapp_core.serve.shadow import Shadows, numbers_of
from ptapp_core.serve.store import Served, Store
from ptapp_core.serve.stream import LINES, Pieces

T = TypeVar("T")

log = logging.getLogger("ptapp.serve")
_FAULT = "a fault of the server, which its log describes (request {})"


@dataclass
class State:
    """Whether the server welcomes requests, and whether somebody watches a policy."""

    draining: bool = False
    watched: bool = False


@dataclass(frozen=True)
class Service:
    """What the addresses need to answer."""

    store: Store
    pool: Pool
    metrics: Metrics
    bodies: Bodies
    shadows: Shadows
    state: State

    # The Open Inference Protocol.

    async def about(self, request: Request) -> Response:
        """The name of the server and its extensions."""
        version = metadata.version("ptapp-core")
        return JSONResponse({"name": "ptapp", "version": version, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        """Alive, for it answers."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether requests are welcome; 503 where they are not."""
        ready = not self.state.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """What a model takes and gives."""
        served, _, model = self._found(request)
        return JSONResponse(protocol.metadata_of(served.name, list(served.versions), model))

    async def model_ready(self, request: Request) -> Response:
        """A model that is found is ready."""
        served, _, _ = self._found(request)
        return JSONResponse({"name": served.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        served, version, model = self._found(request)
        length = request.headers.get(protocol.JSON_LENGTH)

        def compute() -> tuple[protocol.Asked, Any, tuple[bytes, int | None]]:
            asked = protocol.read_request(body, length, model)
            outputs = model.run(asked.inputs)
            return asked, outputs, protocol.write_response(asked, outputs, served.name, version=version, model=model)

        async with self.bodies.of(request) as body:
            done = await self.pool.run(compute)
        asked, outputs, (content, json_length) = done.value
        Exchange.of(request).computed = Computed(done.waited, asked.samples)
        self.shadows.compare(
            served,
            version,
            given=lambda: numbers_of(outputs),
            other=lambda shadow: numbers_of(shadow.run(asked.inputs)),
        )
        if json_length is None:
            return Response(content, media_type="application/json")
        headers = {protocol.JSON_LENGTH: str(json_length)}
        return Response(content, media_type="application/octet-stream", headers=headers)

    # What people send.

    async def predict(self, request: Request) -> Response:
        """The answers of `ptapp DOMAIN predict --json`."""
        served, version, model = self._found(request)
        content_type = request.headers.get("content-type", "")

        def compute(tell: Tell | None = None) -> tuple[list[dict[str, Any]], bytes]:
            answers = predicting.answer(model, content_type, body, tell=tell)
            return answers, predicting.as_json(answers, served.name, version)

        def noted(done: Done[tuple[list[dict[str, Any]], bytes]]) -> bytes:
            answers, content = done.value
            self.metrics.answers(served.name, version, answers, classes=model.classes)
            Exchange.of(request).computed = Computed(done.waited, len(answers))
            self.shadows.compare(
                served,
                version,
                given=lambda: answers,
                other=lambda shadow: predicting.answer(shadow, content_type, body),
            )
            return content

        async with self.bodies.of(request) as body:
            if not predicting.may_stream(body):
                return Response(noted(await self.pool.run(compute)), media_type="application/json")
            pieces = Pieces()
            job = asyncio.create_task(self.pool.run(lambda: compute(pieces.tell)))
            return await _as_they_come(request, pieces, job, noted)

    async def play(self, request: Request) -> Response:
        """An episode of a policy: a picture a line, while it is played. One client at a time may watch."""
        _, _, model = self._found(request)
        front = model.front
        async with self.bodies.of(request) as body:
            seed = predicting.seed_of(body)
        if not (isinstance(front, Playing) and front.plays):
            raise UserError("this server cannot show how this model plays")
        if self.state.watched:
            raise Full
        self.state.watched = True
        pieces = Pieces()
        # A thread of its own, for an episode is long, and those of the pool are for answers.
        job = asyncio.create_task(asyncio.to_thread(front.played, model.compute, pieces.show, seed=seed))
        job.add_done_callback(self._unwatched)
        return await _as_they_come(request, pieces, job, lambda episode: json.dumps(episode).encode() + b"\n")

    def _unwatched(self, job: "asyncio.Task[Any]") -> None:
        self.state.watched = False

    async def models(self, request: Request) -> Response:
        """All models with their versions and cards, for the page."""
        return JSONResponse({"models": [shown(served) for served in self.store.models.values()]})

    # What the operator asks.

    async def measured(self, request: Request) -> Response:
        """The counters."""
        self.metrics.ready.set(not self.state.draining)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """The description of these addresses."""
        return JSONResponse(described(metadata.version("ptapp-core")))

    def _found(self, request: Request) -> tuple[Served, str, Model]:
        """The model that an address names, and the version that it names or that answers this client."""
        models = self.store.models
        name = request.path_params.get("name") or (next(iter(models)) if len(models) == 1 else None)
        if name is None:
            raise HTTPException(404, f"name a model: /models/NAME/predict; there are {', '.join(models)}")
        if name not in models:
            raise HTTPException(404, f"there is no model {name!r}{nearest(name, models)}")
        served = models[name]
        exchange = Exchange.of(request)
        version = request.path_params.get("version") or served.version_for(exchange.client)
        if version not in served.versions:
            known = nearest(version, served.versions)
            raise HTTPException(404, f"{name} has no version {version!r}{known}")
        exchange.model, exchange.version = name, version
        return served, version, served.versions[version]


async def _as_they_come(
    request: Request, pieces: Pieces, job: "asyncio.Task[T]", whole: Callable[[T], bytes]
) -> Response:
    """The pieces that a job tells, each as soon as it is there, and the `whole` of what it returns."""
    if not await pieces.begun(job):
        return Response(whole(await job), media_type="application/json")
    lines = pieces.lines(job, whole=whole, refused=lambda error: _reason(request, error))
    return StreamingResponse(lines, media_type=LINES)


async def _not_possible(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": _reason(request, error)}, 400)


def _reason(request: Request, error: Exception) -> str:
    """What the client is told of an error; the log has more, and a status that may come after that of the answer."""
    exchange = Exchange.of(request)
    exchange.status = 400 if isinstance(error, UserError) else 500
    if not isinstance(error, UserError):
        log.error("request %s: a fault while its answer was given piece by piece", exchange.id, exc_info=error)
        return _FAULT.format(exchange.id)
    cause = one_line(error.__cause__) if error.__cause__ else ""
    exchange.reason = str(error) if cause in str(error) else f"{error}: {cause}"  # it may name files
    return str(error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _full(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "too many requests wait; try again"}, 503, {"Retry-After": "1"})


async def _left(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the client has left"}, 499)


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": _FAULT.format(Exchange.of(request).id)}, 500)


def build(service: Service, *, token: str | None, every: float) -> Outside:
    """The server as an ASGI application, which looks for changed models `every` so many seconds."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(service.store, every))
        yield
        watching.cancel()
        service.pool.close()

    app = Starlette(
        routes=[*routes(service), *pages()],
        exception_handlers={
            UserError: _not_possible,
            HTTPException: _refused,
            Full: _full,
            ClientDisconnect: _left,
            Exception: _fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return Outside(app, service.metrics, token=token, draining=lambda: service.state.draining)


def routes(service: Service) -> list[Route]:
    """Each address, with what answers there."""
    found = []
    for place in ("{name}", "{name}/versions/{version}"):  # first, for these are asked most, and each is tried in turn
        found += [
            Route(f"/v2/models/{place}/infer", service.infer, methods=["POST"]),
            Route(f"/models/{place}/predict", service.predict, methods=["POST"]),
            Route(f"/models/{place}/play", service.play, methods=["POST"]),
            Route(f"/v2/models/{place}", service.model),
            Route(f"/v2/models/{place}/ready", service.model_ready),
        ]
    return [
        *found,
        Route("/predict", service.predict, methods=["POST"]),
        Route("/v2", service.about),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/models", service.models),
        Route("/metrics", service.measured),
        Route("/openapi.json", service.openapi),
    ]


async def _watch(store: Store, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            await asyncio.to_thread(store.refresh)
        except Exception:  # a fault here must not end the watching, nor stay unsaid
            log.exception("the models could not be looked at again")
