"""Prompts, conversations and documents to token ids, through the model's own chat template.

The rule of SFT: exactly what the model would have written is trained on, which is the assistant's text and one
end-of-turn token. A template says so with `{% generation %}`; for any other the spans are found by rendering: the text
up to a turn with the generation prompt, then the text through that turn. The whole conversation is tokenised once and
characters are mapped to tokens; pieces that are tokenised apart would join otherwise than in use.

An earlier turn that the template writes otherwise once the conversation has gone on (Qwen3 drops its thinking) is
context and not trained on; split the conversation to train on each turn. The last turn is always exact, or refused.

The template alone writes the beginning-of-sequence token of a chat. Does not cut conversations to the context, and
does not escape: the text of a special token inside a message becomes that token, as in every chat template.
"""

import hashlib
import json
import re
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlreason.data.faults import FAULTS
from rlreason.data.template_child import CPU_S, TOO_LARGE
from rlreason.types import Message, Task, TrainSequence, UserError, first_line

Special = tuple[tuple[str, str], ...]
"""(("bos_token", "<s>"), ...): what a template may write by name."""
GENERATION_MARK = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def load_tokenizer(source: str, *, needs_eos: bool = True) -> Any:
    """The tokenizer of a model. Raises UserError where there is none, or with `needs_eos` no end-of-sequence token."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:  # the last two: a file of other JSON
        raise load_error(source, "no tokenizer can be loaded", error) from None
    if needs_eos:
        require_eos(tokenizer, source)
    return tokenizer


def load_error(source: str, what: str, error: Exception) -> UserError:
    """The line for what transformers raised over a checkpoint, with `trust_remote_code=False`."""
    if "trust_remote_code" in str(error):
        return UserError(
            f"model `{source}`: carries code of its own, which is never run; take a version of the model that "
            "transformers knows by itself"
        )
    return UserError(f"model `{source}`: {what}: {first_line(error)}")


def require_eos(tokenizer: Any, source: str) -> None:
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"tokenizer of `{source}` has no end-of-sequence token, so answers would never end; "
            "set `eos_token` in its tokenizer_config.json"
        )


def stop_ids(source: str, tokenizer: Any, *, chat: bool = True) -> list[int]:
    """The ids that end an answer of the model at `source`, rising.

    The tokenizer's end-of-sequence token; with `chat` also those that generation_config.json lists (chat models have
    several) and the one that ends the assistant's turn in the template.
    """
    from transformers import GenerationConfig

    ids = {int(tokenizer.eos_token_id)}
    if not chat:
        return sorted(ids)
    with suppress(OSError):  # The file is optional.
        found = GenerationConfig.from_pretrained(source).eos_token_id
        ids |= {found} if isinstance(found, int) else set(found or [])
    if tokenizer.chat_template is not None:
        example = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        with suppress(UserError):  # Some templates cannot be trained on, yet answer well.
            turn = encode_conversation(tokenizer, example)
            ids.update([token for token, flag in zip(turn.tokens, turn.mask, strict=True) if flag][-1:])
    return sorted(ids)


def encode_prompt(
    tokenizer: Any, task: Task, system: str | None = None, chat: bool = True
) -> tuple[str, tuple[int, ...]]:
    """The prompt as the model sees it: text and ids.

    With a chat template the prompt is a user turn and the assistant's header is added; messages that end in an
    assistant turn are that turn's beginning, which the model continues. With `chat=False` or without
    a template it is plain text after the beginning-of-sequence token, as documents begin in pretraining.
    """
    if not chat or tokenizer.chat_template is None:
        if not isinstance(task.prompt, str) or system is not None:
            why = "this has none" if chat else "`chat: false` uses none"
            raise UserError(f"task {task.id}: messages and `system` need a tokenizer with a chat template; {why}")
        ids = tuple(tokenizer(task.prompt, add_special_tokens=False)["input_ids"])
        return task.prompt, (*_bos(tokenizer), *ids)
    asked = ({"role": "user", "content": task.prompt},) if isinstance(task.prompt, str) else task.prompt
    messages: list[Message] = [*asked]
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    template, special = _template(tokenizer), _special(tokenizer)
    tail, _ = _frame(template, special)
    is_begun = _is_assistant(messages[-1])
    (text,), _ = _render(template, special, [messages], prompt=not is_begun)
    _require_written(messages, text)
    if is_begun:
        text = _opened_again(text, messages[-1]["content"], tail)
    return text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _opened_again(text: str, content: str, tail: str) -> str:
    """The rendered text without the end of its last turn. UserError where the template writes that turn otherwise."""
    begun = text.removesuffix(tail)
    if not text.endswith(tail) or not begun.endswith((content, content.rstrip())):
        raise UserError(
            "the chat template rewrites an assistant turn at the end of a prompt, so it cannot be continued; "
            "end the prompt with the user's turn"
        )
    # Most templates strip the text; the space before the continuation is the prompt's.
    return begun + content[len(content.rstrip()) :] if not begun.endswith(content) else begun


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> TrainSequence:
    """One conversation; see `encode_conversations`, which is quicker for many."""
    return encode_conversations(tokenizer, [messages])[0]


def encode_conversations(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[TrainSequence]:
    """One sequence each, in order; the mask is 1 on the assistant's text, thinking and end token included.

    Each conversation ends with the assistant's turn. Raises UserError for a template with no generation prompt, one
    that writes no end token, drops a message's text, or begins the whole otherwise than its prompt.
    """
    if not conversations:
        return []
    template, special = _template(tokenizer), _special(tokenizer)
    end = _end_of_turn(tokenizer, template, special)
    if GENERATION_MARK.search(template):
        texts, spans = _render(template, special, conversations)
    else:
        texts, spans = _spans_by_prefix(template, special, conversations, end)
    for messages, text in zip(conversations, texts, strict=True):
        _require_written(messages, text)
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        TrainSequence(tokens=tuple(tokens), mask=_mask(offsets, found))
        for tokens, offsets, found in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True)
    ]


def encode_text(tokenizer: Any, text: str, context_tokens: int) -> list[TrainSequence]:
    """A document between beginning- and end-of-sequence tokens, cut into sequences of at most `context_tokens`.

    The sequences do not overlap and every token is in the mask. Nothing predicts the first token of a sequence: at a
    cut one token is context only, and the next sequence begins without what came before it. A last sequence of one
    token is left out, since nothing in it is trained on. The text of a special token in a document is plain text.
    """
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    tokens = (*_bos(tokenizer), *ids, tokenizer.eos_token_id)
    pieces = (tokens[start : start + context_tokens] for start in range(0, len(tokens), context_tokens))
    return [TrainSequence(tokens=piece, mask=(1,) * len(piece)) for piece in pieces if len(piece) > 1]


def template_hash(tokenizer: Any) -> str | None:
    """SHA-256 of the chat template's text; None where there is none."""
    return None if tokenizer.chat_template is None else hashlib.sha256(_template(tokenizer).encode()).hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of what decides which text becomes which ids. `tokenizer`: a loaded one, or its folder or hub name.

    Vocabulary, merges, splitting, added tokens, beginning and end tokens; neither the files' format, the chat template,
    the padding token nor what a plain call adds around a text.
    """
    loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
    body = json.loads(loaded.backend_tokenizer.to_str())
    model = body["model"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges", ())]
    identity = {
        "model": [model["type"], model["vocab"], merges],
        "split": [body["normalizer"], body["pre_tokenizer"]],
        "added": sorted((token["id"], token["content"], token["special"]) for token in body["added_tokens"]),
        "ends": [loaded.bos_token_id, loaded.eos_token_id],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _bos(tokenizer: Any) -> tuple[int, ...]:
    return () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)


def _template(tokenizer: Any) -> str:
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template; add `chat_template.jinja` to the checkpoint")
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:  # several named templates, none of them the default
        raise UserError(f"the tokenizer's chat template: {first_line(error)}") from None


def _special(tokenizer: Any) -> Special:
    return tuple((name, str(token)) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str))


def _render(
    template: str, special: Special, conversations: Sequence[Sequence[Message]], *, prompt: bool = False
) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Texts, and for each the character spans that `{% generation %}` marks. `prompt`: with the assistant's header."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        return render_jinja_template(
            conversations=[[_both_names(message) for message in messages] for messages in conversations],
            chat_template=template,
            return_assistant_tokens_mask=not prompt and bool(GENERATION_MARK.search(template)),
            add_generation_prompt=prompt,
            **dict(special),
        )
    except (TemplateError, *FAULTS) as error:  # a template's own code: `1/0`, a macro that calls itself
        raise UserError(f"the chat template refuses a conversation: {first_line(error)}") from None


def _both_names(message: Message) -> dict[str, str]:
    """Templates call the text before the answer `thinking` or `reasoning_content`."""
    thinking = thinking_of(message)
    return {**message, "thinking": thinking, "reasoning_content": thinking} if thinking else {**message}


def thinking_of(message: Message) -> str:
    return message.get("thinking") or message.get("reasoning_content") or ""


@lru_cache(maxsize=32)
def _frame(template: str, special: Special) -> tuple[str, str]:
    """What the template writes after an answer: all of it, and as much as `{% generation %}` marks.

    Raises UserError for a template with which a model cannot be prompted as it is trained.
    """
    asked, answer = {"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}
    system = {"role": "system", "content": "a system message"}
    _require_bounded(template, special, [[asked], [system, asked], [asked, answer], [system, asked, answer, asked]])
    (prompt,), _ = _render(template, special, [[asked]], prompt=True)
    (bare,), _ = _render(template, special, [[asked]])
    (whole,), spans = _render(template, special, [[asked, answer]])
    place = whole.rfind(answer["content"])
    if place < 0:
        raise UserError("the chat template does not write the assistant's text")
    has_header = not whole[len(prompt) :].lstrip().startswith(answer["content"])
    if prompt == bare and has_header:
        raise UserError(
            "the chat template has no generation prompt; let it write the assistant's header under "
            "`{% if add_generation_prompt %}`"
        )
    if not whole.startswith(prompt):
        raise UserError(
            "the chat template begins a whole conversation otherwise than its prompt, so that SFT would train on "
            "other text than the model is asked with; give another `chat_template`"
        )
    marked = [(start, end) for found in spans for start, end in found if start <= place < end]
    after = place + len(answer["content"])
    return whole[after:], whole[after : marked[-1][1]] if marked else ""


def _require_bounded(template: str, special: Special, conversations: Sequence[Sequence[Message]]) -> None:
    """Raises UserError for a template that takes too much time or memory for short conversations. It is rendered in a
    process of its own first: here nothing could stop it. What depends on longer conversations is not bounded.
    """
    child = Path(__file__).with_name("template_child.py")
    asked = {"template": template, "special": dict(special), "conversations": conversations}
    done = subprocess.run(
        [sys.executable, "-P", str(child)], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        raise UserError(f"the chat template does not end within {CPU_S} s for a short conversation; give another")
    if done.returncode == TOO_LARGE:
        raise UserError(f"the chat template {first_line(ValueError(done.stdout))}; give another")


def _end_of_turn(tokenizer: Any, template: str, special: Special) -> tuple[str, str]:
    """What is written after an answer, and its part up to and including the end token."""
    tail, marked = _frame(template, special)
    added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    found = re.search("|".join(map(re.escape, added)), tail) if added else None
    if found is None:
        raise UserError("the chat template writes no end token after the assistant's text: answers would never end")
    end = tail[: found.end()]
    if GENERATION_MARK.search(template) and not marked.startswith(end):
        raise UserError(
            "the chat template leaves the end token out of `{% generation %}`, so it would not be learned; "
            "write `{% endgeneration %}` after it"
        )
    return tail, end


def _spans_by_prefix(
    template: str, special: Special, conversations: Sequence[Sequence[Message]], end_of_turn: tuple[str, str]
) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Texts, and for each the character spans that the assistant wrote. Raises UserError if the last turn has none."""
    tail, end = end_of_turn
    turns = [(c, t) for c, messages in enumerate(conversations) for t, m in enumerate(messages) if _is_assistant(m)]
    prompts, _ = _render(template, special, [conversations[c][:t] for c, t in turns], prompt=True)
    throughs, _ = _render(template, special, [conversations[c][: t + 1] for c, t in turns])
    texts, spans = [""] * len(conversations), [list[tuple[int, int]]() for _ in conversations]
    for (c, t), prompt, through in zip(reversed(turns), reversed(prompts), reversed(throughs), strict=True):
        if t == len(conversations[c]) - 1:
            texts[c] = through
        stop = len(through) - len(tail) + len(end)
        if through.startswith(prompt) and through.endswith(tail) and texts[c].startswith(through[:stop]):
            spans[c].insert(0, (len(prompt), stop))
        elif t == len(conversations[c]) - 1:
            raise UserError(f"the chat template begins a conversation otherwise than its prompt: {prompt[-80:]!r}")
    return texts, spans


def _is_assistant(message: Message) -> bool:
    return message["role"] == "assistant"


def _mask(offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> tuple[int, ...]:
    """1 for tokens that begin inside a span. A token that begins in the header and reaches into the answer is not one
    that the model is asked for; an end token that takes the newline after it along is.
    """
    ends = [end for _, end in offsets]
    mask = [0] * len(offsets)
    for first, last in spans:
        # Ends alone are read: starts may leave out a token's leading spaces.
        begin = bisect_right(ends, first)
        begin += begin > 0 and ends[begin - 1] < first
        stop = min(bisect_left(ends, last) + 1, len(ends))
        mask[begin:stop] = [1] * (stop - begin)
    return tuple(mask)


def _require_written(messages: Sequence[Message], text: str) -> None:
    """Raises UserError where the template drops the system message, or the thinking of the last turn."""
    dropped = next((m for m in messages if m["role"] == "system" and m["content"].strip() not in text), None)
    if dropped is not None:
        raise UserError(
            f"the chat template drops the system message {dropped['content'][:40]!r}; take it out, or give a "
            "`chat_template` that writes it"
        )
    if thinking_of(messages[-1]).strip() not in text:
        raise UserError("the chat template drops `thinking`; take it out, or give a `chat_template` that writes it")
