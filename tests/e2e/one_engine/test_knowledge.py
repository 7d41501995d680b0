"""The builder on the real engines: a model with random weights knows nothing, and is not asked twice.

`make test` sees the builder in the recipe of tests/e2e/test_run.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlreason.config.schema import SFTConfig
from rlreason.data.chat import load_tokenizer
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages import knowledge

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.long]


def test_a_model_that_knows_nothing_learns_to_say_so(
    local_ray: None, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model()
    config = SFTConfig(
        stage="sft",
        model=str(model),
        data={"generate": "rlreason.tasks.chains:conversations"},
        steps=1,
        tokens_per_step=100,
        learner={"lr": 1e-3},
        rewards=[{"name": "right", "path": "rlreason.rewards.knows:right", "sources": ["knowledge"]}],
        rollout={"cpus": 0.5, "threads": 1, "max_context_tokens": 128, "max_response_tokens": 8},
        knowledge={
            "questions": {
                "generate": "rlreason.tasks.facts:questions",
                "args": {"num": 20, "seed": 1, "known": None, "held_out": False},
                "template": "{prompt}\n",
                "chat": False,
            },
            "samples": 3,
        },
    )
    job = Job(name="sft", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())
    made = knowledge.build(config, job, load_tokenizer(str(model)))
    assert len(made) == 20 and len({turns[0]["content"] for turns in made}) == 20
    assert {turns[1]["content"] for turns in made} == {"I don't know."}
    path = tmp_path / "run" / "knowledge.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["right"], record["class"], len(record["answers"])) for record in records] == [
        (0.0, "unknown", 3)
    ] * 20
    assert len({answer for record in records for answer in record["answers"]}) > 20, "samples of a question differ"
    assert all("\n" not in answer for record in records for answer in record["answers"])
    # A second start takes the answers that are there: without a model it could not ask.
    tokenizer = load_tokenizer(str(model))
    model.rename(tmp_path / "gone")
    assert knowledge.build(config, job, tokenizer) == made
