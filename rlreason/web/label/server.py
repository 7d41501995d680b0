"""The labelling page and its few calls. Loopback by default; nothing is answered without the token.

The token comes once in the address and then in a cookie that no script sees and no other site sends. The Host header
must be one that the server was started for, so that no other name can be pointed at it. All text is shown as text.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from rlreason.types import UserError
from rlreason.web.label.store import Store

FOLDER = Path(__file__).parent
COOKIE = "rlreason-label"
FILES = {"/page.js": "text/javascript", "/page.css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Given = dict[str, Any]
"""What the page sends."""
Handler = Callable[[Request], Awaitable[Response]]
MAX_BYTES = 100_000
"""Of what a page may send."""


def application(store: Store, token: str, hosts: list[str]) -> Starlette:
    """`hosts`: names, without a port, that the server is called by."""

    async def page(request: Request) -> Response:
        if "token" in request.query_params:  # from the printed address: into the cookie, and out of the address
            response: Response = RedirectResponse("/", status_code=303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        return FileResponse(FOLDER / "page.html", media_type="text/html")

    async def file(request: Request) -> Response:
        return FileResponse(FOLDER / request.url.path.lstrip("/"), media_type=FILES[request.url.path])

    async def guarded(request: Request, proceed: Handler) -> Response:
        shown = request.query_params.get("token") or request.cookies.get(COOKIE) or ""
        if secrets.compare_digest(shown.encode(), token.encode()):
            response = await proceed(request)
        else:
            response = PlainTextResponse("Open the address with its token, as `rlreason label` printed it.\n", 403)
        response.headers.update(HEADERS)
        return response

    calls = {"/next": following, "/save": save, "/undo": undo}
    return Starlette(
        routes=[
            Route("/", page),
            *(Route(path, file) for path in FILES),
            *(Route(path, answered_by(store, call), methods=["POST"]) for path, call in calls.items()),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(BaseHTTPMiddleware, dispatch=guarded),
        ],
    )


def answered_by(store: Store, call: Callable[[Store, Given], dict[str, Any]]) -> Handler:
    """One of the page's calls; what is wrong with it is one line of JSON."""

    async def answered(request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BYTES:
            return JSONResponse({"error": "that is too much text"}, status_code=413)
        try:
            given = json.loads(body)
            found = call(store, given) | {"progress": store.progress(str(given["labeller"]))}
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"error": "this is no request of the page"}, status_code=400)
        return JSONResponse(found)

    return answered


def following(store: Store, given: Given) -> dict[str, Any]:
    return {"prompt": store.next_prompt(str(given["labeller"]))}


def save(store: Store, given: Given) -> dict[str, Any]:
    places = {int(answer): int(place) for answer, place in given["places"].items()}
    all_bad, comment = bool(given["all_bad"]), str(given["comment"])
    store.save(str(given["labeller"]), int(given["prompt"]), places, all_bad=all_bad, comment=comment)
    return following(store, given)


def undo(store: Store, given: Given) -> dict[str, Any]:
    back = store.undo(str(given["labeller"]))
    return {"prompt": back} if back else following(store, given)
