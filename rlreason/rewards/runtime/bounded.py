"""Runs one of our own functions on model text where a deadline can end it: one warm child a function.

For work whose time the text decides, such as a user's regular expression. Not for users' functions: `reward_set` does
those. Calls of one function run one after the other.
"""

from functools import cache
from typing import Any

from rlreason.rewards.runtime.killable import Crashed, KillableFunction, Raised, Returned, TimedOut
from rlreason.types import Score, UserError

MEMORY_BYTES = 1 << 30


def call_bounded(path: str, *args: Any, timeout_s: float) -> Any:
    """What the function `path` returns (it goes through JSON), or a Score that says why there is nothing.

    timeout_s: seconds of this call; the child's start is not part of it. Raises UserError where the function does.
    """
    match _child(path).call(*args, timeout_s=timeout_s):
        case Returned(value=value):
            return value
        case TimedOut(seconds=seconds):
            return Score(value=0.0, status="timeout", detail=f"no verdict within {seconds:g} s")
        case Raised(error="UserError", message=message):
            raise UserError(message)
        case Raised(traceback=text):
            return Score(value=0.0, status="verifier_error", detail=text)
        case Crashed(detail=text):
            return Score(value=0.0, status="verifier_error", detail=f"the checking process died: {text}")


@cache
def _child(path: str) -> KillableFunction:
    return KillableFunction(path, memory_bytes=MEMORY_BYTES)
