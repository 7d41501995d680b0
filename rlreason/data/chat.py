"""Prompts and conversations to token ids, through the model's own chat template. Token ids go to the engine, so
that nothing is tokenised twice and there is one beginning-of-sequence token.
"""

from typing import Any

from rlreason.types import Message, Task, TrainSequence, UserError


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a model. Raises UserError where there is none, or it has no end-of-sequence token."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model `{source}`: no tokenizer can be loaded: {_first_line(error)}") from None
    require_eos(tokenizer, source)
    return tokenizer


def require_eos(tokenizer: Any, source: str) -> None:
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"tokenizer of `{source}` has no end-of-sequence token, so answers would never end; "
            "set `eos_token` in its tokenizer_config.json"
        )


def encode_prompt(tokenizer: Any, task: Task, system: str | None = None) -> tuple[str, tuple[int, ...]]:
    """The prompt as the model sees it: text and ids.

    With a chat template the prompt is a user turn and the assistant's header is added; without one it is plain
    text after the tokenizer's special tokens, beginning-of-sequence among them as in pretraining.
    """
    if tokenizer.chat_template is None:
        if not isinstance(task.prompt, str) or system is not None:
            raise UserError(
                f"task {task.id}: messages and `system` need a tokenizer with a chat template; this has none"
            )
        ids = tuple(tokenizer(task.prompt)["input_ids"])
        bos = tokenizer.bos_token_id
        return task.prompt, ids if bos is None or ids[:1] == (bos,) else (bos, *ids)
    asked = ({"role": "user", "content": task.prompt},) if isinstance(task.prompt, str) else task.prompt
    messages: list[Message] = [*asked]
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_conversation(tokenizer: Any, messages: list[dict[str, str]]) -> TrainSequence:
    """A conversation with the assistant's tokens (end token included) in the mask.

    The template must mark the assistant's text with `{% generation %}`; raises UserError where it does not.
    """
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    mask = tuple(int(flag) for flag in encoded["assistant_masks"])
    if not any(mask):
        raise UserError(
            "the chat template marks no assistant tokens; wrap the assistant's text in "
            "{% generation %} ... {% endgeneration %}"
        )
    return TrainSequence(tokens=tuple(encoded["input_ids"]), mask=mask)


def encode_text(tokenizer: Any, text: str) -> TrainSequence:
    """A document between beginning- and end-of-sequence tokens; every token but the first is trained on."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    tokens = (*start, *ids, tokenizer.eos_token_id)
    return TrainSequence(tokens=tokens, mask=(1,) * len(tokens))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
