"""Repetition penalties, with values worked out by hand."""

import time
import zlib

import pytest

from rlreason.rewards import repetition
from rlreason.rewards.repetition import compression, ngrams
from rlreason.types import Task, UserError

TASK = Task(id="t", prompt="?")


def test_word_ngrams() -> None:
    # "a b a b a": 3-grams aba bab aba, 2 of 3 distinct: 1 - 2/3.
    assert ngrams("a b a b a", TASK).value == pytest.approx(-1 / 3)
    assert ngrams("a B A b a", TASK, max_penalty=-0.5).value == pytest.approx(-1 / 6)
    assert ngrams("one two three four", TASK).value == 0.0
    # 20 words, all the same: 18 3-grams, 1 distinct: 1 - 1/18.
    assert ngrams("the " * 20, TASK).value == pytest.approx(-17 / 18)


def test_character_ngrams() -> None:
    # "abab": 2-grams ab ba ab, 2 of 3 distinct.
    assert ngrams("abab", TASK, n=2, unit="character").value == pytest.approx(-1 / 3)
    assert ngrams("我们再想想", TASK, n=2, unit="character").value == 0.0


def test_short_responses_are_not_penalised() -> None:
    for text in ("", "a", "a a"):
        score = ngrams(text, TASK)
        assert (score.value, score.status) == (0.0, "ok")


def test_compression_penalty_is_linear_between_its_ratios() -> None:
    text = "So wait, let me check this again. " * 15
    ratio = len(text) / len(zlib.compress(text.encode(), 6))
    assert 4 < ratio < 12
    score = compression(text, TASK)
    assert score.value == pytest.approx(-(ratio - 4) / 8)
    assert score.status == "wrong"
    assert compression(text * 10, TASK, max_penalty=-2.0).value == -2.0
    assert compression(text, TASK, free_ratio=ratio, full_ratio=20).value == 0.0


def test_prose_is_not_penalised() -> None:
    prose = f"{repetition.__doc__} {ngrams.__doc__} {compression.__doc__} {pytest.__doc__} {zlib.__doc__}"
    assert compression(prose, TASK).value == 0.0
    assert compression("", TASK).value == 0.0


@pytest.mark.parametrize("options", [{"max_penalty": 0.5}, {"n": 0}, {"unit": "line"}])
def test_wrong_ngram_options_are_the_users_error(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        ngrams("a", TASK, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"max_penalty": 1}, {"free_ratio": 5, "full_ratio": 5}, {"free_ratio": 0}])
def test_wrong_ratios_are_the_users_error(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        compression("a", TASK, **options)  # type: ignore[arg-type]


def test_half_a_million_characters_take_little_time() -> None:
    start = time.perf_counter()
    for text in ("a " * 200_000, "".join(f"{i} " for i in range(60_000))):
        ngrams(text, TASK)
        ngrams(text, TASK, n=10, unit="character")
        compression(text, TASK)
    assert time.perf_counter() - start < 10.0
