"""Share of words in the wanted script, with counts worked out by hand."""

import time

import pytest

from rlreason.rewards.language import consistency
from rlreason.types import Task, UserError

TASK = Task(id="t", prompt="?")


@pytest.mark.parametrize(
    ("response", "language", "value"),
    [
        ("We add the numbers.", "en", 1.0),
        ("We add 数字 here", "en", 3 / 5),  # 3 words, 2 ideographs
        ("我们把数字加起来", "zh", 1.0),
        ("我们 add 数字", "zh", 4 / 5),
        ("Мы складываем числа", "ru", 1.0),
        ("Мы складываем числа", "en", 0.0),
        ("これは答えです", "ja", 1.0),
        ("답은 사십이", "ko", 1.0),
        ("हम संख्या जोड़ते हैं", "hi", 1.0),
        ("हिन्दी word", "en", 1 / 2),  # vowel signs do not cut the first word into names of one letter
        ("ｆｕｌｌ width", "en", 1.0),
    ],
)
def test_share_of_words(response: str, language: str, value: float) -> None:
    assert consistency(response, TASK, language=language).value == pytest.approx(value)


@pytest.mark.parametrize(
    "ignored",
    [
        r"$\alpha + beta$", r"\(beta\)", r"\[ beta + gamma \]", "$$beta$$", r"\frac{1}{2}", "`some code`",
        "```python\nprint('hello')\n```", "https://example.org/page", "<think>", "x y z 42",
    ],
)  # fmt: skip
def test_mathematics_code_and_names_do_not_count(ignored: str) -> None:
    score = consistency(f"我们 {ignored} 数字", TASK, language="zh")
    assert score.value == 1.0, score.detail


def test_prices_do_not_hide_the_words_between_lines() -> None:
    assert consistency("$5 for 一\nthe other costs $6", TASK).value == pytest.approx(4 / 5)


def test_the_module_says_what_it_cannot_see() -> None:
    assert consistency("Nous ajoutons les nombres", TASK, language="en").value == 1.0


def test_no_words_is_unparseable() -> None:
    for response in ("", "42", "$x$", "\ud800\x00"):
        assert consistency(response, TASK).status == "unparseable"


def test_an_unknown_language_is_the_users_error() -> None:
    with pytest.raises(UserError, match="known are"):
        consistency("a", TASK, language="english")


def test_hostile_text_takes_linear_time() -> None:
    start = time.perf_counter()
    for piece in (r"\(", r"\[", "$", "`", "```", "$$", "<a", "\\", "https://", "我", "\ufdfa", "e\u0301"):
        consistency(piece * (300_000 // len(piece)), TASK)
    assert time.perf_counter() - start < 10.0
