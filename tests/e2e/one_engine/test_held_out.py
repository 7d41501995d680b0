"""Bits per byte of held-out text, on two ranks."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlreason.config.data import HeldOutConfig
from rlreason.config.schema import LearnerConfig
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages.held_out import HeldOut
from rlreason.tasks import chains
from rlreason.workers.learner_fleet import LearnerFleet
from tests.conftest import read_lines

pytestmark = [pytest.mark.engines, pytest.mark.slow]

LEARNER = LearnerConfig(workers=2, cpus=0.5, threads=1, lr=3e-3, lr_schedule="wsd", pack_tokens=128)


def test_bits_per_byte_of_a_uniform_model_are_those_by_hand(
    local_ray: None, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Over two ranks and shared rows: each token costs log2(64) = 6 bits."""
    from safetensors.torch import load_file, save_file

    path = make_model()
    weights = load_file(path / "model.safetensors")
    weights["lm_head.weight"].zero_()
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    texts = [row["text"] for row in chains.texts(num=40, seed=3)]
    tokenizer = chains.tokenizer()
    held_out = HeldOut(HeldOutConfig(prompts=["1+1="], continuation_tokens=3), {"chains": texts}, tokenizer, 32)
    job = Job(name="x", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())
    learners = LearnerFleet(LEARNER, total_steps=1, seed=0, model=str(path))
    learners.wait_ready()
    start_s = time.monotonic()
    figures = held_out.measure(learners, job, 0)
    print(f"measured in {time.monotonic() - start_s:.2f} s")
    learners.shutdown()
    num_tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    assert num_tokens < num_bytes, r"`\boxed{` is seven bytes"
    assert figures == {"eval/chains/bits_per_byte": pytest.approx(num_tokens * math.log2(64) / num_bytes)}
    (row,) = read_lines(tmp_path / "run" / "samples.jsonl")
    assert (row["response"], row["finish_reason"]) == ("<pad>" * 3, "length"), "of equals, the first"
