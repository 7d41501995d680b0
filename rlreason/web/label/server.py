"""The labelling page and its few calls. Loopback by default; nothing is answered without a labeller's secret.

Each labeller has a link with a secret. It comes once in the address; a cookie made of it, which no script sees, stands
for it from then on, and alone says whose a request is. Cookies do not know ports: a call is answered only from a page
of this very address. The Host header must be one that the server was started for, so that no other name can be pointed
at it. All text is shown as text. Traffic is not encrypted: beyond one machine, put a proxy with TLS before it.
"""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
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
Call = Callable[[Store, str, Given], dict[str, Any]]
"""Store, labeller and what the page sends -> what it gets."""
T = TypeVar("T")
MAX_BYTES = 100_000
"""Of what a page may send."""


def application(store: Store, links: Mapping[str, str], hosts: list[str]) -> Starlette:
    """`links`: each labeller's name -> secret. `hosts`: names, without a port, that the server is called by."""

    cookies = {name: cookie_of(secret) for name, secret in links.items()}

    async def page(request: Request) -> Response:
        if "token" in request.query_params:  # from the printed address: into the cookie, and out of the address
            response: Response = RedirectResponse("/", status_code=303)
            cookie = cookies[request.state.labeller]
            response.set_cookie(cookie_name(request), cookie, httponly=True, samesite="strict")
            return response
        return FileResponse(FOLDER / "page.html", media_type="text/html")

    async def file(request: Request) -> Response:
        return FileResponse(FOLDER / request.url.path.lstrip("/"), media_type=FILES[request.url.path])

    async def guarded(request: Request, proceed: Handler) -> Response:
        link = request.query_params.get("token")  # before the cookie: who opens another person's link is that person
        shown, known = (request.cookies.get(cookie_name(request), ""), cookies) if link is None else (link, links)
        let_in = [name for name, one in known.items() if hmac.compare_digest(one.encode(), shown.encode())]
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers["host"]:
            response: Response = PlainTextResponse("This is no request of the page.\n", 403)
        elif let_in:
            request.state.labeller = let_in[0]
            response = await proceed(request)
        else:
            response = PlainTextResponse("Open your link, as `rlreason label` printed it.\n", 403)
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


def answered_by(store: Store, call: Call) -> Handler:
    """One of the page's calls; what is wrong with it is one line of JSON.

    A page says whose it is once it knows. That gives no rights: it is refused where the cookie is another person's.
    """

    def found(labeller: str, body: bytes) -> JSONResponse:
        try:
            given = json.loads(body)
            if given.get("labeller", labeller) != labeller:
                return JSONResponse({"error": f"this browser is {labeller}'s now; reload, or open your link"}, 403)
            return JSONResponse(
                call(store, labeller, given) | {"labeller": labeller, "progress": store.progress(labeller)}
            )
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return JSONResponse({"error": "this is no request of the page"}, status_code=400)

    async def answered(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":  # another site may send any form, but not this
            return JSONResponse({"error": "this is no request of the page"}, status_code=415)
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BYTES:
                    return JSONResponse({"error": "that is too much text"}, status_code=413)
        except ClientDisconnect:  # nobody is there to be answered
            return Response(status_code=400)
        return await run_in_threadpool(found, request.state.labeller, body)

    return answered


def of(given: Given, key: str, kind: type[T]) -> T:
    """A value of what the page sends. TypeError where it is of another kind."""
    value = given[key]
    if type(value) is not kind:
        raise TypeError(key)
    return value


def following(store: Store, labeller: str, given: Given) -> dict[str, Any]:
    return {"prompt": store.next_prompt(labeller)}


def save(store: Store, labeller: str, given: Given) -> dict[str, Any]:
    sent = of(given, "places", dict)
    places = {int(answer): of(sent, answer, int) for answer in sent}
    all_bad, comment = of(given, "all_bad", bool), of(given, "comment", str)
    store.save(labeller, of(given, "prompt", int), places, all_bad=all_bad, comment=comment)
    return following(store, labeller, given)


def undo(store: Store, labeller: str, given: Given) -> dict[str, Any]:
    back = store.undo(labeller)
    return {"prompt": back} if back else following(store, labeller, given)


def cookie_of(secret: str) -> str:
    """Whoever is sent the cookie, such as another port of the machine, does not learn the link."""
    return hashlib.sha256(f"rlreason label {secret}".encode()).hexdigest()


def cookie_name(request: Request) -> str:
    """Servers on one machine have one of their own each."""
    return f"rlreason-label-{request.url.port or 80}"
