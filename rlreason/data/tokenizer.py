"""A byte-level BPE tokenizer, trained on any text, with a chat template, as a Hugging Face fast tokenizer.

Text becomes UTF-8 bytes, so that no text is unknown and every text comes back as it was. Each digit is a token of its
own: numbers are written alike, whatever their length. Words are split as GPT-4 and Qwen2 do, letters with their
combining marks. One end token ends documents and turns. Training is deterministic: the same texts, in any order, give
the same tokenizer.

The thinking tokens are no special tokens, so that they stay in decoded text, where the rewards look for them.
Does not: normalise text, or read data sets (stages/tokenizer.py does).
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from rlreason.data.chat import encode_conversation, encode_prompt
from rlreason.types import Task, UserError

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
THINK, END_THINK = "<think>", "</think>"
NUM_BYTES = 256

SPLIT = (
    r"(?i:'(?:s|t|re|ve|m|ll|d))"
    r"|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Of the pieces within which bytes are merged."""

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|assistant|>' }}
        {%- generation %}
            {%- if message.thinking %}
                {{- '<think>' + message.thinking + '</think>' }}
            {%- endif %}
            {{- message.content + eos_token }}
        {%- endgeneration %}
    {%- elif message.role in ['system', 'user'] %}
        {{- '<|' + message.role + '|>' + message.content + eos_token }}
    {%- else %}
        {{- raise_exception('unknown role ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
"""
"""A turn keeps its thinking when the conversation goes on, so that each turn is a prefix of what follows."""


def train(
    texts: Iterator[str],
    *,
    vocab_size: int,
    min_frequency: int,
    reserved_tokens: int,
    chat_template: str = CHAT_TEMPLATE,
) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocab_size` tokens: bytes, merges and special tokens together.

    `min_frequency`: a pair that occurs less often is not merged. Source: Sennrich et al. 2016 (arXiv 1508.07909), on
    bytes as GPT-2 does. Raises UserError for a vocabulary without room for a merge, no text, or a bad template.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BEGIN, END, *ROLES, *(f"<|reserved_{number}|>" for number in range(reserved_tokens))]
    thinking = [THINK, END_THINK]
    least = NUM_BYTES + len(special) + len(thinking)
    if vocab_size <= least:
        raise UserError(
            f"vocab_size: {vocab_size} leaves no room for a merge beside {NUM_BYTES} bytes and "
            f"{least - NUM_BYTES} special tokens; at least {least + 1}"
        )
    first = list(islice(texts, 1))
    if not first:
        raise UserError("the tokenizer has no text to be trained on")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(thinking),
        min_frequency=min_frequency,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(chain(first, texts), trainer=trainer)
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in thinking])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )
    require_template(tokenizer)
    return tokenizer


def require_template(tokenizer: Any) -> None:
    """Raises UserError for a chat template with which a model cannot be trained and prompted alike."""
    question = {"role": "user", "content": "6*7="}
    encode_prompt(tokenizer, Task(id="template", prompt=(question,)))
    encode_conversation(tokenizer, [question, {"role": "assistant", "content": "42"}])


def compression(tokenizer: Any, texts: list[str]) -> float:
    """UTF-8 bytes per token of plain text, over all texts together. NaN for no text."""
    num_tokens = sum(map(len, _ids(tokenizer, texts)))
    return sum(len(text.encode()) for text in texts) / num_tokens if num_tokens else float("nan")


def utilisation(tokenizer: Any, texts: list[str]) -> float:
    """Share of the vocabulary that occurs in the texts."""
    return len({token for ids in _ids(tokenizer, texts) for token in ids}) / len(tokenizer)


def not_restored(tokenizer: Any, texts: Iterable[str]) -> list[str]:
    """The texts that do not come back exactly from their tokens."""
    kept = list(texts)
    return [text for text, ids in zip(kept, _ids(tokenizer, kept), strict=True) if tokenizer.decode(ids) != text]


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Of plain text: the text of a special token is text."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]
    return found
