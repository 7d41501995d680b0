"""A preference whose truth is known: sevens are good, up to three; each further one, and each plus sign, is bad.

Answers are strings of digits and signs. Random ones hold more than three sevens once in three hundred times, so a
reward model learns that sevens are good and little of where that ends: what a policy then makes of it is
over-optimisation.
"""

import random

from rlreason.types import Task

SYMBOLS = "0123456789+*-"


def gold(response: str, task: Task) -> float:
    """The true score."""
    return score(response)


def score(response: str) -> float:
    """1 a seven for the first three, -1.5 for each one after; -0.5 a plus sign."""
    sevens = response.count("7")
    return min(sevens, 3) - 1.5 * max(sevens - 3, 0) - 0.5 * response.count("+")


def answer(rng: random.Random) -> str:
    return "".join(rng.choices(SYMBOLS, k=rng.randint(3, 12)))


def texts(*, num: int, seed: int) -> list[dict[str, str]]:
    """Documents to pretrain on: a question and a random answer."""
    rng = random.Random(seed)
    return [{"text": question(rng) + answer(rng)} for _ in range(num)]


def rankings(*, num: int, seed: int, num_answers: int = 4) -> list[dict[str, object]]:
    """Preference rows, by the true score; equal scores are ties."""
    rng, rows = random.Random(seed), []
    while len(rows) < num:
        responses = sorted({answer(rng) for _ in range(num_answers)})
        scores = [score(response) for response in responses]
        order = sorted(set(scores), reverse=True)
        if len(order) > 1:
            ranking = [order.index(value) + 1 for value in scores]
            rows.append({"prompt": question(rng), "responses": responses, "ranking": ranking})
    return rows


def tasks(*, num: int, seed: int) -> list[dict[str, str]]:
    """Questions alone."""
    rng = random.Random(seed)
    return [{"prompt": question(rng)} for _ in range(num)]


def question(rng: random.Random) -> str:
    return f"{rng.randrange(10)}{rng.randrange(10)}="
