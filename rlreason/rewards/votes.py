"""Which responses to one task are one vote for a majority: equal answers, not equal texts.

Right responses are one class, whatever they look like. Wrong ones are grouped by what the reward that judged them
compares: mathematics, a number, a letter, a text; for other rewards by their normalised final answer. At most
MAX_COMPARISONS of mathematics are made for a task; an answer beyond them votes by its text.
"""

from collections.abc import Hashable, Sequence

from rlreason.config.rewards import RewardConfig
from rlreason.rewards.match import chosen_letters, given_number
from rlreason.rewards.math import verify
from rlreason.rewards.math.extract import final_answer
from rlreason.rewards.math.normalise import normalise
from rlreason.rewards.runtime.response import after_thought

MAX_COMPARISONS = 64
COMPARISON_S = 5.0
RIGHT = True
"""The class of right responses; no answer is a bool."""


def votes(responses: Sequence[str], right: Sequence[bool], reward: RewardConfig | None) -> list[Hashable]:
    """A class for each response, the same for equal answers; None where there is no answer. `reward`: the judge."""
    path = "" if reward is None else reward.path
    if path == "rlreason.rewards.match:numeric":
        alone = bool(reward and reward.args.get("alone"))
        keys: list[Hashable] = [_number(response, alone=alone) for response in responses]
    elif path == "rlreason.rewards.match:choice":
        keys = [frozenset(chosen_letters(response)) or None for response in responses]
    elif path == "rlreason.rewards.match:exact_text":
        keys = [_words(response) for response in responses]
    else:
        keys = [_final(response) for response in responses]
        if keys == [None] * len(keys):  # Plain words: whole responses vote.
            keys = [_words(response) for response in responses]
    found: list[Hashable] = [RIGHT if is_right else key for key, is_right in zip(keys, right, strict=True)]
    num_right, num_wrong = found.count(RIGHT), len(found) - found.count(RIGHT) - found.count(None)
    if path == "rlreason.rewards.math:reward" and 0 < num_right <= num_wrong:  # else no grouping changes the majority
        return _grouped(found)
    return found


def _grouped(found: list[Hashable]) -> list[Hashable]:
    """Wrong answers, which are tuples of one text each, that are mathematically equal get the class of the first."""
    classes: dict[Hashable, Hashable] = {}
    num_left = MAX_COMPARISONS
    for key in found:
        if key in classes or not isinstance(key, tuple):
            continue
        classes[key] = key
        if len(key) > 1:
            continue
        for other in {one: None for one in classes.values() if one != key}:
            if not isinstance(other, tuple) or len(other) > 1 or num_left <= 0:
                continue
            num_left -= 1
            if _equal(key[0], other[0]):
                classes[key] = other
                break
    return [classes.get(key, key) for key in found]


def _equal(first: str, second: str) -> bool:
    """Either is right where the other is the gold answer."""
    pairs = ((first, second), (second, first))
    return any(verify(rf"\boxed{{{a}}}", b, timeout_s=COMPARISON_S).value >= 1.0 for a, b in pairs)


def _final(response: str) -> tuple[str, ...] | None:
    answer = final_answer(response)
    return None if answer is None else tuple(map(normalise, answer.parts))


def _number(response: str, *, alone: bool) -> Hashable:
    number = given_number(response, alone=alone)
    return None if number is None else (number[1].value, number[1].percent)


def _words(response: str) -> str | None:
    return " ".join(after_thought(response).split()) or None
