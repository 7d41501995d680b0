"""Learner and engine hold the same weights: the probe and the batch agree after every sync, and a stale one shows."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rlreason.config.schema import LearnerConfig
from rlreason.stages.rl import probe_gap
from rlreason.types import PolicyLoss, PromptTask, TrainSequence
from rlreason.workers.learner_fleet import LearnerFleet
from rlreason.workers.rollout_fleet import RolloutFleet
from tests.conftest import listening
from tests.e2e.conftest import trained_on
from tests.e2e.one_engine.conftest import ROLLOUT, start_engine

pytestmark = pytest.mark.engines

LOOPBACK = "0100007F"
TITLES = ("VLLM::EngineCore", "ray::LearnerWorker")
PARITY = 1e-5
LEARNER = LearnerConfig(cpus=0.5, threads=1, lr=3e-3, micro_batch_tokens=1024)
PROBE = (1, 13, 7, 14, 9, 11, 5, 13, 7, 14, 5, 17, 6, 3, 17, 4, 2, 1, 10, 8, 19, 5, 12, 18, 16, 15)
PROBES = [TrainSequence(tokens=PROBE, mask=(1,) * len(PROBE))]


class Rig:
    """A learner and an engine on the same checkpoint."""

    def __init__(self, model: Path, rollouts: RolloutFleet) -> None:
        self.learners = LearnerFleet(LEARNER, total_steps=100, seed=0, model=str(model))
        self.rollouts = rollouts
        self.learners.wait_ready()
        self.rollouts.wait_ready()
        self.learners.connect(self.rollouts, ROLLOUT)
        self.version = 0

    def sync(self) -> None:
        self.version += 1
        self.learners.send_weights(self.version)

    def gap(self) -> float:
        return probe_gap(self.learners.score(PROBES)[0], self.rollouts.prompt_logprobs(PROBE))

    def step(self, prompts: list[PromptTask], temperature: float) -> dict[str, float]:
        """Samples, then one optimizer step with made-up rewards; nothing is synced."""
        groups, _ = self.rollouts.collect(self.rollouts.submit(prompts, num_samples=4, temperature=temperature))
        sequences = [
            trained_on(s, advantage)
            for group in groups
            for s, advantage in zip(group.samples, (-0.25, 0.75, -0.25, -0.25), strict=True)
        ]
        assert {s.policy_version for group in groups for s in group.samples} == {self.version}
        loss = PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28}, temperature=temperature)
        return self.learners.finish_update(self.learners.submit_update(sequences, loss, step=1))

    def weights(self, path: Path) -> dict:
        from safetensors.torch import load_file

        self.learners.save_model(path)
        return load_file(path / "model.safetensors")


@pytest.fixture(scope="module", params=["llama-untied", pytest.param("qwen2-tied", marks=pytest.mark.long)])
def rig(
    request: pytest.FixtureRequest, llama: Path, rollouts: RolloutFleet, make_model: Callable[..., Path]
) -> Iterator[Rig]:
    if request.param == "llama-untied":
        rig = Rig(llama, rollouts)
    else:
        model = make_model(family="qwen2", tied=True)
        rig = Rig(model, start_engine(model))
    yield rig
    if rig.rollouts is not rollouts:
        rig.rollouts.shutdown()
    rig.learners.shutdown()


def processes(title: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if path.read_bytes().startswith(title.encode()):
                found.append(int(path.parent.name))
    return found


def test_the_stores_at_which_processes_meet_are_reached_from_this_host_alone(rig: Rig) -> None:
    """They ask for no password. Ray's own port of a worker, which does, is open to others. What another test has
    running beside this one is held to the same.
    """
    engines, learners = ([listening([pid]) for pid in processes(title)] for title in TITLES)
    assert any(engines) and all(set(engine) <= {LOOPBACK} for engine in engines)
    assert any(learners) and all(len(learner) - learner.count(LOOPBACK) <= 1 for learner in learners)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_agree_over_steps_and_syncs(rig: Rig, prompts: list[PromptTask], temperature: float) -> None:
    """Both the probe and the batch itself, at the temperature that was sampled from (traps 11, 25)."""
    rig.sync()
    for _ in range(3):
        assert rig.gap() < PARITY
        metrics = rig.step(prompts, temperature)
        assert metrics["mismatch/logprob_gap_mean"] < PARITY
        assert metrics["mismatch/kl"] < PARITY
        assert metrics["policy/clip_fraction"] == 0.0
        assert rig.gap() > 1e-4, "the update must move the learner away from the engine, or the check proves nothing"
        rig.sync()
    assert rig.gap() < PARITY


def test_a_planted_stale_tensor_is_seen(rig: Rig, prompts: list[PromptTask], tmp_path: Path) -> None:
    """Every tensor in turn keeps its old value in one sync; the probe must exceed the tolerance of rl.py each time."""
    from rlreason.engines.weight_sender import BucketSender
    from rlreason.workers.weight_sync import RayWeightSyncClient

    old = rig.weights(tmp_path / "old")
    for _ in range(3):
        rig.step(prompts, 1.0)
        rig.sync()
    new = rig.weights(tmp_path / "new")
    client = RayWeightSyncClient(rig.rollouts.workers)
    seen = {}
    for stale in new:
        mixed = {name: old[name] if name == stale else weight for name, weight in new.items()}
        BucketSender(lambda mixed=mixed: iter(mixed.items()), client, is_sender=True, bucket_bytes=1 << 16).send()
        seen[stale] = rig.gap()
    rig.sync()
    assert rig.gap() < PARITY
    assert len(seen) >= 20
    missed = {name: gap for name, gap in seen.items() if gap <= 1e-4}
    assert not missed
