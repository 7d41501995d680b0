"""What must not change the result: ranks, ZeRO stages, the number of engines."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlreason.config.schema import LearnerConfig, RewardConfig, RewardWorkerConfig, RolloutConfig
from rlreason.data import chains
from rlreason.data.chat import encode_text
from rlreason.data.order import token_batches
from rlreason.types import LossSpec, PromptTask, Sample, TrainSequence
from rlreason.workers.fleet import LearnerFleet, RewardFleet, RolloutFleet

pytestmark = pytest.mark.engines

NUM_STEPS = 10


def batches() -> list[list[TrainSequence]]:
    tokenizer = chains.tokenizer()
    sequences = [encode_text(tokenizer, row["text"]) for row in chains.texts(num=400, seed=3)]
    stream = token_batches(sequences, 1000, seed=0)
    return [next(stream) for _ in range(NUM_STEPS)]


def curve(model: Path, *, workers: int, zero_stage: int) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    config = LearnerConfig(workers=workers, cpus=0.5, threads=1, lr=3e-3, zero_stage=zero_stage, micro_batch_tokens=500)
    learners = LearnerFleet(config, total_steps=NUM_STEPS, seed=0, model=str(model))
    learners.wait_ready()
    loss = LossSpec(name="cross_entropy")
    steps = [learners.finish_update(learners.submit_update(batch, loss)) for batch in batches()]
    learners.shutdown()
    return [(step["policy/loss"], step["policy/grad_norm"]) for step in steps]


def test_ranks_and_zero_stages_give_one_curve(local_ray: None, make_model: Callable[..., Path]) -> None:
    """1 and 2 ranks, ZeRO 0 to 3, over ten steps, to 1e-4 relative (traps 1, 2)."""
    model = make_model()
    reference = curve(model, workers=1, zero_stage=0)
    losses = [loss for loss, _ in reference]
    assert losses[-1] < 0.8 * losses[0], "a curve that does not fall proves nothing"
    for workers, zero_stage in [(1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]:
        found = curve(model, workers=workers, zero_stage=zero_stage)
        for step, (mine, theirs) in enumerate(zip(found, reference, strict=True)):
            assert mine == pytest.approx(theirs, rel=1e-4), f"{workers} ranks, ZeRO {zero_stage}, step {step}"


def test_one_and_two_engines_write_the_same(
    local_ray: None, make_model: Callable[..., Path], prompts: list[PromptTask]
) -> None:
    """Bit for bit: tokens and logprobs depend on the weights and the request's seed alone (trap 18)."""
    model = make_model()
    rewards = [RewardConfig(name="math", path="rlreason.rewards.math:reward")]

    def written(workers: int) -> list[tuple[Sample, ...]]:
        config = RolloutConfig(
            workers=workers, cpus=0.5, threads=1, max_context_tokens=64, max_response_tokens=24, max_concurrent=48
        )
        fleet = RewardFleet(rewards, RewardWorkerConfig())
        rollouts = RolloutFleet(str(model), config, dtype="float32", seed=7, rewards=fleet)
        rollouts.wait_ready()
        groups, _ = rollouts.collect(rollouts.submit(prompts, num_samples=4))
        rollouts.shutdown()
        return [group.samples for group in groups]

    one, two = written(1), written(2)
    assert one == two
    texts = [sample.response for group in one for sample in group]
    assert len(set(texts)) > len(texts) // 2, "samples of a group must differ"
