"""Prompts and conversations to token ids, on a real tokenizer. Traps 14, 15 and 16."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import Whitespace

from rlreason.data.chat import (
    encode_conversation,
    encode_prompt,
    encode_text,
    load_tokenizer,
    require_eos,
    template_hash,
    tokenizer_hash,
)
from rlreason.tasks import chains
from rlreason.types import Task, UserError

CHAINS = chains.tokenizer()
CONVERSATION = [{"role": "user", "content": "3+4="}, {"role": "assistant", "content": r"3+4=7;\boxed{7}"}]


@pytest.fixture
def tokenizer() -> Any:
    return chains.tokenizer()


def adding_bos(tokenizer: Any) -> Any:
    """As Llama's does: every plain call adds a BOS, on top of the one that the chat template writes."""
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert tokenizer("3")["input_ids"][0] == tokenizer.bos_token_id
    return tokenizer


def masked_text(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    sequence = encode_conversation(tokenizer, messages)
    return tokenizer.decode([token for token, mask in zip(sequence.tokens, sequence.mask, strict=True) if mask])


@pytest.mark.parametrize("dress", [lambda tokenizer: tokenizer, adding_bos])
def test_there_is_exactly_one_bos(tokenizer: Any, dress: Any) -> None:
    tokenizer = dress(tokenizer)
    for tokens in (
        encode_prompt(tokenizer, Task(id="t", prompt="3+4="))[1],
        encode_conversation(tokenizer, CONVERSATION).tokens,
        encode_text(tokenizer, "3+4=7", 64)[0].tokens,
    ):
        assert tokens[0] == tokenizer.bos_token_id and tokens.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("dress", [lambda tokenizer: tokenizer, adding_bos])
def test_a_prompt_without_a_template_begins_as_the_texts_of_pretraining_do(tokenizer: Any, dress: Any) -> None:
    """Missing BOS is the mirror of the double one: a base model would see its prompts without it."""
    tokenizer = dress(tokenizer)
    tokenizer.chat_template = None
    text, tokens = encode_prompt(tokenizer, Task(id="t", prompt="3+4="))
    assert text == "3+4="
    assert tokens == encode_text(tokenizer, "3+4=7", 64)[0].tokens[: len(tokens)]


def test_the_mask_of_sft_is_the_assistants_text_and_its_end(tokenizer: Any) -> None:
    assert masked_text(tokenizer, CONVERSATION) == r"3+4=7;\boxed{7}</s>"
    sequence = encode_conversation(tokenizer, CONVERSATION)
    assert sequence.tokens[-1] == tokenizer.eos_token_id and sequence.mask[-1] == 1


def test_every_turn_of_the_assistant_is_in_the_mask(tokenizer: Any) -> None:
    turns = [
        {"role": "system", "content": "9"},
        *CONVERSATION,
        {"role": "user", "content": "5*5="},
        {"role": "assistant", "content": r"\boxed{5}"},
    ]
    assert masked_text(tokenizer, turns) == r"3+4=7;\boxed{7}</s>\boxed{5}</s>"


def test_padding_that_equals_eos_does_not_take_the_end_out_of_the_mask(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    assert masked_text(tokenizer, CONVERSATION) == r"3+4=7;\boxed{7}</s>"


def test_the_prompt_of_rl_is_the_beginning_of_the_conversation_of_sft(tokenizer: Any) -> None:
    whole = encode_conversation(tokenizer, CONVERSATION)
    as_text = encode_prompt(tokenizer, Task(id="t", prompt="3+4="))
    as_messages = encode_prompt(tokenizer, Task(id="t", prompt=tuple(CONVERSATION[:1])))
    assert as_text == as_messages
    assert whole.tokens[: len(as_text[1])] == as_text[1]
    assert whole.mask == (0,) * len(as_text[1]) + (1,) * (len(whole.tokens) - len(as_text[1]))
    assert tokenizer.decode(as_text[1]) == as_text[0] == "<s>3+4="


def test_a_system_message_comes_first(tokenizer: Any) -> None:
    assert encode_prompt(tokenizer, Task(id="t", prompt="3+4="), system="9;")[0] == "<s>9;3+4="


def test_a_text_is_trained_on_to_its_end(tokenizer: Any) -> None:
    (sequence,) = encode_text(tokenizer, "3+4=7", 64)
    assert tokenizer.decode(sequence.tokens) == "<s>3+4=7</s>"
    assert sequence.num_trained_tokens == len(sequence.tokens) - 1
    tokenizer.bos_token = None
    assert tokenizer.decode(encode_text(tokenizer, "3+4=7", 64)[0].tokens) == "3+4=7</s>"


@given(length=st.integers(0, 30), context=st.integers(2, 12))
def test_a_long_text_is_cut_without_overlap_or_loss(length: int, context: int) -> None:
    text = "3+4*7-9+2="[: length % 11] + "1" * (length - length % 11)
    pieces = encode_text(CHAINS, text, context)
    whole = [token for piece in pieces for token in piece.tokens]
    assert CHAINS.decode(whole + [CHAINS.eos_token_id] * (whole[-1] != CHAINS.eos_token_id)) == f"<s>{text}</s>"
    assert all(1 < len(piece.tokens) <= context and all(piece.mask) for piece in pieces)
    # What is not predicted: the first token of each sequence, and an end token that would stand alone.
    assert sum(piece.num_trained_tokens for piece in pieces) == len(whole) - len(pieces)
    assert len(text) + 2 - len(whole) == ((len(text) + 2) % context == 1)


def test_a_special_token_in_a_document_is_plain_text(tokenizer: Any) -> None:
    from rlreason.data.tokenizer import END, train

    trained = train(iter([f"the end {END}"] * 3), vocab_size=300, min_frequency=2, reserved_tokens=0)
    (sequence,) = encode_text(trained, f"a{END}b", 64)
    assert sequence.tokens.count(trained.eos_token_id) == 1 and sequence.tokens[-1] == trained.eos_token_id
    assert trained.decode(sequence.tokens[1:-1]) == f"a{END}b"
    assert trained(f"a{END}b", add_special_tokens=False)["input_ids"].count(trained.eos_token_id) == 1


def test_without_chat_the_prompt_is_continued_whatever_template_there_is(tokenizer: Any) -> None:
    text, tokens = encode_prompt(tokenizer, Task(id="t", prompt="3+4="), chat=False)
    (document,) = encode_text(tokenizer, "3+4=7", 64)
    assert text == "3+4=" and tokens == document.tokens[: len(tokens)]
    with pytest.raises(UserError) as error:
        encode_prompt(tokenizer, Task(id="chains:3", prompt=tuple(CONVERSATION[:1])), chat=False)
    assert "chains:3" in refusal(error) and "chat: false" in refusal(error)


def refusal(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_tokenizer_without_an_end_token_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    require_eos(tokenizer, "m")
    tokenizer.eos_token = None
    with pytest.raises(UserError) as error:
        require_eos(tokenizer, "m")
    assert "`m`" in refusal(error) and "eos_token" in refusal(error)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError) as error:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in refusal(error)
    assert load_tokenizer(str(tmp_path), needs_eos=False).eos_token is None


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in refusal(error)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", "null"),
        ("tokenizer_config.json", '{"eos_token": 3}'),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", "3"),
    ],
)
def test_a_tokenizer_whose_file_holds_other_json_is_refused(
    tokenizer: Any, tmp_path: Path, name: str, text: str
) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in refusal(error) and "no tokenizer" in refusal(error)


