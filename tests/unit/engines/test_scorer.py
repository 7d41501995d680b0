"""A reward model's scores, against transformers' own sequence classification."""

import json
from pathlib import Path

import pytest
import torch

from rlreason.data import chains
from rlreason.engines.scorer import RewardModel, require_reward_model
from rlreason.types import UserError

ANSWERS = [("2+2=", "4"), ("2+2=", "4+4+4=9"), ("3*3=", ""), ("1+2+3+4=", "0")]
KEYS = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 48,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the padding token that is also the end token: a trap for whoever looks for padding."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder, tokenizer = tmp_path_factory.mktemp("reward-model"), chains.tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = -(-len(tokenizer) // 64) * 64
    config = LlamaConfig(**KEYS, vocab_size=size, num_labels=1, pad_token_id=tokenizer.eos_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_scores_are_those_of_transformers_on_each_answer_alone(reward_model: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    theirs, tokenizer = AutoModelForSequenceClassification.from_pretrained(reward_model).eval(), chains.tokenizer()
    # With another padding token than the end token, and a row alone, transformers reads at the last token.
    theirs.config.pad_token_id = tokenizer.pad_token_id
    ours = RewardModel(str(reward_model))
    found = ours.score(ANSWERS, batch_tokens=64)
    for (prompt, response), score in zip(ANSWERS, found, strict=True):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        end = max(at for at, token in enumerate(ids) if token == tokenizer.eos_token_id) + 1
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([ids[:end]])).logits.item()
        assert score == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in found if score is not None}) == len(ANSWERS), "they differ"
    assert ours.score(ANSWERS, batch_tokens=1) == pytest.approx(found, abs=1e-5), "any batch gives the same"


def test_scores_are_centred(reward_model: Path) -> None:
    raw = RewardModel(str(reward_model)).score(ANSWERS, batch_tokens=64)
    (reward_model / "reward_model.json").write_text(json.dumps({"mean": 0.25, "std": 1.0}))
    centred = RewardModel(str(reward_model)).score(ANSWERS, batch_tokens=64)
    (reward_model / "reward_model.json").unlink()
    assert [a - b for a, b in zip(raw, centred, strict=True) if a is not None and b is not None] == pytest.approx(
        [0.25] * 4, abs=1e-6
    )


def test_an_answer_beyond_the_positions_has_no_score(reward_model: Path) -> None:
    found = RewardModel(str(reward_model)).score([("2+2=", "1" * 60), ("2+2=", "4")], batch_tokens=64)
    assert found[0] is None and found[1] is not None


def test_a_language_model_is_no_reward_model(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM is no reward model; name one that `stage: reward_model`"):
        require_reward_model(str(tiny_model))
