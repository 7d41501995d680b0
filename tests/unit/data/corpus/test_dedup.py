"""Exact and near duplicates: what is found, what is not, and which one is kept."""

import itertools
import random
from collections.abc import Callable

import pytest

from rlreason.config.corpus import DedupRule
from rlreason.data.corpus.dedup import band_keys, clusters, signature, text_hash

RULE = DedupRule()
Edit = Callable[[list[str], float, int], list[str]]
VOCABULARY = [
    f"{a}{b}{c}" for a in "bcdfglmnprst" for b in ("ar", "el", "in", "or", "un") for c in ("ba", "d", "gen", "k")
]


def document(seed: int, num_words: int = 300) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=num_words)


def edited(words: list[str], share: float, seed: int) -> list[str]:
    """A stretch of so large a share is rewritten."""
    rng = random.Random(seed)
    size = round(len(words) * share)
    start = rng.randrange(len(words) - size)
    return words[:start] + rng.choices(VOCABULARY, k=size) + words[start + size :]


def scattered(words: list[str], share: float, seed: int) -> list[str]:
    """So large a share of the words is replaced, here and there."""
    rng = random.Random(seed)
    places = set(rng.sample(range(len(words)), round(len(words) * share)))
    return [rng.choice(VOCABULARY) if i in places else word for i, word in enumerate(words)]


def pairs(texts: dict[str, str], rule: DedupRule = RULE) -> list[tuple[str, bytes]]:
    return [(id, key) for id, text in texts.items() for key in band_keys(text, rule, 0)]


@pytest.mark.parametrize(
    ("edit", "rule", "recall"),
    [
        (edited, RULE, 0.95),
        (edited, DedupRule(ngram=2, bands=20, rows=6), 1.0),
        (scattered, DedupRule(ngram=2, bands=20, rows=6), 0.95),
    ],
)
def test_planted_near_duplicates_are_found_and_nothing_else(edit: Edit, rule: DedupRule, recall: float) -> None:
    """100 originals, each with a copy of which 5 to 10 % is edited, and 100 documents that stand alone."""
    texts, true = {}, set()
    for i in range(100):
        words = document(i)
        texts[f"a{i:03d}"] = " ".join(words)
        texts[f"b{i:03d}"] = " ".join(edit(words, 0.05 + 0.05 * i / 100, i))
        texts[f"c{i:03d}"] = " ".join(document(1000 + i))
        true.add((f"a{i:03d}", f"b{i:03d}"))
    kept = clusters(pairs(texts, rule))
    found = {
        (one, two)
        for cluster in ([id for id in kept if kept[id] == root] for root in set(kept.values()))
        for one, two in itertools.combinations(sorted(cluster), 2)
    }
    assert len(found & true) / len(found) == 1.0, "precision"
    assert len(found & true) / len(true) >= recall, "recall"


def test_copies_that_differ_in_form_are_exact_duplicates() -> None:
    assert text_hash("The cat, sat.\nOn it!") == text_hash("the CAT sat on it")
    assert text_hash("the cat sat") != text_hash("the cat sits")
    first, second = (band_keys(text, RULE, 0) for text in ("One, two.", "one two"))
    assert first == second and len(first) == RULE.bands + 1 and len(set(first)) == len(first)


def test_keys_depend_on_the_seed_and_on_nothing_else() -> None:
    text = " ".join(document(1))
    assert band_keys(text, RULE, 7) == band_keys(text, RULE, 7)
    assert not set(band_keys(text, RULE, 7)[1:]) & set(band_keys(text, RULE, 8)[1:])


def test_signatures_estimate_the_share_of_common_ngrams() -> None:
    words, rule = document(3, 500), DedupRule(bands=64, rows=8)
    first, second = " ".join(words), " ".join(words[:250] + document(4, 250))
    grams = [{tuple(text.split()[i : i + 5]) for i in range(496)} for text in (first, second)]
    true = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
    pairs = zip(signature(first, rule, 0), signature(second, rule, 0), strict=True)
    assert abs(sum(a == b for a, b in pairs) / (64 * 8) - true) < 0.07


def test_texts_shorter_than_an_ngram_are_compared_whole() -> None:
    kept = clusters(pairs({"a": "one two", "b": "One two!", "c": "one three", "d": ""}))
    assert kept == {"a": "a", "b": "a", "c": "c", "d": "d"}


def test_texts_without_letters_are_not_all_alike() -> None:
    assert clusters(pairs({"a": "☃ ☃", "b": "★ → ★", "c": "☃ ☃"})) == {"a": "a", "b": "b", "c": "a"}


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert len(band_keys("one two", RULE, seed)) == RULE.bands + 1


def test_the_smallest_id_is_kept_whatever_the_order() -> None:
    """b-d and c-d share keys, so b, c and d are one cluster; a stands alone."""
    found = [("d", b"1"), ("b", b"1"), ("c", b"2"), ("d", b"2"), ("a", b"3"), ("b", b"4")]
    for order in itertools.permutations(found):
        assert clusters(order) == {"a": "a", "b": "b", "c": "b", "d": "b"}


def test_a_long_chain_of_duplicates_is_one_cluster() -> None:
    chain = [(f"{i + j:06d}", str(i).encode()) for i in range(20_000) for j in (1, 0)]
    assert set(clusters(chain).values()) == {"000000"}
