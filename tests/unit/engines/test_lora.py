"""LoRA layers on tiny models: starting point, merged export, adapter files, reference."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlreason.engines.lora import (
    adapter_config,
    adapter_weights,
    add_adapter,
    merged_weights,
    without_adapter,
    write_adapter,
)
from rlreason.types import UserError

SIZE = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.1}
MODELS = {
    "llama": {"model_type": "llama", **SIZE, **HEADS, "tie_word_embeddings": False},
    "llama tied": {"model_type": "llama", **SIZE, **HEADS, "tie_word_embeddings": True},
    "qwen2, with biases": {"model_type": "qwen2", **SIZE, **HEADS, "tie_word_embeddings": True},
    "gpt2, transposed weights": {"model_type": "gpt2", "vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
}
TOKENS_BT = torch.tensor([[1, 5, 9, 30, 2, 7], [3, 3, 8, 20, 11, 4]])


def base_model(name: str = "llama", head: str = "CausalLM") -> Any:
    import transformers

    torch.manual_seed(0)
    keys = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **MODELS[name]}
    config = transformers.AutoConfig.for_model(**keys, **({"num_labels": 1} if head != "CausalLM" else {}))
    return getattr(transformers, f"AutoModelFor{head}").from_config(config).eval()


def trained(base: Any, **changes: Any) -> Any:
    """A copy of the base model whose adapter is away from zero."""
    module = add_adapter(copy.deepcopy(base), **{"rank": 2, "alpha": 6, "targets": "all-linear", **changes})
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    return module


@torch.no_grad()
def logits(module: Any) -> Tensor:
    return module(input_ids=TOKENS_BT).logits


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def test_merged_weights_are_those_worked_out_by_hand() -> None:
    module = add_adapter(nn.Sequential(nn.Linear(2, 2)), rank=1, alpha=4, targets=["0"])
    with torch.no_grad():
        module[0].base_layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        module[0].base_layer.bias.copy_(torch.tensor([7.0, 8.0]))
        module[0].lora_A["default"].weight.copy_(torch.tensor([[1.0, -1.0]]))
        module[0].lora_B["default"].weight.copy_(torch.tensor([[2.0], [0.5]]))
    found = dict(merged_weights(module))
    # 4 / 1 times [[2], [0.5]] [[1, -1]] = 4 [[2, -2], [0.5, -0.5]] = [[8, -8], [2, -2]]
    assert found["0.weight"].tolist() == [[9.0, -6.0], [5.0, 2.0]]
    assert found["0.bias"].tolist() == [7.0, 8.0]


def test_bfloat16_is_merged_in_float32() -> None:
    module = add_adapter(nn.Sequential(nn.Linear(1, 1, bias=False)).bfloat16(), rank=1, alpha=1, targets=["0"])
    factors = [module[0].lora_A["default"].weight, module[0].lora_B["default"].weight]
    assert {factor.dtype for factor in factors} == {torch.bfloat16}
    with torch.no_grad():
        module[0].base_layer.weight.fill_(-(1 + 2**-6))
        for factor in factors:
            factor.fill_(1 + 2**-7)
    # (1 + 2^-7)^2 = 1 + 2^-6 + 2^-14; in bfloat16 the product would lose its last term, and the sum would be 0.
    ((_, weight),) = merged_weights(module)
    assert (weight.dtype, weight.item()) == (torch.bfloat16, 2**-14)


@pytest.mark.parametrize("name", MODELS)
def test_model_starts_as_the_base_model(name: str) -> None:
    base = base_model(name)
    module = add_adapter(copy.deepcopy(base), rank=2, alpha=6, targets="all-linear")
    assert logits(module).equal(logits(base))
    assert type(module) is type(base)


def test_only_the_adapter_is_trained() -> None:
    module = add_adapter(base_model(), rank=2, alpha=6, targets=["q_proj", "layers.1.mlp.down_proj"])
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    assert shapes == {
        "model.layers.0.self_attn.q_proj.lora_A.default.weight": (2, 16),
        "model.layers.0.self_attn.q_proj.lora_B.default.weight": (16, 2),
        "model.layers.1.self_attn.q_proj.lora_A.default.weight": (2, 16),
        "model.layers.1.self_attn.q_proj.lora_B.default.weight": (16, 2),
        "model.layers.1.mlp.down_proj.lora_A.default.weight": (2, 24),
        "model.layers.1.mlp.down_proj.lora_B.default.weight": (16, 2),
    }


def test_all_linear_leaves_the_output_layer_out() -> None:
    module = add_adapter(base_model(), rank=2, alpha=6, targets="all-linear")
    adapted = {name.split(".lora_")[0] for name, p in module.named_parameters() if p.requires_grad}
    # Seven linear layers in each of two blocks: q, k, v, o; gate, up, down.
    assert len(adapted) == 14
    assert "lm_head" not in adapted


@pytest.mark.parametrize("name", MODELS)
def test_merged_model_computes_what_the_adapted_one_does(name: str) -> None:
    base = base_model(name)
    module = trained(base)
    before = snapshot(module)
    merged = copy.deepcopy(base)
    found = {name: weight.clone() for name, weight in merged_weights(module)}
    assert list(found) == [name for name, _ in base.named_parameters()]
    missing = merged.load_state_dict(found, strict=False)
    tied = ["lm_head.weight"] if base.config.tie_word_embeddings else []
    assert (missing.missing_keys, missing.unexpected_keys) == (tied, [])
    assert (logits(module) - logits(base)).abs().max() > 0.1
    torch.testing.assert_close(logits(merged), logits(module), atol=1e-6, rtol=0.0)
    after = snapshot(module)
    assert all(after[name].equal(weight) for name, weight in before.items())


@pytest.mark.parametrize("name", ["llama", "llama tied"])
def test_merged_model_is_saved_as_a_plain_checkpoint(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    module = trained(base_model(name))
    module.save_pretrained(tmp_path, state_dict={key: weight.clone() for key, weight in merged_weights(module)})
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval()), logits(module), atol=1e-6, rtol=0.0
    )
    assert not (tmp_path / "adapter_config.json").exists()


def test_sharded_parameters_are_made_whole_a_layer_at_a_time() -> None:
    module = trained(base_model("llama tied"))
    whole = {name: weight.clone() for name, weight in merged_weights(module)}
    adapter = adapter_weights(module)
    shards = {id(parameter): parameter.data for parameter in module.parameters()}
    sizes = []

    @contextmanager
    def gather(parameters: list[nn.Parameter]) -> Iterator[None]:
        sizes.append(len(parameters))
        for parameter in parameters:
            parameter.data = shards[id(parameter)]
        yield
        for parameter in parameters:
            parameter.data = torch.empty(0)

    for parameter in module.parameters():
        parameter.data = torch.empty(0)
    found = {name: weight.clone() for name, weight in merged_weights(module, gather)}
    # 14 adapted layers: weight, A and B together; 6 others: the embedding, two norms a block, the last norm.
    assert sorted(sizes) == [1] * 6 + [3] * 14
    assert found.keys() == whole.keys()
    assert all(found[name].equal(weight) for name, weight in whole.items())
    found = adapter_weights(module, gather)
    assert found.keys() == adapter.keys()
    assert all(found[name].equal(weight) for name, weight in adapter.items())


@pytest.mark.parametrize("name", MODELS)
def test_written_adapter_loads_with_peft(name: str, tmp_path: Path) -> None:
    from peft import PeftModel

    base = base_model(name)
    module = trained(base)
    # Twice, as after two steps: the second takes the place of the first.
    write_adapter(tmp_path, adapter_weights(trained(base, alpha=1)), {})
    write_adapter(tmp_path, adapter_weights(module), adapter_config(module))
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    assert logits(loaded).equal(logits(module))


def test_an_open_adapter_file_keeps_its_numbers_when_it_is_replaced(tmp_path: Path) -> None:
    from safetensors import safe_open

    name = "base_model.model.0.lora_B.weight"
    write_adapter(tmp_path, {name: torch.ones(4, 2)}, {})
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        write_adapter(tmp_path, {name: torch.zeros(4, 2)}, {})
        assert file.get_tensor(name).equal(torch.ones(4, 2))


def test_adapter_config_is_plain_and_in_a_fixed_order() -> None:
    module = trained(base_model(), targets=["v_proj", "q_proj", "o_proj", "k_proj"])
    config = adapter_config(module)
    assert json.loads(json.dumps(config)) == config
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["modules_to_save"]) == ("LORA", 2, 6, None)


def test_reference_is_the_base_model_and_leaves_the_gradient_alone() -> None:
    base = base_model()
    gradients = []
    for with_reference in (False, True):
        module = trained(base)
        value = module(input_ids=TOKENS_BT).logits.log_softmax(-1).square().sum()
        if with_reference:
            with without_adapter(module):
                assert logits(module).equal(logits(base))
            assert not logits(module).equal(logits(base))
        value.backward()
        gradients.append({name: p.grad for name, p in module.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(gradient.any() and gradient.equal(gradients[1][name]) for name, gradient in gradients[0].items())


def test_adapter_is_back_after_an_error_in_the_reference() -> None:
    module = trained(base_model())
    before = logits(module)
    with pytest.raises(IndexError), without_adapter(module):
        module(input_ids=torch.tensor([[99]]))  # no such token
    assert logits(module).equal(before)


def test_score_head_is_trained_whole_and_travels_with_the_adapter(tmp_path: Path) -> None:
    from peft import PeftModel

    base = base_model(head="SequenceClassification")
    module = trained(base, whole=["score"])
    assert module.score.weight.requires_grad and not module.score.weight.equal(base.score.weight)
    found = dict(merged_weights(module))
    assert list(found) == [name for name, _ in base.named_parameters()]
    assert found["score.weight"].equal(module.score.weight)
    tensors, config = adapter_weights(module), adapter_config(module)
    assert tensors["base_model.model.score.weight"].equal(module.score.weight)
    assert config["modules_to_save"] == ["score"]
    write_adapter(tmp_path, tensors, config)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    assert logits(loaded).equal(logits(module))


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("llama", "q_prj", r"^lora.targets: the model has no linear layer `q_prj`; did you mean q_proj"),
        ("llama", "proj", r"no linear layer `proj`; did you mean"),
        ("llama", "zzz", r"no linear layer `zzz`; it has down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj,"),
        ("llama", "embed_tokens", r"no linear layer `embed_tokens`"),
        ("llama", "mlp", r"no linear layer `mlp`"),
        ("llama tied", "lm_head", r"^lora.targets: `lm_head` shares its weights with the embedding; take it out$"),
    ],
)
def test_target_that_cannot_be_adapted_is_refused_in_one_line(name: str, target: str, message: str) -> None:
    base = base_model(name)
    before = list(snapshot(base))
    with pytest.raises(UserError, match=message) as caught:
        add_adapter(base, rank=2, alpha=6, targets=["q_proj", target])
    assert "\n" not in str(caught.value)
    assert list(snapshot(base)) == before
