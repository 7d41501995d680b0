"""Held-out text: what is held out, what is predicted, bits per byte by hand."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.config.data import HeldOutConfig
from rlreason.stages.held_out import HeldOut, bits_per_byte, encode_held_out, split
from rlreason.tasks import chains
from rlreason.types import UserError

TEXTS = [f"{number}+{number % 7}=" for number in range(2000)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A character each, `\\boxed{` is one token."""
    return chains.tokenizer()


@pytest.fixture(scope="module")
def without_bos() -> Any:
    found = chains.tokenizer()
    found.bos_token = None
    return found


def test_a_document_is_trained_on_or_held_out_never_both_whatever_stands_beside_it() -> None:
    places, held_out = split(TEXTS, 0.1, 10**6)
    trained = [TEXTS[place] for place in places]
    assert set(trained) | set(held_out) == set(TEXTS) and not set(trained) & set(held_out)
    assert trained == [text for text in TEXTS if text not in set(held_out)], "their order is kept"
    assert 0.07 < len(held_out) / len(TEXTS) < 0.13
    others = TEXTS[::-1][:1000]
    other_places, other_held_out = split(others, 0.1, 10**6)
    assert {others[place] for place in other_places} <= set(trained) and set(other_held_out) <= set(held_out)


def test_copies_of_a_held_out_document_are_held_out_once() -> None:
    _, held_out = split(TEXTS, 0.1, 10**6)
    assert split(TEXTS + held_out, 0.1, 10**6) == split(TEXTS, 0.1, 10**6)


def test_a_larger_share_holds_out_more_of_the_same_and_order_does_not_matter() -> None:
    small, large = split(TEXTS, 0.05, 10**6)[1], split(TEXTS, 0.2, 10**6)[1]
    assert large[: len(small)] == small
    assert split(TEXTS[::-1], 0.2, 10**6)[1] == large


def test_a_limit_keeps_the_first_of_those_held_out_and_trains_on_none_of_the_others() -> None:
    places, all_of_them = split(TEXTS, 0.2, 10**6)
    assert split(TEXTS, 0.2, 7) == (places, all_of_them[:7])
    assert split(TEXTS, 0.0, 0)[1] == [] and list(split(TEXTS, 0.0, 0)[0]) == list(range(len(TEXTS)))


@settings(deadline=None, max_examples=100)
@given(st.text("0123456789+=", max_size=40), st.integers(2, 12))
def test_each_token_is_predicted_once(tokenizer: Any, text: str, context_tokens: int) -> None:
    sequences, num_bytes = encode_held_out(tokenizer, text, context_tokens)
    predicted = [token for s in sequences for token, mask in zip(s.tokens, s.mask, strict=True) if mask]
    assert predicted == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert num_bytes == len(text)
    assert all(len(s.tokens) <= context_tokens and s.mask[0] == 0 for s in sequences)
    before = [tokenizer.bos_token_id, *predicted]
    assert [s.tokens[0] for s in sequences] == before[: len(predicted) : context_tokens - 1]


def test_without_a_beginning_token_the_first_token_and_its_bytes_do_not_count(without_bos: Any) -> None:
    sequences, num_bytes = encode_held_out(without_bos, r"\boxed{7}", 16)
    assert [(len(s.tokens), s.num_trained_tokens) for s in sequences] == [(3, 2)]
    assert num_bytes == 2  # `7}`; the seven bytes of `\boxed{` are context
    assert encode_held_out(without_bos, "7", 16) == ([], 0)
    assert encode_held_out(without_bos, "", 16) == ([], 0)


def test_bits_per_byte_by_hand(tokenizer: Any) -> None:
    """A uniform model over 64 tokens pays 6 bits a token; `7=\\boxed{3}` has 5 tokens and 11 bytes."""
    sequences, num_bytes = encode_held_out(tokenizer, r"7=\boxed{3}", 4)
    num_tokens = sum(s.num_trained_tokens for s in sequences)
    assert (num_tokens, num_bytes) == (5, 11)
    assert bits_per_byte(-num_tokens * math.log(64), num_bytes) == pytest.approx(30 / 11)


def test_bytes_are_those_of_utf_8(tokenizer: Any) -> None:
    assert encode_held_out(tokenizer, "é€", 8)[1] == 2 + 3


def test_no_held_out_document_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="no document falls into a share of 0.02; raise held_out.share"):
        HeldOut(HeldOutConfig(), {"web": []}, tokenizer, 64)


@pytest.mark.parametrize(("prompt", "tokens"), [("1+1=", 5), ("1" * 60, 61)])
def test_a_prompt_needs_room_for_its_continuation(tokenizer: Any, prompt: str, tokens: int) -> None:
    config = HeldOutConfig(prompts=[prompt], continuation_tokens=8)
    HeldOut(config, {"web": ["1+1="]}, tokenizer, tokens + 8)
    with pytest.raises(UserError, match=f"has {tokens} tokens.* at most context_tokens, {tokens + 7}"):
        HeldOut(config, {"web": ["1+1="]}, tokenizer, tokens + 7)


def test_an_empty_prompt_is_an_error_where_nothing_begins_a_text(without_bos: Any) -> None:
    with pytest.raises(UserError, match="'' has 0 tokens"):
        HeldOut(HeldOutConfig(prompts=[""]), {"web": ["1+1="]}, without_bos, 64)
