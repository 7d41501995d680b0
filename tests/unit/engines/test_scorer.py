"""A reward model's scores, against transformers' own sequence classification."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from rlreason.engines.learner_setup import build_module
from rlreason.engines.scorer import RewardModel, require_reward_model
from rlreason.tasks import chains
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "granite", "codegen"])
def test_the_head_goes_on_decoders_of_any_family(family: str, tmp_path: Path) -> None:
    """The second and third call their token classifier's head otherwise, the last two have no classifier in
    transformers, and the last one calls its decoder otherwise.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = KEYS | {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if family in ("gpt2", "codegen"):
        sizes |= {"n_embd": 16, "n_layer": 1, "num_attention_heads": 4, "n_positions": 48, "rotary_dim": 4}
    language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
    language_model.save_pretrained(tmp_path / "language")
    made = build_module("float32", str(tmp_path / "language"), None, "score").eval()
    weights = language_model.base_model.state_dict()
    assert all(weights[name].equal(weight) for name, weight in made.base_model.state_dict().items())
    made.save_pretrained(tmp_path / "scored", state_dict=made.state_dict())
    require_reward_model(str(tmp_path / "scored"))
    again = build_module("float32", str(tmp_path / "scored"), None, "score").eval()
    tokens = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    first, second = (model(input_ids=tokens, use_cache=False).logits for model in (made, again))
    assert first.shape == (2, 4, 1) and first.unique().numel() == 8
    assert torch.allclose(first, second, atol=1e-6)
    critic = build_module("float32", str(tmp_path / "language"), None, "value")
    assert critic(input_ids=tokens, use_cache=False).logits.shape == (2, 4, 1)
    assert "score.bias" in dict(critic.named_parameters()) and "score.bias" not in dict(made.named_parameters())


def test_answers_are_read_as_the_model_learned_to(reward_model: Path) -> None:
    (reward_model / "reward_model.json").write_text(json.dumps({"mean": 0.0, "std": 1.0, "chat": False}))
    model = RewardModel(str(reward_model))
    model.require_chat(False)
    with pytest.raises(UserError, match="was trained on answers as plain text; give its reward `chat: false`"):
        model.require_chat(True)
    (reward_model / "reward_model.json").unlink()
    RewardModel(str(reward_model)).require_chat(True)


def test_a_torn_file_of_weights_is_one_line(reward_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(reward_model, tmp_path / "torn")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="torn`: cannot be loaded: "):
        RewardModel(str(folder))


def test_a_decoder_without_its_weights_is_refused(reward_model: Path, tmp_path: Path) -> None:
    """Else the library fills in random numbers and says so in a warning."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(reward_model, tmp_path / "short")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="its files lack model.norm.weight"):
        RewardModel(str(folder))
