"""Reward models of rankings that people made: held-out pairs right, with their interval.

Opt-in, minutes: `pytest -m bench -s tests/bench/test_real_rankings.py` with the data sets of RLREASON_TEST_DATA. One
pass over the rows, and no choice of the best step. The first models start from random weights, so they learn words, not
arguments; the last is SmolLM2-135M-Instruct with LoRA, an hour on two cores, with what tests/e2e/test_smollm.py needs.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

SHARE = 0.3
Row = dict[str, str]


def safety(data: Path) -> Iterator[Row]:
    """Bai et al. 2022, 2204.05862: which of two answers to provoking questions does less harm; the last turn alone."""
    with gzip.open(data / "hh_rlhf_harmless_test/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            turns = {side: re.split(r"\n\n(?:Human|Assistant): ?", text) for side, text in json.loads(line).items()}
            chosen, rejected = turns["chosen"], turns["rejected"]
            if chosen[:-1] == rejected[:-1] and len({chosen[-1].strip(), rejected[-1].strip(), ""}) == 3:
                yield {"prompt": chosen[-2].strip(), "chosen": chosen[-1].strip(), "rejected": rejected[-1].strip()}


def questions(data: Path) -> Iterator[Row]:
    """Wu et al. 2023, 2306.01693: four answers to a question, compared two by two, without the passages."""
    for row in json.loads((data / "qa_feedback/dev_feedback.json").read_text()):
        answers = [row[f"prediction {number}"].strip() for number in range(1, 5)]
        for (one, other), better in zip(combinations(answers, 2), row["preference"], strict=True):
            if better and one != other:
                chosen, rejected = (one, other) if better == 1 else (other, one)
                yield {"prompt": row["question"], "chosen": chosen, "rejected": rejected}


def make_model(folder: Path, rows: list[Row]) -> None:
    """Two layers with random weights, and a byte-level BPE of the rows' texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2048, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet)
    bpe.train_from_iterator((text for row in rows for text in row.values()), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def measured(rows: list[Row], folder: Path, keys: dict[str, Any], learner: dict[str, Any]) -> dict[str, float]:
    """Figures of held-out pairs after one pass over the others."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "stage": "reward_model",
        "data": {"path": str(folder / "rows.jsonl"), "chat": keys.pop("chat")},
        "steps": round(len(rows) * (1 - SHARE) / keys["rows_per_step"]),
        "held_out": {"share": SHARE, "rows": 1000, "every": 1000},
        "learner": {"cpus": 2, "threads": 2, "lr_schedule": "linear", "warmup_steps": 5} | learner,
    } | keys
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, "-m", "rlreason", "run", path, "--run-dir", folder / "run"], check=True)
    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    last = [row for row in map(json.loads, lines) if "eval/preference/accuracy" in row][-1]
    figures = {k.rpartition("/")[2]: round(v, 3) for k, v in last.items() if k.startswith("eval/preference/")}
    print(f"{len(rows)} rows, {config['steps']} steps: {figures}")
    return figures


@pytest.fixture
def data() -> Path:
    found = os.environ.get("RLREASON_TEST_DATA")
    if found is None:
        pytest.skip("RLREASON_TEST_DATA is not set")
    return Path(found)


# Without the passages that the answers are about little can be told of them: not in every seed is that beyond chance.
@pytest.mark.parametrize(
    ("rankings", "above_chance"), [(safety, "accuracy_low"), (questions, "accuracy")], ids=["safety", "questions"]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_pairs(
    rankings: Callable[[Path], Iterator[Row]], above_chance: str, seed: int, data: Path, tmp_path: Path
) -> None:
    rows = list(rankings(data))
    make_model(tmp_path / "model", rows)
    keys = {"model": str(tmp_path / "model"), "seed": seed, "chat": False, "context_tokens": 320, "rows_per_step": 32}
    figures = measured(rows, tmp_path, keys, {"lr": 1e-3, "micro_batch_tokens": 8192})
    assert figures[above_chance] > 0.5


@pytest.mark.timeout(10_000)
def test_a_real_small_model(smollm: Path, data: Path, tmp_path: Path) -> None:
    keys = {"model": str(smollm), "chat": True, "context_tokens": 256, "rows_per_step": 16}
    lora = {"rank": 16, "targets": "all-linear"}
    figures = measured(list(safety(data)), tmp_path, keys, {"lr": 2e-4, "micro_batch_tokens": 2048, "lora": lora})
    assert figures["accuracy_low"] > max(figures["longer_chosen"], 1 - figures["longer_chosen"]), "more than length"
