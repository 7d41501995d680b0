"""The loss mask on chat templates of several model families, in our own words, with small tokenizers of the same make.

What is kept of each family: which tokens frame a turn, default system messages, trimming, where BOS and EOS stand, and
how its tokenizer reports offsets.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlreason.data.chat import encode_conversation, encode_conversations, encode_prompt, stop_ids
from rlreason.data.tokenizer import train
from rlreason.tasks import chains
from rlreason.types import Task, TrainSequence, UserError

TEXT = ["Compute the sum 3+4=7; then the answer is 7. Why? Be brief. I think so.\nassistant user system model"] * 4

CHATML_TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML = "{% for m in messages %}" + CHATML_TURN + "{% endfor %}" + CHATML_PROMPT
CHATML_MARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}" + CHATML_TURN + "{% endif %}{% endfor %}" + CHATML_PROMPT
)
QWEN = (
    "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if not (loop.first and m['role'] == 'system') %}"
    + CHATML_TURN
    + "{% endif %}{% endfor %}"
    + CHATML_PROMPT
)
QWEN_THINKING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% else %}" + CHATML_TURN + "{% endif %}{% endfor %}" + CHATML_PROMPT
)
LLAMA = (
    "{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' %}{{ (bos_token if loop.first else '') + text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
GEMMA_TURNS = (
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (opening if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% set opening = '' %}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + GEMMA_TURNS
)
GEMMA_MERGING = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set opening = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set opening = '' %}{% endif %}" + GEMMA_TURNS
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

IM = ("<|im_start|>",)
# Template, BOS, end of turn, further special tokens, kind of tokenizer.
FAMILIES: dict[str, tuple[str, str | None, str, tuple[str, ...], str]] = {
    "ChatML": (CHATML, "<|im_start|>", "<|im_end|>", (), "bytes"),
    "ChatML, marked": (CHATML_MARKED, "<|im_start|>", "<|im_end|>", (), "bytes"),
    "Qwen2.5": (QWEN, None, "<|im_end|>", IM, "bytes"),
    "Qwen3": (QWEN_THINKING, None, "<|im_end|>", IM, "bytes"),
    "Llama-3": (LLAMA, "<|begin|>", "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>"), "trimmed bytes"),
    "Mistral": (MISTRAL, "<s>", "</s>", ("[INST]", "[/INST]"), "pieces"),
    "Gemma": (GEMMA, "<bos>", "<end_of_turn>", ("<start_of_turn>",), "pieces"),
    "Gemma-3": (GEMMA_MERGING, "<bos>", "<end_of_turn>", ("<start_of_turn>",), "pieces"),
    "Phi-3": (PHI, "<s>", "<|end|>", ("<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>"), "greedy ends"),
}


def family(name: str) -> Any:
    """A fresh tokenizer of that family."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    template, bos, end, further, kind = FAMILIES[name]
    core = Tokenizer.from_str(_core(kind))
    special = [token for token in (bos, end, *further) if token]
    # Phi-3's special tokens take the white space after them along.
    core.add_special_tokens([AddedToken(t, special=True, rstrip=kind == "greedy ends") for t in special])
    core.add_tokens([AddedToken(token, special=False) for token in ("<think>", "</think>")])
    eos = "<|endoftext|>" if name == "Phi-3" else end
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, chat_template=template)
    if bos is not None:
        tokenizer.bos_token = bos
    return tokenizer


