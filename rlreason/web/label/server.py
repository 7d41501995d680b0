"""The labelling page and its few calls. Loopback by default; nothing is answered without the token.

The token comes once in the address; a cookie made of it, which no script sees, stands for it from then on. Cookies do
not know ports: a call is answered only from a page of this very address. The Host header must be one that the server
was started for, so that no other name can be pointed at it. All text is shown as text.
"""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from rlreason.types import UserError
from rlreason.web.label.store import Store

FOLDER = Path(__file__).parent
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
T = TypeVar("T")
MAX_BYTES = 100_000
"""Of what a page may send."""


def application(store: Store, token: str, hosts: list[str]) -> Starlette:
    """`hosts`: names, without a port, that the server is called by."""

    secret = hashlib.sha256(f"rlreason label {token}".encode()).hexdigest()

    async def page(request: Request) -> Response:
        if "token" in request.query_params:  # from the printed address: into the cookie, and out of the address
            response: Response = RedirectResponse("/", status_code=303)
            response.set_cookie(cookie_name(request), secret, httponly=True, samesite="strict")
            return response
        return FileResponse(FOLDER / "page.html", media_type="text/html")

    async def file(request: Request) -> Response:
        return FileResponse(FOLDER / request.url.path.lstrip("/"), media_type=FILES[request.url.path])

    async def guarded(request: Request, proceed: Handler) -> Response:
        shown = request.query_params.get("token", ""), request.cookies.get(cookie_name(request), "")
        pairs = zip(shown, (token, secret), strict=True)
        is_let_in = [secrets.compare_digest(one.encode(), other.encode()) for one, other in pairs]
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers["host"]:
            response: Response = PlainTextResponse("This is no request of the page.\n", 403)
        elif any(is_let_in):
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

    def found(body: bytes) -> JSONResponse:
        try:
            given = json.loads(body)
            return JSONResponse(call(store, given) | {"progress": store.progress(of(given, "labeller", str))})
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return JSONResponse({"error": "this is no request of the page"}, status_code=400)

    async def answered(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":  # another site may send any form, but not this
            return JSONResponse({"error": "this is no request of the page"}, status_code=415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BYTES:
                return JSONResponse({"error": "that is too much text"}, status_code=413)
        return await run_in_threadpool(found, body)

    return answered


def of(given: Given, key: str, kind: type[T]) -> T:
    """A value of what the page sends. TypeError where it is of another kind."""
    value = given[key]
    if type(value) is not kind:
        raise TypeError(key)
    return value


def following(store: Store, given: Given) -> dict[str, Any]:
    return {"prompt": store.next_prompt(of(given, "labeller", str))}


def save(store: Store, given: Given) -> dict[str, Any]:
    sent = of(given, "places", dict)
    places = {int(answer): of(sent, answer, int) for answer in sent}
    all_bad, comment = of(given, "all_bad", bool), of(given, "comment", str)
    store.save(of(given, "labeller", str), of(given, "prompt", int), places, all_bad=all_bad, comment=comment)
    return following(store, given)


def undo(store: Store, given: Given) -> dict[str, Any]:
    back = store.undo(of(given, "labeller", str))
    return {"prompt": back} if back else following(store, given)


def cookie_name(request: Request) -> str:
    """Servers on one machine have one of their own each."""
    return f"rlreason-label-{request.url.port or 80}"
