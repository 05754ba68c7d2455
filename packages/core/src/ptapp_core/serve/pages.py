"""The page at `/`, on which a browser tries the models; it needs nothing from outside of this server."""

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ptapp_core.serve.front import Playing, Streaming
from ptapp_core.serve.store import Served

OPEN = ("/", "/page/index.html", "/page/page.css", *(f"/page/{name}.js" for name in ("page", "ask", "show", "devices")))
"""What is given without a token, for the page asks for it."""
_FOLDER = Path(__file__).parent / "page"
_POLICY = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'"
"""The browser loads nothing else, whatever a class name or an answer says."""


def pages() -> list[BaseRoute]:
    """The addresses of the page and of its parts."""
    return [Route("/", _page), Mount("/page", StaticFiles(directory=_FOLDER))]


async def _page(request: Request) -> Response:
    return FileResponse(_FOLDER / "index.html", headers={"content-security-policy": _POLICY})


def shown(served: Served) -> dict[str, Any]:
    """A model as the page shows it: each version with its card and its share of the clients."""
    versions = {
        version: {
            "share": served.shares.get(version, 0),
            "shadow": version == served.shadow,
            "about": dict(model.about),
        }
        for version, model in served.versions.items()
    }
    main = max(served.versions, key=lambda version: served.shares.get(version, 0))
    front = served.versions[main].front
    return {
        "name": served.name,
        "takes": front.takes,
        "streams": isinstance(front, Streaming) and front.streams,
        "plays": isinstance(front, Playing) and front.plays,
        "main": main,
        "versions": versions,
    }
