"""What must not change the result: ranks, ZeRO stages, the number of engines."""

from pathlib import Path
from typing import Any

import pytest

from rlreason.config.schema import LearnerConfig
from rlreason.data.chat import encode_text
from rlreason.data.mixture import Mixture, Source
from rlreason.tasks import chains
from rlreason.types import CrossEntropyLoss, PromptTask, Sample, TrainSequence
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from tests.e2e.conftest import arrays_of
from tests.e2e.one_engine.conftest import ROLLOUT, Renewed, start_engine

pytestmark = pytest.mark.engines

NUM_STEPS = 10
CONTEXT_TOKENS = 256


def batches() -> list[list[TrainSequence]]:
    tokenizer = chains.tokenizer()
    texts = [row["text"] for row in chains.texts(num=400, seed=3)]
    source = Source(
        rows=texts, weight=1.0, encode=lambda rows: [encode_text(tokenizer, text, CONTEXT_TOKENS) for text in rows]
    )
    mixture = Mixture({"chains": source}, context_tokens=CONTEXT_TOKENS, seed=0)
    return [mixture.batch(1000) for _ in range(NUM_STEPS)]


def curve(model: Path, *, workers: int, zero_stage: int, pack_tokens: int | None = None) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    config = LearnerConfig(
        workers=workers,
        cpus=0.5,
        threads=1,
        lr=3e-3,
        zero_stage=zero_stage,
        micro_batch_tokens=500,
        pack_tokens=pack_tokens,
    )
    learners = LearnerFleet(config, total_steps=NUM_STEPS, seed=0, model=str(model))
    learners.wait_ready()
    loss = CrossEntropyLoss()
    steps = [
        learners.finish_update(learners.submit_update(batch, loss, step=number))
        for number, batch in enumerate(batches(), 1)
    ]
    learners.shutdown()
    return [(step["policy/loss"], step["policy/grad_norm"]) for step in steps]


@pytest.fixture(scope="module")
def reference(local_ray: None, llama: Path) -> list[tuple[float, float]]:
    found = curve(llama, workers=1, zero_stage=0)
    losses = [loss for loss, _ in found]
    assert losses[-1] < 0.8 * losses[0], "a curve that does not fall proves nothing"
    return found


LAYOUTS = [(2, 3, 100)]
LONG_LAYOUTS = [(workers, stage, None) for workers in (1, 2) for stage in range(4) if (workers, stage) != (1, 0)]
LONG_LAYOUTS += [(1, 0, 100)]


@pytest.mark.parametrize(
    ("workers", "zero_stage", "pack_tokens"),
    [*LAYOUTS, *(pytest.param(*layout, marks=pytest.mark.long) for layout in LONG_LAYOUTS)],
)
def test_ranks_and_zero_stages_give_one_curve(
    reference: list[tuple[float, float]], llama: Path, workers: int, zero_stage: int, pack_tokens: int | None
) -> None:
    """1 and 2 ranks, ZeRO 0 to 3, sequences that share rows, over ten steps, to 1e-4 relative (traps 1, 2)."""
    found = curve(llama, workers=workers, zero_stage=zero_stage, pack_tokens=pack_tokens)
    for step, (mine, theirs) in enumerate(zip(found, reference, strict=True)):
        assert mine == pytest.approx(theirs, rel=1e-4), f"step {step}"


def test_one_and_two_engines_write_the_same(
    rollouts: RolloutFleet, renewed: Renewed, llama: Path, prompts: list[PromptTask]
) -> None:
    """Bit for bit: tokens and logprobs depend on the weights and the request's seed alone (trap 18)."""

    def written() -> tuple[list[tuple[Sample, ...]], list[list[Any]]]:
        groups, _ = rollouts.collect(rollouts.submit(prompts, num_samples=4))
        samples = [group.samples for group in groups]
        return samples, [list(map(arrays_of, group)) for group in samples]

    other = start_engine(llama)
    other.wait_ready()
    rollouts.workers += other.workers
    try:
        learners = renewed.learners()
        learners.connect(rollouts, ROLLOUT)
        learners.send_weights(1)
        two = written()
    finally:
        del rollouts.workers[1:]
        other.shutdown()
    one = written()
    assert one == two
    texts = [sample.response for group in one[0] for sample in group]
    assert len(set(texts)) > len(texts) // 2, "samples of a group must differ"
