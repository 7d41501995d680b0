"""Rewards that live elsewhere: the remote reward, and what other rewards need to ask over HTTP side by side.

The request itself, its deadline and its retries: `rlreason.sandbox.http`.
"""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from rlreason.rewards.runtime.load import to_score
from rlreason.sandbox.http import HttpError, post_json
from rlreason.types import Score, Task

MAX_CONCURRENT = 64
"""Requests that one process has under way."""
_MAX_DETAIL_CHARS = 300
_pool = ThreadPoolExecutor(max_workers=MAX_CONCURRENT, thread_name_prefix="remote-reward")


async def reward(
    response: str,
    task: Task,
    *,
    url: str,
    token_env: str | None = None,
    max_retries: int = 3,
    timeout_s: float = 30.0,
) -> Score:
    """What a server answers to `POST {"response": text, "task": {id, prompt, answer, tests, source, columns}}`.

    It answers a number, or `{"value": number, "status": one of Score's, "detail": text}` with the last two optional.
    token_env: name of the environment variable whose value goes along as a bearer token. timeout_s: seconds in all,
    retries included. Anything else, a missed deadline too, is `verifier_error`: the response is not to blame.
    """
    body = {"response": clean(response), "task": asdict(task)}
    try:
        reply = await in_thread(post_json, url, body, token_env=token_env, max_retries=max_retries, timeout_s=timeout_s)
    except HttpError as error:
        return Score(value=0.0, status="verifier_error", detail=str(error))
    if not isinstance(reply, dict):
        return to_score(reply) if reply is not None else _nonsense(reply)
    if reply.get("value") is None:
        return _nonsense(reply)
    plain = to_score(reply["value"])
    status = reply.get("status", plain.status)
    if plain.status == "verifier_error" or not isinstance(status, str):
        return _nonsense(reply)
    return to_score(Score(value=plain.value, status=status, detail=str(reply.get("detail", ""))))  # type: ignore[arg-type]


async def in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Awaits a blocking call, so that the requests of a batch run side by side."""
    return await asyncio.get_running_loop().run_in_executor(_pool, lambda: function(*args, **options))


def clean(text: str) -> str:
    """Without lone surrogates, which no UTF-8 reader accepts."""
    return text.encode("utf-8", "replace").decode()


def _nonsense(reply: Any) -> Score:
    detail = f"the server's answer is no score: {json.dumps(reply)[:_MAX_DETAIL_CHARS]}"
    return Score(value=0.0, status="verifier_error", detail=detail)
