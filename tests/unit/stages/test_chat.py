"""What `rlreason chat` decides before and around the engine: which model, which turns, what a terminal shows."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlreason.cli import app
from rlreason.stages import chat as stages_chat
from rlreason.stages.chat import DIM, PLAIN, Shown, Talk, _context_tokens, chat, find_model, trimmed
from rlreason.types import UserError


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe's run directory: a corpus, a base model, an SFT that failed before it wrote one."""
    stages = [("10-corpus", "corpus", False), ("20-pretrain", "pretrain", True), ("30-sft", "sft", False)]
    for name, kind, has_model in stages:
        final = tmp_path / name / "final"
        final.mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(f"stage: {kind}\n")
        (tmp_path / name / "manifest.json").write_text(json.dumps({"kind": kind}))
        if has_model:
            (final / "config.json").write_text("{}")
            (final / "model.safetensors").touch()
    body = {"stages": [{"name": name, "dir": name} for name, _, _ in stages]}
    (tmp_path / "summary.json").write_text(json.dumps(body))
    return tmp_path


def test_a_recipe_a_stage_and_its_final_folder_are_the_same_model(recipe: Path) -> None:
    final = recipe / "20-pretrain" / "final"
    for where in (recipe, recipe / "20-pretrain", final):
        assert find_model(str(where)) == (str(final), "pretrain")


def test_a_checkpoint_of_unknown_origin_and_a_hub_name_have_no_kind(recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    (recipe / "20-pretrain" / "final").rename(other)
    assert find_model(str(other)) == (str(other), None)
    assert find_model("Qwen/Qwen2.5-0.5B") == ("Qwen/Qwen2.5-0.5B", None)


def test_what_is_no_model_is_one_line(recipe: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-000010"
    checkpoint.mkdir()
    (checkpoint / "state.json").write_text("{}")
    (recipe / "20-pretrain" / "final" / "model.safetensors").unlink()
    (recipe / "30-sft" / "final").rmdir()
    for where, message in (
        (recipe / "nothing", "no such directory"),
        (recipe / "20-pretrain", "has no .safetensors file"),
        (recipe / "10-corpus", "not a Hugging Face checkpoint"),
        (recipe / "30-sft", "has not made a model"),
        (checkpoint, "checkpoint to resume from"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            chat(where)
        assert "\n" not in str(caught.value)


def test_a_recipe_without_a_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"stages": [{"name": "10-corpus", "dir": "10-corpus"}]}))
    with pytest.raises(UserError, match="no stage of this recipe has made a model"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    ("described", "context"),
    [
        ({"model_type": "llama", "max_position_embeddings": 256}, 256),
        ({"model_type": "llama", "max_position_embeddings": 10**6}, 4096),
        ({"model_type": "mamba"}, 4096),
    ],
)
def test_the_context_is_the_models_own_up_to_a_limit(tmp_path: Path, described: dict[str, Any], context: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert _context_tokens(str(tmp_path)) == context


@pytest.mark.parametrize("text", ["{}", "[]", "nothing"])
def test_a_model_that_is_not_described_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="its config.json cannot be used: .") as caught:
        _context_tokens(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_option_dtype_has_two_values() -> None:
    found = CliRunner().invoke(app, ["chat", "/nowhere/model", "--dtype", "float16"])
    assert found.exit_code == 2 and "'float16' is not" in found.output and "'bfloat16'" in found.output


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(texts)]


def letters(kept: list) -> tuple[str, tuple[int, ...]]:
    text = "".join(turn["content"] for turn in kept)
    return text, tuple(map(ord, text))


@pytest.mark.parametrize(("room", "kept", "dropped"), [(5, "abcde", 0), (4, "cde", 2), (3, "cde", 2), (2, "e", 4)])
def test_the_oldest_turns_go_first_and_the_rest_begins_with_the_user(room: int, kept: str, dropped: int) -> None:
    found, num, (text, _) = trimmed(turns(*"abcde"), letters, room)
    assert (text, num, found[0]["role"]) == (kept, dropped, "user")


def test_a_turn_that_alone_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match="your text is 9 tokens long, and the context leaves room for 8"):
        trimmed(turns("a", "b", "c" * 9), letters, 8)