def test_a_saved_tokenizer_loads(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert encode_conversation(again, CONVERSATION) == encode_conversation(tokenizer, CONVERSATION)


def test_the_hash_is_the_tokenizers_identity_and_not_its_files(tokenizer: Any, tmp_path: Path) -> None:
    identity = tokenizer_hash(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=7, sort_keys=True))
    assert tokenizer_hash(str(tmp_path)) == tokenizer_hash(load_tokenizer(str(tmp_path))) == identity
    tokenizer(["3+4=", "3"], padding=True, truncation=True, max_length=2)  # leaves its settings in the tokenizer
    tokenizer.chat_template = None
    assert tokenizer_hash(adding_bos(tokenizer)) == identity


def test_another_vocabulary_special_token_or_split_is_another_tokenizer(tokenizer: Any) -> None:
    hashes = {tokenizer_hash(tokenizer)}
    tokenizer.add_tokens(["new"])
    hashes.add(tokenizer_hash(tokenizer))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"]})
    hashes.add(tokenizer_hash(tokenizer))
    tokenizer.eos_token = "<x>"
    hashes.add(tokenizer_hash(tokenizer))
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    hashes.add(tokenizer_hash(tokenizer))
    assert len(hashes) == 5


def test_the_template_has_a_hash_of_its_own(tokenizer: Any, tmp_path: Path) -> None:
    before = template_hash(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    assert template_hash(load_tokenizer(str(tmp_path))) == before
    tokenizer.chat_template += " "
    assert template_hash(tokenizer) not in (before, None)
    tokenizer.chat_template = None
    assert template_hash(tokenizer) is None


@pytest.mark.parametrize(
    "fault",
    [
        "1/0",
        "'a'.index('zz')",
        "range(10**12)|list",
        "'{0}'.format()",
        "'a'.encode('none')",
        "'a'|dictsort",
        "'abc'|truncate(1)",
        "cycler()",
        "again()",
    ],
)
def test_a_template_whose_own_code_fails_is_refused(tokenizer: Any, fault: str) -> None:
    tokenizer.chat_template = "{% macro again() %}{{ again() }}{% endmacro %}{{ " + fault + " }}" + CHAINS.chat_template
    for call in (
        lambda: encode_prompt(tokenizer, Task(id="t", prompt="3")),
        lambda: encode_conversation(tokenizer, CONVERSATION),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert "the chat template refuses a conversation" in refusal(error)


def test_a_conversation_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(UserError) as error:
        encode_conversation(tokenizer, CONVERSATION)
    assert "chat_template.jinja" in refusal(error)


@pytest.mark.parametrize("system", [None, "9"])
def test_messages_without_a_chat_template_are_refused(tokenizer: Any, system: str | None) -> None:
    tokenizer.chat_template = None
    prompt = tuple(CONVERSATION[:1]) if system is None else "3+4="
    with pytest.raises(UserError) as error:
        encode_prompt(tokenizer, Task(id="chains:3", prompt=prompt), system)
    assert "chains:3" in refusal(error) and "chat template" in refusal(error)
