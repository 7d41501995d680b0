"""Prompts and conversations to token ids, on a real tokenizer. Traps 14, 15 and 16."""

from pathlib import Path
from typing import Any

import pytest

from rlreason.data import chains
from rlreason.data.chat import encode_conversation, encode_prompt, encode_text, load_tokenizer, require_eos
from rlreason.types import Task, UserError

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
        encode_text(tokenizer, "3+4=7").tokens,
    ):
        assert tokens[0] == tokenizer.bos_token_id and tokens.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("dress", [lambda tokenizer: tokenizer, adding_bos])
def test_a_prompt_without_a_template_begins_as_the_texts_of_pretraining_do(tokenizer: Any, dress: Any) -> None:
    """Missing BOS is the mirror of the double one: a base model would see its prompts without it."""
    tokenizer = dress(tokenizer)
    tokenizer.chat_template = None
    text, tokens = encode_prompt(tokenizer, Task(id="t", prompt="3+4="))
    assert text == "3+4="
    assert tokens == encode_text(tokenizer, "3+4=7").tokens[: len(tokens)]


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
    sequence = encode_text(tokenizer, "3+4=7")
    assert tokenizer.decode(sequence.tokens) == "<s>3+4=7</s>"
    assert sequence.num_trained_tokens == len(sequence.tokens) - 1
    tokenizer.bos_token = None
    assert tokenizer.decode(encode_text(tokenizer, "3+4=7").tokens) == "3+4=7</s>"


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


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in refusal(error)


def test_a_saved_tokenizer_loads(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert encode_conversation(again, CONVERSATION) == encode_conversation(tokenizer, CONVERSATION)


def test_a_template_that_marks_no_generation_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(UserError) as error:
        encode_conversation(tokenizer, CONVERSATION)
    assert "{% generation %}" in refusal(error)


@pytest.mark.parametrize("system", [None, "9"])
def test_messages_without_a_chat_template_are_refused(tokenizer: Any, system: str | None) -> None:
    tokenizer.chat_template = None
    prompt = tuple(CONVERSATION[:1]) if system is None else "3+4="
    with pytest.raises(UserError) as error:
        encode_prompt(tokenizer, Task(id="chains:3", prompt=prompt), system)
    assert "chains:3" in refusal(error) and "chat template" in refusal(error)