def talk(*, is_base: bool, context_tokens: int = 256) -> Talk:
    from rlreason.tasks.chains import tokenizer

    return Talk(
        tokenizer=tokenizer(),
        system=None,
        is_base=is_base,
        context_tokens=context_tokens,
        max_tokens=16,
        temperature=0.0,
        seed=0,
    )


def test_an_assistant_keeps_the_conversation_and_forgets_its_thoughts() -> None:
    one = talk(is_base=False)
    one.ask("1+1=")
    one.answered("<think>1+1=2;</think>2")
    assert one.ask("2+2=")[0] == "<s>1+1=2</s>2+2="


def test_a_base_model_continues_each_line_for_itself() -> None:
    one = talk(is_base=True)
    one.ask("1+1=")
    one.answered("2")
    text, tokens = one.ask("2+2=")
    assert (text, len(tokens)) == ("2+2=", 5)  # the beginning-of-sequence token comes before it


def test_a_full_context_drops_the_oldest_turns_and_a_too_long_one_is_forgotten() -> None:
    one = talk(is_base=False, context_tokens=24)
    for _ in range(9):
        assert len(one.ask("1+1=")[1]) <= 18
        one.answered("2")
    before = list(one.turns)
    with pytest.raises(UserError, match="too long|tokens long"):
        one.ask("1+" * 30)
    assert one.turns == before


def test_thoughts_are_dimmed_however_their_tags_are_cut() -> None:
    text = "<think>2 < 3</think>so 2 <b"
    for size in (1, 2, 5, 100):
        shown = Shown("")
        parts = [shown.add(text[i : i + size]) for i in range(0, len(text), size)]
        assert "".join(parts) + shown.add("", last=True) == f"{DIM}2 < 3{PLAIN}so 2 <b{PLAIN}"


def test_a_thought_that_the_template_opens_is_dimmed_from_the_start() -> None:
    assert Shown("<|assistant|><think>\n").start == DIM
    assert Shown("<|assistant|>").start == ""


def test_model_text_cannot_steer_the_terminal() -> None:
    shown = Shown("")
    assert shown.add("a\x1b]0;owned\x07\x9b2J\r\n\tb") == "a\ufffd]0;owned\ufffd\ufffd2J\ufffd\n\tb"
    assert Shown("").add("\u202egnp\u2066x\u200f\x00") == "\ufffdgnp\ufffdx\ufffd\ufffd"


def test_an_error_in_a_session_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    stages_chat._notice("a\x1b]0;x\x07\x00\u202e")
    assert capsys.readouterr().err == "[a\ufffd]0;x\ufffd\ufffd\ufffd]\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "Be brief.", "base": True}, "--system"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"temperature": -1.0}, "-"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chat(tmp_path, **options)


def test_a_line_that_is_no_utf8_is_left_out_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Runner:
        def run(self, answer: Any) -> None:
            asked.append(answer)

    stdin = io.TextIOWrapper(io.BytesIO(b"one\ncaf\xe9\n\xff\xfe\x00\ncaf\xc3\xa9\n"), "utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(stages_chat, "_answer", lambda engine, ids, talk, line: line)
    stages_chat._take_any_bytes()
    stages_chat._loop(Runner(), None, [], talk(is_base=False))
    assert asked == ["one", "caf\u00e9"]
    assert capsys.readouterr().err == "[this line is no UTF-8 and was left out]\n" * 2


def test_a_system_message_that_is_no_utf8_is_refused(recipe: Path) -> None:
    with pytest.raises(UserError, match="--system: holds bytes that are no UTF-8"):
        chat(recipe, system="caf\udce9")


def test_a_reward_model_is_told_apart_from_a_policy(tmp_path: Path, tiny_model: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "final")
    (folder / "reward_model.json").write_text("{}")
    with pytest.raises(UserError, match="is a reward model: it scores answers and writes none"):
        find_model(str(tmp_path))
