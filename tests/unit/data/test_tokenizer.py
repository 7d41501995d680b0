"""The tokenizer that we train: nothing is lost, digits stand alone, the template keeps its promises."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.chat import encode_conversation, encode_prompt, load_tokenizer, tokenizer_hash
from rlreason.data.tokenizer import CHAT_TEMPLATE, compression, not_restored, train, utilisation
from rlreason.types import Task, UserError

TEXTS = ["The theory of the thing is that 3+4=7 and 12*12=144, isn't it?\n\n    return x  # 2024\n"] * 3 + [
    "Über den Wolken; 你好你好你好 नमस्ते नमस्ते 2024 2024 2024"
] * 3


def trained(texts: list[str] = TEXTS, vocab_size: int = 320, **settings: Any) -> Any:
    return train(iter(texts), vocab_size=vocab_size, **{"min_frequency": 2, "reserved_tokens": 4} | settings)


TOKENIZER = trained()
any_text = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    any_text | st.binary().map(lambda b: b.decode("latin-1")) | st.binary().map(lambda b: b.decode(errors="replace"))
)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text
    assert not_restored(TOKENIZER, [text, TOKENIZER.eos_token + text]) == []


def test_every_single_byte_has_a_token() -> None:
    from tokenizers import pre_tokenizers

    letters = pre_tokenizers.ByteLevel.alphabet()
    assert len(letters) == 256 and None not in map(TOKENIZER.get_vocab().get, letters)
    half = TOKENIZER("é", add_special_tokens=False)["input_ids"][:1]
    assert TOKENIZER.decode(half) == "\ufffd"  # a torn character is shown and not an error


def test_no_token_holds_two_digits_or_a_digit_and_anything_else() -> None:
    for number in ("7", "2024", "3.14159", "x2024y", " 12", "１２", "٣٤"):
        pieces = [TOKENIZER.decode([token]) for token in TOKENIZER(number, add_special_tokens=False)["input_ids"]]
        assert "".join(pieces) == number or "\ufffd" in "".join(pieces)
        assert all(len(piece) == 1 for piece in pieces if any(map(str.isdecimal, piece)))
    assert not [t for t in TOKENIZER.get_vocab() if re.search(r"[0-9]", t) and len(t) > 1 and "reserved" not in t]


def test_words_are_merged_and_not_over_their_ends() -> None:
    tokens = [TOKENIZER.decode([token]) for token in range(len(TOKENIZER))]
    assert " the" in tokens and "你好" in tokens
    assert not [token for token in tokens if re.search(r"\w\s+\w", token)]


def test_the_same_texts_in_any_order_give_the_same_tokenizer() -> None:
    again = trained(TEXTS[::-1])
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert tokenizer_hash(trained(TEXTS[:3])) != tokenizer_hash(TOKENIZER)


def test_the_vocabulary_holds_what_it_is_asked_for() -> None:
    assert len(TOKENIZER) == 320
    assert {f"<|reserved_{i}|>" for i in range(4)} < set(TOKENIZER.get_vocab())
    assert len(trained(vocab_size=300, reserved_tokens=0)) == 300
    assert len(trained(["ab"], vocab_size=5000)) < 300  # nothing left to merge
    assert len(trained(min_frequency=1000)) == 256 + 6 + 4 + 2
    assert [TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id] == [0, 1, 2]


def test_compression_counts_bytes_a_token_by_hand() -> None:
    # Without merges a token is a byte.
    bytewise = trained(min_frequency=1000)
    assert compression(bytewise, ["abc", "é"]) == 1.0
    assert utilisation(bytewise, ["abca"]) == 3 / len(bytewise)
    assert compression(TOKENIZER, [" the the"]) == 4.0
    assert compression(bytewise, ["<|end|>"]) == 1.0  # as plain text
    assert compression(bytewise, []) != compression(bytewise, [])  # NaN


QUESTION = {"role": "user", "content": "3+4="}
TALK = [
    {"role": "system", "content": "Be brief."},
    QUESTION,
    {"role": "assistant", "content": "7", "thinking": "3 and 4\n"},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
]


def test_the_template_writes_roles_thinking_and_one_end_token_a_turn() -> None:
    text = TOKENIZER.apply_chat_template(TALK, tokenize=False)
    assert text == (
        "<|begin|><|system|>Be brief.<|end|><|user|>3+4=<|end|><|assistant|><think>3 and 4\n</think>7<|end|>"
        "<|user|>Why?<|end|><|assistant|>So.<|end|>"
    )
    sequence = encode_conversation(TOKENIZER, TALK)
    kept = TOKENIZER.decode([t for t, m in zip(sequence.tokens, sequence.mask, strict=True) if m])
    assert kept == "<think>3 and 4\n</think>7<|end|>So.<|end|>"


def test_what_was_said_is_a_prefix_of_what_follows() -> None:
    renders = [encode_prompt(TOKENIZER, Task(id="t", prompt=tuple(TALK[:n])))[1] for n in (2, 4)]
    renders.append(encode_conversation(TOKENIZER, TALK).tokens)
    for before, after in pairwise(renders):
        assert after[: len(before)] == before


def test_thinking_survives_decoding_without_special_tokens() -> None:
    """Where the rewards look for it."""
    tokens = encode_conversation(TOKENIZER, TALK[:3]).tokens
    assert TOKENIZER.decode(tokens, skip_special_tokens=True) == "Be brief.3+4=<think>3 and 4\n</think>7"
    assert len(TOKENIZER("<think></think>", add_special_tokens=False)["input_ids"]) == 2


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert encode_conversation(again, TALK) == encode_conversation(TOKENIZER, TALK)
    assert tokenizer_hash(again) == tokenizer_hash(TOKENIZER)
    assert again.chat_template == CHAT_TEMPLATE


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"vocab_size": 268}, "at least 269"),
        ({"texts": []}, "no text"),
        ({"chat_template": "{% for m in messages %}"}, "chat template"),
        ({"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}, "no end token"),
        ({"chat_template": CHAT_TEMPLATE.replace("add_generation_prompt", "false")}, "no generation prompt"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        trained(**settings)
    assert "\n" not in str(error.value)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UserError, match="unknown role tool"):
        encode_prompt(TOKENIZER, Task(id="t", prompt=({"role": "tool", "content": "7"},)))
