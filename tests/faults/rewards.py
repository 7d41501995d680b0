"""Rewards for the fault tests: one that teaches something to a random model, and some that break."""

import time

from rlreason.types import Task


def evens(response: str, task: Task) -> float:
    """Share of even digits: differs between the answers of a model that knows nothing, so weights move."""
    return sum(character in "02468" for character in response) / 8


def breaks(response: str, task: Task) -> float:
    """Does what the row's `does` column says."""
    does = task.columns["does"]
    if does == "hang":
        time.sleep(3600)
    if does == "raise":
        raise ZeroDivisionError("the scale is 0")
    return evens(response, task)
