"""What pretraining and SFT make of their configuration before any worker trains."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.schema import PretrainConfig, SFTConfig
from rlreason.running.checks import require_positions
from rlreason.stages.supervised import (
    complete_architecture,
    load_pretrain_tokenizer,
    load_sft_tokenizer,
    next_due,
    pretrain_sources,
    sft_sources,
)
from rlreason.tasks import chains
from rlreason.types import UserError

LLAMA = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
COMMON = {"steps": 1, "tokens_per_step": 64, "context_tokens": 32, "learner": {"lr": 1e-3}}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return chains.tokenizer()


@pytest.fixture
def model(tmp_path: Path, tokenizer: Any) -> Path:
    """A folder with a tokenizer."""
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pretrain(data: Any, **keys: Any) -> PretrainConfig:
    start = {"architecture": LLAMA, "tokenizer": "rlreason.tasks.chains:tokenizer"}
    return PretrainConfig.model_validate({"stage": "pretrain", "data": data, **COMMON, **start, **keys})


def sft(data: Any, model: Path, **keys: Any) -> SFTConfig:
    return SFTConfig.model_validate({"stage": "sft", "data": data, "model": str(model), **COMMON, **keys})


def test_steps_at_which_something_is_due() -> None:
    assert [next_due(step, 4, 10) for step in range(-1, 10)] == [0, 4, 4, 4, 4, 8, 8, 8, 8, 10, 10]
    assert {next_due(step, None, 10) for step in range(-1, 10)} == {10}


def test_vocabulary_and_special_tokens_come_from_the_tokenizer(tokenizer: Any) -> None:
    found = complete_architecture(LLAMA, tokenizer)
    assert found == {**LLAMA, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    given = {**LLAMA, "vocab_size": 20, "eos_token_id": 5}
    assert complete_architecture(given, tokenizer) == {**found, **given}
    with pytest.raises(UserError, match="architecture.vocab_size: 19 is smaller than the tokenizer's vocabulary of 20"):
        complete_architecture({**LLAMA, "vocab_size": 19}, tokenizer)


def test_a_padding_token_that_is_another_token_too_is_none_to_the_model() -> None:
    """torch never trains the vector of the padding token."""
    shared = chains.tokenizer()
    shared.pad_token = shared.eos_token
    assert complete_architecture(LLAMA, shared)["pad_token_id"] is None


def test_the_context_must_fit_the_positions() -> None:
    require_positions(None, {**LLAMA, "max_position_embeddings": 32}, 32)
    with pytest.raises(UserError, match="context_tokens: 33 is more than the model's max_position_embeddings of 32"):
        require_positions(None, {**LLAMA, "max_position_embeddings": 32}, 33)
    with pytest.raises(UserError, match="max_position_embeddings of 16"):
        require_positions(None, {"model_type": "gpt2", "n_positions": 16}, 33)
    require_positions(None, {"model_type": "mamba"}, 10**6)
    stretched = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}
    require_positions(None, {**LLAMA, "max_position_embeddings": 32, **stretched}, 64)
    with pytest.raises(UserError, match="max_position_embeddings of 64"):
        require_positions(None, {**LLAMA, "max_position_embeddings": 32, **stretched}, 65)


@pytest.mark.parametrize(
    ("keys", "says"), [({}, "no `model_type`"), ({"model_type": "lama"}, "lama"), ({"model_type": "t5x"}, "t5x")]
)
def test_an_architecture_that_nobody_knows_is_one_line(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        require_positions(None, keys, 8)
    assert "\n" not in str(error.value)


def test_a_checkpoint_to_continue_brings_its_tokenizer(model: Path) -> None:
    config = pretrain({"path": "x.jsonl"}, model=str(model), architecture=None, tokenizer=None)
    assert len(load_pretrain_tokenizer(config)) == 20
    assert len(load_pretrain_tokenizer(pretrain({"path": "x.jsonl"}))) == 20


def test_documents_become_sequences_and_some_are_held_out(tmp_path: Path, tokenizer: Any) -> None:
    texts = [f"{number}=" + "7" * number for number in range(100)]
    path = write(tmp_path / "web.jsonl", [{"text": text} for text in texts])
    config = pretrain({"web": {"path": path, "weight": 2.0}}, held_out={"share": 0.2})
    sources, held_out = pretrain_sources(config, tokenizer)
    web = sources["web"]
    assert held_out is not None and 50 < len(web.rows) < 100 and web.weight == 2.0
    assert pretrain_sources(pretrain({"path": path}), tokenizer)[1] is None
    for text, sequences in zip(web.rows, web.encode(list(web.rows)), strict=True):
        joined = [token for sequence in sequences for token in sequence.tokens]
        assert joined[: len(text) + 1] == [1, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert all(len(sequence.tokens) <= 32 for sequence in sequences)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"txt": "1"}], "no column `text`; its columns are txt"),
        ([{"text": "1"}, {"text": None}], "row 1: `text` is not text"),
        ([{"text": "1=1"}], "every document is held out|no document falls"),
    ],
)
def test_rows_that_cannot_be_pretrained_on_are_errors(tmp_path: Path, tokenizer: Any, rows: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        pretrain_sources(pretrain({"path": write(tmp_path / "a.jsonl", rows)}, held_out={"share": 0.5}), tokenizer)


def turns(answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": answer}]}


def test_conversations_of_any_form_become_one_sequence_each(tmp_path: Path, model: Path) -> None:
    first = write(tmp_path / "a.jsonl", [turns("2")])
    second = write(tmp_path / "b.jsonl", [{"prompt": "2+2=", "completion": "4"}])
    config = sft({"a": {"path": first, "weight": 3.0}, "b": {"path": second}}, model)
    sources = sft_sources(config, load_sft_tokenizer(config))
    assert {name: source.weight for name, source in sources.items()} == {"a": 3.0, "b": 1.0}
    for name, answer in (("a", "2"), ("b", "4")):
        ((sequence,),) = sources[name].encode(list(sources[name].rows))
        written = [token for token, mask in zip(sequence.tokens, sequence.mask, strict=True) if mask]
        assert written == [chains.VOCABULARY.index(answer), 2]


def test_documents_to_replay_are_trained_on_as_a_whole_beside_conversations(tmp_path: Path, model: Path) -> None:
    said = write(tmp_path / "a.jsonl", [turns("2")])
    read = write(tmp_path / "b.jsonl", [{"text": "1+1=2"}, {"text": "7" * 40}])
    data = {"a": {"path": said}, "b": {"path": read, "documents": True, "weight": 2.0}}
    config = sft(data, model, too_long="error")
    sources = sft_sources(config, load_sft_tokenizer(config))
    short, long = sources["b"].encode(list(sources["b"].rows))
    assert sources["b"].weight == 2.0 and [len(piece.tokens) for piece in long] == [32, 10]
    assert all(all(piece.mask) for piece in [*short, *long])
    with pytest.raises(UserError, match="row 0: `text` is not text"):
        sft_sources(sft({"b": {"path": write(tmp_path / "c.jsonl", [{"text": 1}]), "documents": True}}, model), None)
    with pytest.raises(UserError, match="no column `text`"):
        sft_sources(sft({"b": {"path": said, "documents": True}}, model), None)


def test_a_conversation_that_is_too_long_is_an_error_where_asked(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path / "a.jsonl", [turns("2"), turns("2" * 40)])
    config = sft({"path": path}, model, too_long="error")
    with pytest.raises(UserError, match="data `data`, row 1: a conversation of 46 tokens does not fit context_tokens"):
        sft_sources(config, load_sft_tokenizer(config))
    assert len(sft_sources(sft({"path": path}, model), load_sft_tokenizer(config))["data"].rows) == 2


NO_SYSTEM = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content + eos_token }}{% endif %}{% endfor %}"


def test_a_conversation_that_the_template_refuses_is_told_at_the_start_with_its_row(
    tmp_path: Path, model: Path
) -> None:
    (tmp_path / "mine.jinja").write_text(NO_SYSTEM)
    rows = [turns("2")] * 70 + [{"messages": [{"role": "system", "content": "7"}, *turns("2")["messages"]]}]
    config = sft(
        {"mine": {"path": write(tmp_path / "a.jsonl", rows)}}, model, chat_template=str(tmp_path / "mine.jinja")
    )
    with pytest.raises(UserError, match="data `mine`, row 70: the chat template drops the system message '7'"):
        sft_sources(config, load_sft_tokenizer(config))


def test_one_that_is_refused_for_its_text_is_told_with_its_row_when_it_is_drawn(tmp_path: Path, model: Path) -> None:
    strict = "{% for m in messages %}{% if '9' in m.content %}{{ raise_exception('no 9') }}{% endif %}" + (
        "{{ m.content + eos_token }}{% endfor %}"
    )
    (tmp_path / "mine.jinja").write_text(strict)
    rows = [turns("2"), turns("3"), turns("9"), turns("4")]
    config = sft(
        {"mine": {"path": write(tmp_path / "a.jsonl", rows)}}, model, chat_template=str(tmp_path / "mine.jinja")
    )
    source = sft_sources(config, load_sft_tokenizer(config))["mine"]
    with pytest.raises(UserError, match="data `mine`, row 2: .*no 9"):
        source.encode([source.rows[place] for place in (3, 2, 0)])
    assert len(source.encode([source.rows[place] for place in (3, 0)])) == 2


def test_names_of_made_rows_are_not_taken(tmp_path: Path, model: Path) -> None:
    mine = {"knowledge": {"path": write(tmp_path / "a.jsonl", [turns("2")])}}
    assert sft_sources(sft(mine, model), chains.tokenizer()).keys() == {"knowledge"}
    with pytest.raises(UserError, match="`knowledge` is the name of the rows that this stage makes"):
        sft_sources(sft(mine, model, knowledge={"questions": {"path": "x"}}), chains.tokenizer())


def test_a_template_file_takes_the_place_of_the_models_own(tmp_path: Path, model: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}")
    found = load_sft_tokenizer(sft({"path": "x"}, model, chat_template=str(tmp_path / "mine.jinja")))
    assert found.chat_template == "{{ messages[0].content }}"
    assert load_sft_tokenizer(sft({"path": "x"}, model)).chat_template == chains.CHAT_TEMPLATE
    with pytest.raises(UserError, match="chat_template `nowhere.jinja`: cannot be read"):
        load_sft_tokenizer(sft({"path": "x"}, model, chat_template="nowhere.jinja"))


def test_a_model_without_a_template_needs_one(tmp_path: Path) -> None:
    plain = chains.tokenizer()
    plain.chat_template = None
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(UserError, match="no chat template; name a file: chat_template=PATH"):
        load_sft_tokenizer(sft({"path": "x"}, tmp_path / "plain"))
