r"""Rewards for the form of a response: a regular expression, and the think block.

Neither reads the answer. Added to a correctness reward, a format reward also lifts wrong answers, since group
normalisation ignores scale: gate or multiply instead of adding.
"""

import re

from rlreason.rewards.runtime.bounded import call_bounded
from rlreason.types import Score, Task, UserError


def regex(response: str, task: Task, *, pattern: str, whole: bool = False, timeout_s: float = 5.0) -> Score:
    r"""1.0 where `pattern` (Python syntax, flags inline as in `(?s)`) is found in the response, else 0.0.

    whole: it must match the whole response, not a part. A pattern that backtracks without end is the user's own; it
    runs in a child and gives `timeout` after timeout_s seconds. UserError for a pattern that does not compile.
    """
    found = call_bounded("rlreason.rewards.format:find_groups", pattern, response, whole, timeout_s=timeout_s)
    if isinstance(found, Score):
        return found
    if found:
        return Score(value=1.0, status="ok", detail="the pattern matches")
    return Score(value=0.0, status="wrong", detail="the pattern does not match")


def find_groups(pattern: str, text: str, whole: bool) -> list[str | None]:
    """Text of the last match's first group, or of the match where there is no group; empty list: no match."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    matches = [compiled.fullmatch(text)] if whole else list(compiled.finditer(text))
    last = matches[-1] if matches else None
    return [] if last is None else [last.group(1 if compiled.groups else 0)]


def think(
    response: str,
    task: Task,
    *,
    think_tag: str = "think",
    answer_tag: str | None = None,
    opened_in_prompt: bool = False,
) -> Score:
    """1.0 for exactly one `<think>...</think>` with text in it, at the start, then an answer that holds no such tag.

    answer_tag: the rest must be exactly one `<answer>...</answer>` with text in it (DeepSeek-R1's template,
    arXiv 2501.12948, table 1). opened_in_prompt: the chat template already wrote the opening tag, so that the
    response must not. Spaces at either end do not count.
    """
    opening, closing = f"<{think_tag}>", f"</{think_tag}>"
    text = response.strip()
    if not opened_in_prompt:
        if not text.startswith(opening):
            return _malformed(f"does not start with {opening}")
        text = text[len(opening) :]
    thought, closed, rest = text.partition(closing)
    rest = rest.strip()
    if not closed:
        return _malformed(f"no {closing}")
    if any(tag in part for tag in (opening, closing) for part in (thought, rest)):
        return _malformed(f"more than one {think_tag} block")
    if not thought.strip():
        return _malformed("nothing is thought")
    if answer_tag is not None:
        opening, closing = f"<{answer_tag}>", f"</{answer_tag}>"
        if (response.count(opening), response.count(closing)) != (1, 1):
            return _malformed(f"not exactly one {answer_tag} block")
        if not (rest.startswith(opening) and rest.endswith(closing)):
            return _malformed(f"text outside of the {answer_tag} block")
        rest = rest[len(opening) : -len(closing)].strip()
    if not rest:
        return _malformed("no answer after the thought")
    return Score(value=1.0, status="ok", detail="well-formed")


def _malformed(detail: str) -> Score:
    return Score(value=0.0, status="wrong", detail=detail)
