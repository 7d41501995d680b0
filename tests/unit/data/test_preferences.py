"""Preference rows: the forms that are read, what is refused, and where a score is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.data import PreferenceSource
from rlreason.data.preferences import Preference, encode_answers, for_score, in_groups, load_preferences
from rlreason.tasks import chains
from rlreason.types import UserError

Write = Callable[..., PreferenceSource]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*rows: dict[str, Any], **options: Any) -> PreferenceSource:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return PreferenceSource(path=str(path), **options)

    return written


TURN = [{"role": "user", "content": "2+2="}]
PAIR = {"prompt": "2+2=", "chosen": "4", "rejected": "5"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (PAIR, Preference(prompt="2+2=", responses=("4", "5"), places=(1, 2))),
        ({"prompt": "2+2=", "responses": ["4", "5", "6"], "ranking": [1, 2, 2]},
         Preference(prompt="2+2=", responses=("4", "5", "6"), places=(1, 2, 2))),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, Preference(prompt="a", responses=("b", ""), places=(1, 2))),
        ({"prompt": TURN, "chosen": "4", "rejected": "5"},
         Preference(prompt=tuple(TURN), responses=("4", "5"), places=(1, 2))),
        ({"prompt": [{**TURN[0], "name": None, "tool_calls": None}], "chosen": "4", "rejected": "5"},
         Preference(prompt=tuple(TURN), responses=("4", "5"), places=(1, 2))),
        # whole conversations, as UltraFeedback has them
        ({"chosen": [*TURN, {"role": "assistant", "content": "4"}],
          "rejected": [*TURN, {"role": "assistant", "content": "5"}]},
         Preference(prompt=tuple(TURN), responses=("4", "5"), places=(1, 2))),
        # the assistant's turn alone beside a prompt
        ({"prompt": "2+2=", "chosen": [{"role": "assistant", "content": "4"}],
          "rejected": [{"role": "assistant", "content": "5"}]},
         Preference(prompt="2+2=", responses=("4", "5"), places=(1, 2))),
    ],
)  # fmt: skip
def test_forms(write: Write, row: dict[str, Any], expected: Preference) -> None:
    (found,), left_out = load_preferences(write(row))
    assert found == expected and left_out == 0


def test_margins_are_read_where_they_are_asked_for(write: Write) -> None:
    (found,), _ = load_preferences(write(PAIR | {"margin": 0.5}, margin=True))
    (without,), _ = load_preferences(write(PAIR | {"margin": 0.5}))
    assert (found.margin, without.margin) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "two equal answers, 'b', have different places"),
        ({"prompt": "a", "chosen": "b"}, "no column `rejected`"),
        ({"prompt": "a", "responses": ["b", "c"], "ranking": [1]}, "lists of the same length"),
        ({"prompt": "a", "responses": ["b", "c"], "ranking": [0, 1]}, "a place, 1 the best, not \\[0, 1\\]"),
        ({"prompt": "a", "responses": ["b"], "ranking": [1]}, "two answers or more"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "two answers or more, each of them text"),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "`prompt` is neither text nor a list of messages"),
        ({"chosen": [*TURN], "rejected": [*TURN]}, "`chosen` is a list, but no messages that end in the assistant's"),
        ({"chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "4"}],
          "rejected": [*TURN, {"role": "assistant", "content": "5"}]}, "do not begin with the same prompt"),
        ({"prompt": [*TURN, {"role": "assistant", "content": "2+2"}], "chosen": "4", "rejected": "5"},
         "ends in an assistant turn"),
        ({"prompt": [{"role": "system", "content": "s"}] * 2 + TURN, "chosen": "4", "rejected": "5"},
         "`prompt` has 2 system messages"),
        ({"prompt": "a", "chosen": 4.0, "rejected": "5"}, "two answers or more, each of them text"),
    ],
)  # fmt: skip
def test_what_is_no_ranking_is_told_with_its_row(write: Write, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"rows.jsonl`, row 0: .*{message}.*; mend it, or set `bad_rows: drop`"):
        load_preferences(write(row))


def test_a_margin_that_is_none_is_told(write: Write) -> None:
    with pytest.raises(UserError, match="row 0: `margin` is to be a number from 0 up, not None"):
        load_preferences(write(PAIR, margin=True))


def test_bad_rows_and_ties_are_left_out_and_counted(write: Write) -> None:
    tied = {"prompt": "a", "responses": ["b", "c"], "ranking": [1, 1]}
    rows = [{"prompt": "a", "responses": ["4", "5"], "ranking": [1, 2]}, tied, tied | {"ranking": [1, 0]}]
    found, left_out = load_preferences(write(*rows, bad_rows="drop"))
    assert (len(found), left_out) == (1, 2)
    with pytest.raises(UserError, match="no row prefers one answer to another"):
        load_preferences(write(tied))


def test_the_score_is_read_at_the_answer_s_last_token() -> None:
    tokenizer = chains.tokenizer()
    preference = Preference(prompt="2+2=", responses=("4", "51"), places=(2, 1), margin=0.5)
    four, wrong = encode_answers(tokenizer, preference, chat=True)
    assert (four.place, wrong.place, four.margin) == (2, 1, 0.5)
    assert tokenizer.decode([t for t, flag in zip(wrong.tokens, wrong.mask, strict=True) if flag]).startswith("51")
    scored = for_score(wrong)
    # One trained token stands behind the end of the answer: the value of the text before it is read there.
    last = max(at for at, flag in enumerate(wrong.mask) if flag)
    assert scored.tokens[:-1] == wrong.tokens[: last + 1] and scored.mask == (0,) * (last + 1) + (1,)
    plain, _ = encode_answers(tokenizer, preference, chat=False)
    assert plain.tokens[-1] == tokenizer.eos_token_id and plain.mask == (0,) * (len(plain.tokens) - 2) + (1, 1)


def test_only_the_last_answer_is_trained_on() -> None:
    tokenizer = chains.tokenizer()
    earlier = (*TURN, {"role": "assistant", "content": "4"}, {"role": "user", "content": "3+3="})
    (first, _) = encode_answers(tokenizer, Preference(prompt=earlier, responses=("6", "7"), places=(1, 2)), chat=True)
    assert tokenizer.decode([t for t, flag in zip(first.tokens, first.mask, strict=True) if flag]).startswith("6")


def test_rows_keep_together() -> None:
    tokenizer = chains.tokenizer()
    rows = [
        encode_answers(tokenizer, Preference(prompt="1+1=", responses=("2", answer), places=(1, 2)), chat=True)
        for answer in "345"
    ]
    assert [sequence.group for sequence in in_groups(rows)] == [0, 0, 1, 1, 2, 2]
