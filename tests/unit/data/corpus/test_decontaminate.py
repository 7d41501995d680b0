"""Benchmark text is found by its n-grams, clean text is not."""

from pathlib import Path
from typing import Any

import pytest

from rlreason.config.corpus import DecontaminationRule
from rlreason.data.corpus.decontaminate import Benchmarks, benchmarks_of, contaminated, load_benchmarks
from rlreason.types import UserError

QUESTION = "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much?"
WORDS = "weng earns 12 an hour for babysitting yesterday she just did 50 minutes of babysitting how much"


def one(row: dict[str, Any], n: int) -> Benchmarks:
    return benchmarks_of({"gsm8k": [row]}, n)


def test_shared_words_are_found_whatever_their_form() -> None:
    benchmarks = one({"question": QUESTION, "id": 3}, 13)
    assert benchmarks.counts == {"gsm8k": len(WORDS.split()) - 12} and benchmarks.sizes == (13,)
    text = "In a forum:\n\n> **weng** EARNS $12 an hour, for “babysitting”; yesterday she\n> just did 50 minutes!"
    shared = "weng earns 12 an hour for babysitting yesterday she just did 50 minutes"
    assert contaminated(text, benchmarks) == f"gsm8k: {shared}"


def test_one_word_less_is_no_contamination() -> None:
    benchmarks = one({"question": QUESTION}, 13)
    assert contaminated(" ".join(WORDS.split()[:13]), benchmarks) is not None
    assert contaminated(" ".join(WORDS.split()[:12]) + " hours of babysitting", benchmarks) is None
    assert contaminated("", benchmarks) is None


def test_a_text_that_is_shorter_than_an_ngram_is_looked_for_whole() -> None:
    benchmarks = one({"question": "How many legs do nine spiders have together?", "answer": "It is 72."}, 13)
    assert benchmarks.sizes == (8,) and benchmarks.counts == {"gsm8k": 1}
    text = "A riddle: how many legs do nine spiders have together, and what is 72? " * 2
    assert contaminated(text, benchmarks) == "gsm8k: how many legs do nine spiders have together"
    assert contaminated("how many legs do nine spiders have", benchmarks) is None


def test_lists_and_messages_count_and_columns_are_not_joined() -> None:
    row = {"messages": [{"role": "user", "content": "one two three"}], "choices": ("four five", "six"), "n": 2}
    assert contaminated("say one two three again", one(row, 3)) == "gsm8k: one two three"
    assert contaminated("four five", one(row, 2)) == "gsm8k: four five"
    assert contaminated("two three four five six", one(row, 3)) is None


def test_sets_come_from_files_folders_and_functions_and_are_named(tmp_path: Path) -> None:
    code = tmp_path / "rows.py"
    code.write_text("def rows(text: str) -> list:\n    return [{'prompt': text}]\n")
    (tmp_path / "set.jsonl").write_text('{"question": "one two three four"}\n')
    data: dict[str, Any] = {
        "first": {"generate": f"{code}:rows", "args": {"text": "delta epsilon zeta"}},
        "second": {"generate": f"{code}:rows", "args": {"text": "eta theta iota"}},
        "third": {"path": str(tmp_path / "set.jsonl")},
    }
    found = load_benchmarks(DecontaminationRule(data=data, ngram=3))
    assert found.counts == {"first": 1, "second": 1, "third": 2}
    assert contaminated("Eta, theta, iota.", found) == "second: eta theta iota"
    assert contaminated("Two! Three! Four!", found) == "third: two three four"
    other = load_benchmarks(DecontaminationRule(data={"third": data["third"]}, ngram=3))
    assert len({found.fingerprint(), other.fingerprint()}) == 2
    with pytest.raises(UserError, match="wrong `args`"):
        load_benchmarks(DecontaminationRule(data={"a": {"generate": f"{code}:rows", "args": {"words": 1}}}))
    with pytest.raises(UserError, match=r"decontamination.data.first: no text of at least 8 words"):
        load_benchmarks(DecontaminationRule(data=data, ngram=13))
