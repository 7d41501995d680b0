"""Benchmark text is found by its n-grams, clean text is not."""

from pathlib import Path

import pytest

from rlreason.config.corpus import DecontaminationRule
from rlreason.data.corpus.decontaminate import contaminated, load_hashes, ngram_hashes
from rlreason.types import UserError

QUESTION = "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much?"
WORDS = "weng earns 12 an hour for babysitting yesterday she just did 50 minutes of babysitting how much"


def test_shared_words_are_found_whatever_their_form() -> None:
    hashes = ngram_hashes([{"question": QUESTION, "id": 3}], 13)
    assert len(hashes) == len(WORDS.split()) - 12
    text = "In a forum:\n\n> **weng** EARNS $12 an hour, for “babysitting”; yesterday she\n> just did 50 minutes!"
    assert contaminated(text, hashes, 13) == "weng earns 12 an hour for babysitting yesterday she just did 50 minutes"


def test_one_word_less_is_no_contamination() -> None:
    hashes = ngram_hashes([{"question": QUESTION}], 13)
    assert contaminated(" ".join(WORDS.split()[:13]), hashes, 13) is not None
    assert contaminated(" ".join(WORDS.split()[:12]) + " hours of babysitting", hashes, 13) is None
    assert contaminated("", hashes, 13) is None


def test_lists_and_messages_count_and_columns_are_not_joined() -> None:
    row = {"messages": [{"role": "user", "content": "one two three"}], "choices": ("four five", "six"), "n": 2}
    assert contaminated("say one two three again", ngram_hashes([row], 3), 3) == "one two three"
    assert contaminated("four five", ngram_hashes([row], 2), 2) == "four five"
    assert contaminated("two three four five six", ngram_hashes([row], 3), 3) is None


def test_benchmarks_come_from_functions(tmp_path: Path) -> None:
    code = tmp_path / "rows.py"
    code.write_text("def rows(text: str) -> list:\n    return [{'prompt': text}]\n")
    rule = DecontaminationRule(data=[f"{code}:rows"], args={"text": "delta epsilon zeta"}, ngram=3)
    hashes = load_hashes(rule)
    assert len(hashes) == 1 and contaminated("Delta, epsilon, zeta.", hashes, 3)
    with pytest.raises(UserError, match="wrong `args`"):
        load_hashes(rule.model_copy(update={"args": {"words": 1}}))