@cache
def _core(kind: str) -> str:
    """A tokenizer without special tokens, as JSON."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    if kind == "pieces":  # as SentencePiece: spaces are a letter, unknown characters fall back to bytes
        core = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=False))
        core.normalizer = normalizers.Replace(" ", "▁")
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        core.decoder = decoders.Sequence(steps)
        letters = [f"<0x{byte:02X}>" for byte in range(256)]
        core.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=380, special_tokens=letters, show_progress=False))
        return core.to_str()
    trained = train(iter(TEXT), vocab_size=340, min_frequency=2, reserved_tokens=0).backend_tokenizer
    core = Tokenizer(trained.model)
    core.pre_tokenizer, core.decoder = trained.pre_tokenizer, trained.decoder
    core.post_processor = processors.ByteLevel(trim_offsets=kind == "trimmed bytes")
    return core.to_str()


HELLO = {"role": "user", "content": "Compute 3+4= "}
SEVEN = {"role": "assistant", "content": "the answer is 7 ü你👍"}
WHY = {"role": "user", "content": "Why?"}
SO = {"role": "assistant", "content": "I think so."}


def trained_texts(tokenizer: Any, sequence: TrainSequence) -> list[str]:
    """The text of each run of trained tokens."""
    runs: list[list[int]] = []
    for token, mask, before in zip(sequence.tokens, sequence.mask, (0, *sequence.mask), strict=False):
        if mask and not before:
            runs.append([])
        if mask:
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_answers_and_one_end_token_each_are_trained_on(name: str) -> None:
    tokenizer = family(name)
    sequence = encode_conversation(tokenizer, [HELLO, SEVEN, WHY, SO])
    end = FAMILIES[name][2]
    first, last = SEVEN["content"] + end, SO["content"] + end
    if name == "Qwen3":  # an earlier turn loses its empty thinking: the model would not write it so
        assert trained_texts(tokenizer, sequence) == ["<think>\n\n</think>\n\n" + last]
    elif name == "Mistral":
        assert trained_texts(tokenizer, sequence) == [" " + first, " " + last]
    else:
        assert trained_texts(tokenizer, sequence) == [first, last]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_token_that_ends_a_turn_ends_an_answer(name: str, tmp_path: Path) -> None:
    """Also without generation_config.json, and where the end of a turn is not the end of a sequence."""
    tokenizer = family(name)
    turn = encode_conversation(tokenizer, [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "7"}])
    last = [token for token, flag in zip(turn.tokens, turn.mask, strict=True) if flag][-1]
    assert set(stop_ids(str(tmp_path), tokenizer)) == {last, tokenizer.eos_token_id}
    assert stop_ids(str(tmp_path), tokenizer, chat=False) == [tokenizer.eos_token_id]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    assert set(stop_ids(str(tmp_path), tokenizer)) == {last, tokenizer.eos_token_id, 1, 2}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompt_of_rl_is_the_beginning_of_the_conversation_of_sft(name: str) -> None:
    tokenizer = family(name)
    for messages in ([HELLO, SEVEN], [HELLO, SEVEN, WHY, SO]):
        sequence = encode_conversation(tokenizer, messages)
        _, prompt = encode_prompt(tokenizer, Task(id="t", prompt=tuple(messages[:-1])))
        assert sequence.tokens[: len(prompt)] == prompt
        assert sequence.mask[len(prompt) - 1 : len(prompt) + 1] == (0, 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_there_is_one_bos_where_the_template_writes_one(name: str) -> None:
    tokenizer = family(name)
    tokens = encode_conversation(tokenizer, [HELLO, SEVEN, WHY, SO]).tokens
    if "bos_token" in FAMILIES[name][0]:
        assert tokens[0] == tokenizer.bos_token_id and tokens.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_many_conversations_at_once_are_as_one_by_one(name: str) -> None:
    tokenizer = family(name)
    many = [[HELLO, SEVEN], [WHY, SO, HELLO, SEVEN], [WHY, SEVEN]]
    assert encode_conversations(tokenizer, many) == [encode_conversation(tokenizer, one) for one in many]
    assert encode_conversations(tokenizer, []) == []


said = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\n\nso", "  7 ", " ", "\n", "7\n"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(said, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0))
def test_spans_found_by_rendering_are_those_that_generation_marks(texts: list[str]) -> None:
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    marked, unmarked = _chatml()
    sequence = encode_conversation(unmarked, messages)
    assert sequence == encode_conversation(marked, messages)
    end = unmarked.eos_token_id
    assert [m for t, m in zip(sequence.tokens, sequence.mask, strict=True) if t == end] == [0, 1] * (len(texts) // 2)
    written = "".join(trained_texts(unmarked, sequence))
    # An answer that begins with a line break may share its first token with the header, which is then not trained on.
    if not any(text.startswith("\n") for text in texts[1::2]):
        assert written == "".join(text + "<|im_end|>" for text in texts[1::2])


@cache
def _chatml() -> tuple[Any, Any]:
    return family("ChatML, marked"), family("ChatML")


def test_a_default_system_message_is_context() -> None:
    tokenizer = family("Qwen2.5")
    sequence = encode_conversation(tokenizer, [HELLO, SEVEN])
    assert "You are a helpful assistant." in tokenizer.decode(sequence.tokens)
    assert trained_texts(tokenizer, sequence) == [SEVEN["content"] + "<|im_end|>"]


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("name", ["ChatML", "ChatML, marked", "Qwen2.5", "Llama-3", "Gemma-3", "Phi-3"])
def test_a_system_message_is_written_once_or_merged_into_the_first_turn(name: str) -> None:
    tokenizer = family(name)
    sequence = encode_conversation(tokenizer, [SYSTEM, HELLO, SEVEN])
    assert tokenizer.decode(sequence.tokens).count("Be brief.") == 1
    assert trained_texts(tokenizer, sequence) == [SEVEN["content"] + FAMILIES[name][2]]
    assert encode_prompt(tokenizer, Task(id="t", prompt=HELLO["content"]), "Be brief.")[0].count("Be brief.") == 1


def refusal(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    with pytest.raises(UserError) as error:
        encode_conversation(tokenizer, messages)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_template_that_refuses_or_drops_the_system_message_says_so() -> None:
    assert "System role not supported" in refusal(family("Gemma"), [SYSTEM, HELLO, SEVEN])
    assert "alternate" in refusal(family("Mistral"), [SYSTEM, HELLO, SEVEN])
    tokenizer = family("ChatML")
    tokenizer.chat_template = CHATML.replace("in messages %}", "in messages if m['role'] != 'system' %}")
    assert "drops the system message 'Be brief.'" in refusal(tokenizer, [SYSTEM, HELLO, SEVEN])
    with pytest.raises(UserError, match="drops the system message"):
        encode_prompt(tokenizer, Task(id="t", prompt="3+4="), "Be brief.")


def test_thinking_is_trained_on_in_the_last_turn_and_where_it_stays() -> None:
    thought, again = SEVEN | {"reasoning_content": "sum"}, SO | {"thinking": "then"}
    tokenizer = family("Qwen3")
    sequence = encode_conversation(tokenizer, [HELLO, thought, WHY, again])
    assert trained_texts(tokenizer, sequence) == ["<think>\nthen\n</think>\n\nI think so.<|im_end|>"]
    assert "sum" not in tokenizer.decode(sequence.tokens)
    assert "drops `thinking`" in refusal(family("Llama-3"), [HELLO, thought])


@pytest.mark.parametrize("marked", [False, True])
def test_a_template_without_a_generation_prompt_is_refused(marked: bool) -> None:
    tokenizer = family("ChatML, marked" if marked else "ChatML")
    tokenizer.chat_template = tokenizer.chat_template.replace(CHATML_PROMPT, "")
    assert "no generation prompt" in refusal(tokenizer, [HELLO, SEVEN])
    with pytest.raises(UserError, match="no generation prompt"):
        encode_prompt(tokenizer, Task(id="t", prompt="3+4="))


def test_a_template_that_leaves_the_end_token_out_of_its_marks_is_refused() -> None:
    tokenizer = family("ChatML, marked")
    wrong = CHATML_MARKED.replace(" + '<|im_end|>' }}{% endgeneration %}", " }}{% endgeneration %}<|im_end|>")
    assert wrong != CHATML_MARKED
    tokenizer.chat_template = wrong
    assert "leaves the end token out" in refusal(tokenizer, [HELLO, SEVEN])


def test_a_template_without_an_end_token_is_refused() -> None:
    tokenizer = family("ChatML")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}" + (
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert "no end token" in refusal(tokenizer, [HELLO, SEVEN])


@pytest.mark.parametrize("template", [CHATML, CHATML_MARKED])
def test_a_template_that_begins_the_whole_otherwise_than_the_prompt_is_refused(template: str) -> None:
    """As R1's, whose prompt opens a thought that the rendered conversation does not have."""
    tokenizer = family("ChatML")
    opened = CHATML_PROMPT.replace("assistant\n", "assistant\n<think>\n")
    tokenizer.chat_template = template.replace(CHATML_PROMPT, opened)
    assert "otherwise than its prompt" in refusal(tokenizer, [HELLO, SEVEN])
    with pytest.raises(UserError, match="otherwise than its prompt"):
        encode_prompt(tokenizer, Task(id="t", prompt="3+4="))


