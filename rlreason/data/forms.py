"""The forms in which people keep conversations, turned into messages.

    messages            {"messages": [{"role": "user", "content": ...}, ...]}
    ShareGPT            {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}
    pairs               [{"human": ..., "assistant": ...}, ...], also "Human", "Assistant", "Assistance"; as the row, in
                        any column, or one pair as the row's own columns
    question and answer instruction (+ input) / output (Alpaca), prompt / response, prompt / completion, question /
                        answer (GSM8K; its `<<6*7=42>>` stay, they are what the answer was written with)

Lists of any turn form may stand in `messages`, `conversations` or any other column. A column `system` opens the
conversation, in a pair as well; beside one question and answer, `history` holds the turns before it, as Alpaca's
[[user, assistant], ...] or in any turn form; `thinking` and `reasoning_content` stay with the assistant's turn. Columns
that no form knows are left out, also those of speakers' other names: `model` tells who answered, not what. Does not
repair: a conversation that is not well-formed is an error with its row's number, counted from 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlreason.types import Message, UserError

Row = Mapping[str, Any] | Sequence[Any]
Form = Callable[[Any], list[Message]]

COLUMNS = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "assistance": "assistant"}
"""Names of columns that hold a speaker's text, in lower case."""
SPEAKERS = COLUMNS | dict.fromkeys(("gpt", "chatgpt", "bot", "model"), "assistant")
"""What a turn calls its speaker, in lower case."""
ANSWERS = (
    ("instruction", "output"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
)
"""Columns of one question and one answer."""
THINKING = ("thinking", "reasoning_content")
PREFERENCES = (("chosen", "rejected"), ("responses", "ranking"))


def conversations(rows: Sequence[Row], origin: str) -> list[list[Message]]:
    """Checked conversations, one a row. The form is that of the first row. Raises UserError with origin and row."""
    if not rows:
        raise UserError(f"data `{origin}`: no rows")
    form = _form(rows[0], f"data `{origin}`")
    found = []
    for index, row in enumerate(rows):
        where = f"data `{origin}`, row {index}"
        try:
            messages = form(row)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except (KeyError, TypeError, AttributeError):
            _form(row, where)  # says it better where the row has no form at all
            raise UserError(f"{where}: not in the form of the first row") from None
        check_messages(messages, where)
        found.append(messages)
    return found


def check_messages(messages: Sequence[Message], where: str) -> None:
    """Raises UserError unless user and assistant take turns, the assistant last, after at most one system message."""
    for index, message in enumerate(messages):
        if message.get("role") not in ("system", "user", "assistant") or not isinstance(message.get("content"), str):
            raise UserError(f"{where}: message {index} needs a role (system, user or assistant) and text as content")
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise UserError(f"{where}: the conversation has no assistant turn, so there is nothing to learn from it")
    turns = roles[1:] if roles[0] == "system" else roles
    if "system" in turns:
        raise UserError(f"{where}: a system message stands first or nowhere")
    if turns[-1] != "assistant":
        raise UserError(f"{where}: the conversation ends with the {turns[-1]}'s turn; cut it after the assistant's")
    wrong = [place for place, role in enumerate(turns) if role != ("user", "assistant")[place % 2]]
    if wrong:
        raise UserError(
            f"{where}: user and assistant do not take turns: turn {wrong[0]} is the {turns[wrong[0]]}'s; "
            "join turns of one speaker, and begin with the user"
        )
    if not all(message["content"].strip() for message in messages if message["role"] == "assistant"):
        raise UserError(f"{where}: an assistant turn is empty")


def is_messages(value: Any) -> bool:
    """A list of messages, with roles and text; which roles there are the chat template knows."""
    return isinstance(value, list | tuple) and bool(value) and all(map(is_message, value))


def is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def without_nulls(value: Any) -> Any:
    """Without the keys that are null, nested ones too: in Parquet each message has the keys of all others, and a
    template that asks for `tool_calls` means some.
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value


def check_prompt(messages: Sequence[Message], system: str | None, where: str) -> None:
    """Raises UserError for a second system message, `system` counted, or one that does not stand first."""
    places = [place for place, message in enumerate(messages) if message["role"] == "system"]
    if places and system is not None:
        raise UserError(f"{where} has a system message, and so has the configuration; take one of them out")
    if len(places) > 1:
        raise UserError(f"{where} has {len(places)} system messages; join them, since templates write only the first")
    if places and places[0]:
        raise UserError(f"{where}: a system message stands first or nowhere")


def _form(row: Row, where: str) -> Form:
    if _is_turns(row):
        return _turns
    # A column that only other rows of the file have is None here.
    columns = [name for name in row if row[name] is not None] if isinstance(row, Mapping) else []
    if any(all(name in columns for name in pair) for pair in PREFERENCES):
        raise UserError(
            f"{where}: rows with {', '.join(columns)} are preferences; they train a reward model "
            "(`stage: reward_model`), SFT takes conversations"
        )
    lists = [name for name in columns if isinstance(row, Mapping) and name != "history" and _is_turns(row[name])]
    for question, answer in ANSWERS:
        # `prompt` and `completion` may both be lists of messages.
        if question in columns and answer in columns and not set(lists) - {question, answer}:
            return lambda row: _answered(row, question, answer)
    if lists or "messages" in columns:
        column = "messages" if "messages" in columns else lists[0]
        return lambda row: _opened(row, _turns(row[column]))
    if isinstance(row, Mapping) and _is_pair(row):
        return lambda row: _opened(row, _after_history(row, _turn(row)))
    if "history" in columns and isinstance(row, Mapping) and _is_turns(row["history"]):
        return lambda row: _opened(row, _turns(row["history"]))
    if "text" in columns:
        raise UserError(
            f"{where}: rows with `text` alone are documents, for `stage: pretrain`; SFT takes conversations"
        )
    shown = ", ".join(row) if isinstance(row, Mapping) else type(row).__name__
    raise UserError(
        f"{where}: no form of conversation that is known: {shown}; name the columns "
        "messages, conversations, human and assistant, instruction and output, prompt and response, or question and "
        "answer"
    )


def _is_turns(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(_is_turn(item) for item in value)


def _is_turn(item: Any) -> bool:
    return isinstance(item, Mapping) and (
        {"role", "content"} <= set(item) or {"from", "value"} <= set(item) or _is_pair(item)
    )


def _is_pair(row: Mapping[str, Any]) -> bool:
    """Columns named after a user and an assistant."""
    return {"user", "assistant"} <= {COLUMNS.get(str(name).lower()) for name in row}


def _turns(items: Any) -> list[Message]:
    return [message for item in items for message in _turn(item)]


def _turn(item: Mapping[str, Any]) -> list[Message]:
    """One message, or the two of a pair, after its system message."""
    if "role" in item or "from" in item:
        name, content = ("role", "content") if "role" in item else ("from", "value")
        role = SPEAKERS.get(str(item[name]).lower())
        if role is None:
            raise UserError(f"unknown speaker `{item[name]}`; there are system, user and assistant")
        return [_message(role, item[content], item)]
    said: dict[str, str] = {}
    for name, text in item.items():
        role = COLUMNS.get(str(name).lower())
        # Rows of one file that spell a name in two ways have both columns, one of them empty.
        if role is None or text is None:
            continue
        if role in said:
            raise UserError(f"both `{said[role]}` and `{name}` are the {role}'s text; take one of them out")
        said[role] = name
    opening = ("system",) if "system" in said and item[said["system"]] else ()
    return [_message(role, item[said[role]], item) for role in (*opening, "user", "assistant")]


def _answered(row: Mapping[str, Any], question: str, answer: str) -> list[Message]:
    asked, replied = row[question], row[answer]
    if not isinstance(asked, str | list | tuple):
        raise UserError(f"`{question}` is {type(asked).__name__}, not text")
    if question == "instruction" and row.get("input"):
        asked = f"{asked}\n\n{row['input']}"
    before = _turns(asked) if isinstance(asked, list | tuple) else [_message("user", asked, row)]
    after = _turns(replied) if isinstance(replied, list | tuple) else [_message("assistant", replied, row)]
    return _opened(row, _after_history(row, [*before, *after]))


def _after_history(row: Mapping[str, Any], messages: list[Message]) -> list[Message]:
    """With the turns of the column `history` before them, a system message still first."""
    history = row.get("history") or []
    if _is_turns(history):
        earlier = _turns(history)
    elif isinstance(history, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in history):
        earlier = [_message(role, pair[i], {}) for pair in history for i, role in enumerate(("user", "assistant"))]
    else:
        raise UserError("`history` is neither [[user, assistant], ...] nor a list of turns; rename it or take it out")
    start = sum(message["role"] == "system" for message in messages[:1])
    return [*messages[:start], *earlier, *messages[start:]]


def _opened(row: Mapping[str, Any], messages: list[Message]) -> list[Message]:
    """With the column `system`, where there is one, as the first message."""
    if not row.get("system") or (messages and messages[0]["role"] == "system"):
        return messages
    return [_message("system", row["system"], row), *messages]


def _message(role: str, content: Any, source: Mapping[str, Any]) -> Message:
    if isinstance(content, list | tuple) and all(isinstance(part, Mapping) and "text" in part for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise UserError(f"the {role}'s turn is {type(content).__name__}, not text")
    kept = {key: source[key] for key in THINKING if role == "assistant" and isinstance(source.get(key), str)}
    return {"role": role, "content": content, **kept}
