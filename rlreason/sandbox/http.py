"""JSON over HTTP: one request with a deadline and retries. For rewards and sandboxes that live elsewhere.

http and https only. Redirects are not followed: they would carry the token to another host. Failures are typed,
and neither the token nor a query string shows in them. The proxies of the environment are used.
"""

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from rlreason.types import UserError

MAX_REPLY_BYTES = 1 << 20
_BACKOFF_S = 0.2
"""Before the first retry; doubles each time, less up to half of it by chance."""
_MAX_DETAIL_CHARS = 300
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class HttpError(Exception):
    """A request that gave nothing, after its retries."""


class TooLong(HttpError):
    """The answer passes `max_reply_bytes`."""


def post_json(
    url: str,
    body: Mapping[str, Any],
    *,
    token_env: str | None,
    max_retries: int,
    timeout_s: float,
    max_reply_bytes: int = MAX_REPLY_BYTES,
) -> Any:
    """The decoded JSON answer. HttpError after the retries, at the deadline, or at once for what no retry mends.

    Retried, with exponential back-off and jitter (a numeric Retry-After is obeyed): time-outs, broken connections,
    408, 409, 425, 429 and 5xx. One try gets at most half of the time that is left, so that a server that hangs once
    does not use up all. timeout_s: seconds in all. UserError for a URL that cannot be meant.
    """
    if max_retries < 0:
        raise UserError(f"max_retries is {max_retries}: it must be 0 or above")
    where, token = check_url(url), token_of(token_env)
    data = json.dumps(body, default=str).encode()
    # A tenth early: if the caller's own deadline passed first, its verdict would not say why.
    deadline = time.monotonic() + 0.9 * timeout_s
    for num_left in range(max_retries, -1, -1):
        left_s = deadline - time.monotonic()
        try:
            return _attempt(url, data, token, left_s / 2 if num_left else left_s, max_reply_bytes)
        except _Retry as failure:
            wait_s = failure.after_s or _BACKOFF_S * 2 ** (max_retries - num_left) * random.uniform(0.5, 1.0)
            detail = f"{where}: {_redacted(str(failure), token)}; tries: {max_retries - num_left + 1}"
        except HttpError as failure:
            raise type(failure)(f"{where}: {_redacted(str(failure), token)}") from None
        if time.monotonic() + (wait_s if num_left else 0.0) >= deadline:
            raise HttpError(f"{detail}; no more within {timeout_s:g} s")
        if num_left:
            time.sleep(wait_s)
    raise HttpError(detail)


class _Retry(Exception):
    def __init__(self, detail: str, after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.after_s = after_s


def _attempt(url: str, data: bytes, token: str | None, limit_s: float, max_reply_bytes: int) -> Any:
    """One request, in a thread of its own: a socket's time-out bounds each read, not their sum nor the name look-up."""
    outcome: Future[bytes] = Future()

    def work() -> None:
        try:
            outcome.set_result(_send(url, data, token, limit_s, max_reply_bytes))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        reply = outcome.result(timeout=max(limit_s, 0.001))
    except TimeoutError:
        raise _Retry(f"no answer within {limit_s:.3g} s") from None
    except OSError as error:
        raise _Retry(f"no connection: {error}") from None
    except HTTPException as error:
        raise _Retry(f"no HTTP answer: {type(error).__name__}") from None
    # A header that cannot be sent: the message may hold the token, so only its kind is told.
    except ValueError as error:
        raise HttpError(f"the request cannot be sent: {type(error).__name__}") from None
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        raise HttpError(f"the answer is not JSON: {reply[:100]!r}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _send(url: str, data: bytes, token: str | None, limit_s: float, max_reply_bytes: int) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "rlreason"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data=data, headers=headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=max(limit_s, 0.001)) as reply:
            body: bytes = reply.read(max_reply_bytes + 1)
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None
    if len(body) > max_reply_bytes:
        raise TooLong(f"the answer is longer than {max_reply_bytes} bytes")
    return body


def _refusal(error: urllib.error.HTTPError) -> Exception:
    with error:
        # 401 and 403 may repeat a part of the token.
        text = b"" if error.code in (401, 403) else error.read(_MAX_DETAIL_CHARS)
        after = error.headers.get("Retry-After", "")
    detail = f"HTTP {error.code} {text.decode(errors='replace')}".strip()
    if error.code not in _RETRIED:
        return HttpError(detail)
    return _Retry(detail, float(after) if after.isascii() and after.isdigit() else 0.0)


def check_url(url: str) -> str:
    """The URL as errors show it, without its query. UserError for one that cannot be meant."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, named = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not named:
        raise UserError("url must be http://HOST[:PORT]/... or https://HOST[:PORT]/...")
    if parts.username is not None or parts.password is not None:
        raise UserError("url holds a password: put it in an environment variable and name that one")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def token_of(name: str | None) -> str | None:
    """The value of the environment variable `name`. UserError where it is not set."""
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token:
        raise UserError(f"environment variable {name} is not set, and the request needs its token")
    return token


def _redacted(text: str, token: str | None) -> str:
    return text.replace(token, "***") if token else text