@pytest.mark.parametrize("name", ["ChatML", "Llama-3"])
def test_a_token_that_joins_header_and_answer_is_not_trained_on(name: str) -> None:
    """The model is never asked for it: its prompt ends with a token of its own."""
    tokenizer, end = family(name), FAMILIES[name][2]
    turn = "{{ m['role'] + ': ' + m['content'] + '" + end + "' }}"
    tokenizer.chat_template = (
        "{% for m in messages %}"
        + turn
        + "{% endfor %}"
        + ("{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    )
    joined = encode_conversation(tokenizer, [HELLO, {"role": "assistant", "content": "the answer"}])
    assert trained_texts(tokenizer, joined) == [" answer" + end]
    apart = encode_conversation(tokenizer, [HELLO, {"role": "assistant", "content": "7 "}])
    assert trained_texts(tokenizer, apart) == ["7 " + end]
    assert " " in [tokenizer.decode([token]) for token, mask in zip(apart.tokens, apart.mask, strict=True) if not mask]


def test_a_header_that_ends_in_a_character_of_several_tokens_is_not_trained_on() -> None:
    tokenizer = family("ChatML, marked")
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n", "助手：")
    assert len(tokenizer("：", add_special_tokens=False)["input_ids"]) == 3
    sequence = encode_conversation(tokenizer, [HELLO, SEVEN])
    assert trained_texts(tokenizer, sequence) == [SEVEN["content"] + "<|im_end|>"]


@pytest.mark.parametrize("template", ["{% for m in messages %}", "{{ messages | nosuchfilter }}", "{{ m.x + 1 }}"])
def test_a_broken_template_is_refused(template: str) -> None:
    tokenizer = family("ChatML")
    tokenizer.chat_template = template
    assert "chat template" in refusal(tokenizer, [HELLO, SEVEN])


def test_several_named_templates_need_a_default() -> None:
    tokenizer = family("ChatML")
    tokenizer.chat_template = {"rag": CHATML, "tool_use": CHATML}
    assert "default" in refusal(tokenizer, [HELLO, SEVEN])
    tokenizer.chat_template = {"default": CHATML, "tool_use": QWEN}
    assert encode_conversation(tokenizer, [HELLO, SEVEN]) == encode_conversation(family("ChatML"), [HELLO, SEVEN])


HARMFUL = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "4 GB": "{% set big = 'x' * 4000000000 %}",
    "4 GB by padding": "{% set big = '%4000000000d' % 1 %}",
    "doubling": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "a huge power": "{% set big = 9 ** (9 ** 9) %}",
    "much text": "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    "only for the prompt": "{% if add_generation_prompt %}{{ 'x' * 400000000 }}{% endif %}",
    "only for a system message": "{% if messages[0].role == 'system' %}{{ 'x' * 4000000000 }}{% endif %}",
}


@pytest.mark.parametrize("what", HARMFUL)
def test_a_template_without_bounds_is_refused_in_time(what: str) -> None:
    tokenizer = chains.tokenizer()
    tokenizer.chat_template = CHATML + HARMFUL[what]
    with pytest.raises(UserError, match="the chat template (does not end|wants more memory|writes more)"):
        encode_prompt(tokenizer, Task(id="t", prompt="1+1="))


BEGUN = [{"role": "user", "content": "3+4="}, {"role": "assistant", "content": "3+4 "}]


@pytest.mark.parametrize("template", [CHATML, CHATML_MARKED, QWEN, QWEN_THINKING, LLAMA, PHI])
def test_a_prompt_that_ends_in_an_assistant_turn_is_continued(template: str) -> None:
    """The same text as a whole answer that begins so: the turn is neither closed nor opened twice."""
    tokenizer = chains.tokenizer()
    tokenizer.chat_template = template
    text, tokens = encode_prompt(tokenizer, Task(id="t", prompt=tuple(BEGUN)))
    assert text.endswith("3+4 ") and tokens == tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    whole = [BEGUN[0], {"role": "assistant", "content": "3+4 is 7"}]
    asked, _ = encode_prompt(tokenizer, Task(id="t", prompt=tuple(BEGUN[:1])))
    rendered = tokenizer.apply_chat_template(whole, tokenize=False)
    assert text.startswith(asked) and rendered.startswith(text)


def test_an_assistant_turn_that_the_template_rewrites_is_not_continued() -> None:
    tokenizer = chains.tokenizer()
    tokenizer.chat_template = CHATML.replace("m['content'] +", "m['content'] | replace('3', 'three') +")
    with pytest.raises(UserError, match="cannot be continued"):
        encode_prompt(tokenizer, Task(id="t", prompt=tuple(BEGUN)))
