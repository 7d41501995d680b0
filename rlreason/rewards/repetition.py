"""Penalties for repetition, in [max_penalty, 0]. They read form only: code and tables repeat for good reasons.

`ok` means nothing to penalise, `wrong` that there was. Time is linear in the response.
"""

import zlib
from collections.abc import Sequence
from typing import Literal

from rlreason.types import Score, Task, UserError


def ngrams(
    response: str, task: Task, *, n: int = 3, unit: Literal["word", "character"] = "word", max_penalty: float = -1.0
) -> Score:
    """max_penalty times the share of n-grams that occurred before: 1 - distinct / all.

    As in Yeo et al., "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373), and open-r1. Words are split
    at white space, case ignored; take `character` with a larger n (10) for scripts without spaces. A response of
    fewer than n units is not penalised.
    """
    _check(max_penalty)
    if n < 1 or unit not in ("word", "character"):
        raise UserError(f"n is {n} and unit {unit!r}: n must be above 0, unit `word` or `character`")
    text = response.lower()
    units: Sequence[str] = text.split() if unit == "word" else text
    num_grams = len(units) - n + 1
    if num_grams < 1:
        return Score(value=0.0, status="ok", detail=f"fewer than {n} {unit}s")
    distinct = len({tuple(units[i : i + n]) for i in range(num_grams)})
    return _penalty(1 - distinct / num_grams, max_penalty, f"{distinct} of {num_grams} n-grams are distinct")


def compression(
    response: str, task: Task, *, free_ratio: float = 4.0, full_ratio: float = 12.0, max_penalty: float = -1.0
) -> Score:
    """Penalty by the ratio bytes / zlib-compressed bytes: 0 up to free_ratio, max_penalty from full_ratio on.

    The ratio finds loops that are longer than an n-gram (Whisper, arXiv 2212.04356, section 4.5, rejects text above
    2.4). The defaults suit reasoning: worked GSM8K solutions reach 3.2 alone and 2.8 as 90,000 characters in a row;
    one sentence written 20 times gives 13.6.
    """
    _check(max_penalty)
    if not 0 < free_ratio < full_ratio:
        raise UserError(f"free_ratio is {free_ratio:g} and full_ratio {full_ratio:g}: 0 < free_ratio < full_ratio")
    data = response.encode("utf-8", "replace")
    if not data:
        return Score(value=0.0, status="ok", detail="empty")
    ratio = len(data) / len(zlib.compress(data, 6))
    share = (ratio - free_ratio) / (full_ratio - free_ratio)
    return _penalty(min(max(share, 0.0), 1.0), max_penalty, f"compression ratio {ratio:.2f}")


def _check(max_penalty: float) -> None:
    if max_penalty > 0:
        raise UserError(f"max_penalty is {max_penalty:g}: a penalty is 0 or below")


def _penalty(share: float, max_penalty: float, detail: str) -> Score:
    if share <= 0:
        return Score(value=0.0, status="ok", detail=detail)
    return Score(value=share * max_penalty, status="wrong", detail=detail)
