"""Preference rows: a prompt, answers to it, and how people ranked them.

Forms: `prompt, chosen, rejected`; `prompt, responses, ranking` with a place for each response, 1 the best, ties share
one; both with an optional `margin`. `prompt` and answers are text; `prompt` may be a list of messages, and so may
`chosen` and `rejected`, as the assistant's turn or as whole conversations that begin with the prompt.

A reward model reads its score at an answer's last token. A learner gives the value of the text *before* a trained
token, so one more token, which nothing else sees, stands behind the answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rlreason.config.data import PreferenceSource
from rlreason.data.chat import encode_conversation, encode_prompt
from rlreason.data.forms import check_prompt, is_messages, without_nulls
from rlreason.data.rows import load_rows, origin
from rlreason.types import Message, Task, TrainSequence, UserError

SCORES = "reward_model.json"
"""Beside a reward model's weights: mean and standard deviation of its scores of held-out answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Example: Preference(prompt="2+2=", responses=("4", "5"), places=(1, 2))"""

    prompt: str | tuple[Message, ...]
    responses: tuple[str, ...]
    places: tuple[int, ...]
    """1 the best; ties share one."""
    margin: float = 0.0
    """By how much a better answer's score is to exceed a worse one's."""
    row: int | None = field(default=None, compare=False)
    """Its number in the file."""


def load_preferences(config: PreferenceSource) -> tuple[list[Preference], int]:
    """The rows that decide something, and how many were left out: rankings in which all are tied, and with
    `bad_rows: drop` those that are no ranking. UserError, with the row's number, for the first of these otherwise.
    """
    found: list[Preference] = []
    left_out = 0
    for number, row in enumerate(load_rows(config)):
        try:
            preference = _preference(row, margin=config.margin)
        except UserError as error:
            if config.bad_rows == "error":
                raise UserError(
                    f"data `{origin(config)}`, row {number}: {error}; mend it, or set `bad_rows: drop`"
                ) from None
            left_out += 1
            continue
        if len(set(preference.places)) > 1:
            found.append(replace(preference, row=number))
        else:
            left_out += 1
    if not found:
        raise UserError(f"data `{origin(config)}`: no row prefers one answer to another")
    return found, left_out


def encode_answers(tokenizer: Any, preference: Preference, *, chat: bool) -> list[TrainSequence]:
    """A sequence for each answer, with the mask on the answer and its end token: as in SFT with a chat template, else
    as the policy writes it, after the plain prompt.
    """
    if chat and tokenizer.chat_template is not None:
        prompt = preference.prompt
        asked = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
        turns = [(*asked, {"role": "assistant", "content": response}) for response in preference.responses]
        found = [_last_answer(encode_conversation(tokenizer, messages)) for messages in turns]
    else:
        task = Task(id="preference", prompt=preference.prompt)
        _, begin = encode_prompt(tokenizer, task, chat=False)
        found = []
        for response in preference.responses:
            # The text of a special token in an answer is plain text: a policy must not write the reader's end token.
            ids = tokenizer(response, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
            tokens = (*begin, *ids, tokenizer.eos_token_id)
            found.append(TrainSequence(tokens=tokens, mask=(0,) * len(begin) + (1,) * (len(ids) + 1)))
    return [
        replace(sequence, place=place, margin=preference.margin)
        for sequence, place in zip(found, preference.places, strict=True)
    ]


def for_score(sequence: TrainSequence) -> TrainSequence:
    """The sequence as a reward model is to score it: read at the answer's last token."""
    end = max(at for at, flag in enumerate(sequence.mask) if flag) + 1
    return replace(sequence, tokens=(*sequence.tokens[:end], sequence.tokens[end - 1]), mask=(0,) * end + (1,))


def in_groups(rows: list[list[TrainSequence]]) -> list[TrainSequence]:
    """All sequences, with the numbers of their rows."""
    return [replace(sequence, group=number) for number, row in enumerate(rows) for sequence in row]


def _last_answer(sequence: TrainSequence) -> TrainSequence:
    """Only the last run of trained tokens: earlier turns of the assistant are part of the prompt."""
    mask = tuple(sequence.mask)
    end = max(at for at, flag in enumerate(mask) if flag) + 1
    start = next((at + 1 for at in range(end - 1, -1, -1) if not mask[at]), 0)
    return replace(sequence, mask=(0,) * start + mask[start:end] + (0,) * (len(mask) - end))


def _preference(row: Mapping[str, Any], *, margin: bool) -> Preference:
    """UserError without the row's number for what is no ranking."""
    prompt: Any
    if "responses" in row or "ranking" in row:
        prompt, responses, places = row.get("prompt"), row.get("responses"), row.get("ranking")
        if not isinstance(responses, list) or not isinstance(places, list) or len(responses) != len(places):
            raise UserError("`responses` and `ranking` are to be lists of the same length")
        if not all(isinstance(place, int) and not isinstance(place, bool) and place > 0 for place in places):
            raise UserError(f"`ranking` is to give each response a place, 1 the best, not {places}")
    else:
        missing = [column for column in ("chosen", "rejected") if column not in row]
        if missing:
            raise UserError(
                f"no column `{missing[0]}`; a row has prompt, chosen, rejected or prompt, responses, ranking"
            )
        (prompt, chosen), (other, rejected) = (_split(row, column) for column in ("chosen", "rejected"))
        if prompt != other:
            raise UserError("`chosen` and `rejected` do not begin with the same prompt")
        responses, places = [chosen, rejected], [1, 2]
    if is_messages(prompt):
        prompt = tuple(without_nulls(prompt))
        check_prompt(prompt, None, "`prompt`")
        if prompt[-1]["role"] == "assistant":
            raise UserError("the prompt ends in an assistant turn; the answers are to be the whole of that turn")
    elif not isinstance(prompt, str):
        raise UserError("`prompt` is neither text nor a list of messages, each with role and content")
    if len(responses) < 2 or not all(isinstance(response, str) for response in responses):
        raise UserError("a ranking needs two answers or more, each of them text")
    for at, response in enumerate(responses):
        if response in responses[:at] and places[at] != places[responses.index(response)]:
            raise UserError(f"two equal answers, {response[:40]!r}, have different places")
    value = row.get("margin") if margin else 0.0
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise UserError(f"`margin` is to be a number from 0 up, not {value!r}")
    return Preference(prompt=prompt, responses=tuple(responses), places=tuple(places), margin=float(value))


def _split(row: Mapping[str, Any], column: str) -> tuple[Any, Any]:
    """Prompt and answer; of a conversation the last turn is the answer."""
    value, prompt = row[column], row.get("prompt")
    if not isinstance(value, list):
        return prompt, value
    if not is_messages(value) or value[-1]["role"] != "assistant":
        raise UserError(f"`{column}` is a list, but no messages that end in the assistant's turn")
    before = tuple(value[:-1])
    return before or prompt, value[-1]["content"]
