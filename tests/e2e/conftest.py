"""What the end-to-end tests share: small random models and prompts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlreason.types import PromptTask, Sample, Task, TrainSequence

ARCHITECTURE = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_model(family="llama" | "qwen2", tied=bool) -> a checkpoint with random weights and the chains tokenizer."""

    def make(*, family: str = "llama", tied: bool = False) -> Path:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from rlreason.tasks import chains

        torch.manual_seed(0)
        path = tmp_path_factory.mktemp(f"{family}-{'tied' if tied else 'untied'}")
        config = AutoConfig.for_model(family, **ARCHITECTURE, tie_word_embeddings=tied, initializer_range=0.2)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
        chains.tokenizer().save_pretrained(path)
        return path

    return make


def arrays_of(sample: Sample) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Tokens, mask and logprobs."""
    import ray

    tokens, mask, logprobs = ray.get(sample.arrays).row(sample.row)
    return tuple(tokens.tolist()), tuple(map(int, mask)), tuple(logprobs.tolist())


def trained_on(sample: Sample, advantage: float) -> TrainSequence:
    """As the policy is trained on it."""
    tokens, mask, logprobs = arrays_of(sample)
    return TrainSequence(tokens=tokens, mask=mask, logprobs=logprobs, advantages=(advantage,) * len(tokens))


@pytest.fixture(scope="session")
def prompts() -> list[PromptTask]:
    """32 held-out chains of arithmetic, encoded."""
    from rlreason.data.chat import encode_prompt
    from rlreason.tasks import chains

    tokenizer = chains.tokenizer()
    found = []
    for number, row in enumerate(chains.tasks(num=32, seed=5, held_out=True)):
        task = Task(id=f"chains:{number}", prompt=row["prompt"], answer=row["answer"], source="chains")
        text, tokens = encode_prompt(tokenizer, task)
        found.append(PromptTask(task=task, text=text, tokens=tokens))
    return found
