"""The same batch through TRL's GRPOTrainer and through our configuration: losses, gradients, advantages.

Run with `pip install --no-deps --target DIR trl==1.16.0 accelerate`, then
`RLREASON_TRL=DIR pytest -m bench -s tests/bench/test_trl.py`. TRL is no dependency; an importable one is found too.

TRL does all of its own work on a tiny model: it pads, masks, scores, calls the reward function, and computes
advantages and loss; a `rollout_func` gives it the responses. Ours goes from `AlgorithmConfig` through
`credit` and `policy_loss` to `policy_objective`, on micro-batches of unequal size and with a forward pass of
its own, unpadded. Three policies: the reference, the proximal one that the ratio is taken to, and the current one,
which has drifted so that clipping acts. Where the two agree, the loss, and its gradient over all parameters as one
vector, differ by less than 1e-5 of their size. TRL's loss gets our advantages; its own are compared apart.

Agreement, under other names:
- `dual_clip` is `delta`, as long as it is above 1 + clip_high, which our configuration leaves to the user.
- cispo with `clip_high: 4` is `epsilon_high=5`: TRL gives the bound itself, MiniMax-M1 (2506.13585, eq. 4) 1 + high.
- Our gspo is GSPO-token (2507.18071, eq. 13), TRL's the plain form (eq. 5), where the gradient flows through the
  sequence's ratio. With one advantage a sequence value and gradient are the same, as section 4.3 there shows.
- `kl: k3` is `use_bias_correction_kl=True`, TRL's default: p/b k3 (DeepSeek-V3.2, 2512.02556, section 3.1).

Where definitions differ, a test shows that what rlreason/algorithms/README.md names is the whole of the difference.

Not compared: GSPO with advantages that differ within a sequence, which TRL lacks; its other losses (SAPO, VESPO).

Notation: S = samples; N = trained tokens, sequence after sequence; T = tokens of one sequence; V = vocabulary.
"""

import os
import random
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlreason.algorithms import kl, losses
from rlreason.algorithms.segments import reduce_parts
from rlreason.config.algorithm import AlgorithmConfig
from rlreason.config.rewards import RewardConfig
from rlreason.config.schema import RolloutConfig
from rlreason.engines.objective import column, policy_objective, sequence_numbers
from rlreason.rewards.runtime.combine import Judge
from rlreason.rl.experience import Experience, credit, policy_loss, score
from rlreason.types import BatchSize, Sample, Score, Task, TrainSequence
from tests.batches import Learners, token_arrays

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]

VERSION = "1.16.0"
LIMIT = 1e-5
"""Relative difference of what agrees."""
APPARENT = 1e-3
"""What differs does so by more."""
EOS = 2
GROUP_SIZE = 4
MAX_TOKENS = 12
ROLLOUT = RolloutConfig(temperature=0.8, max_response_tokens=MAX_TOKENS)
PROMPT_LENGTHS = (3, 6, 4)
RESPONSE_LENGTHS = (3, 9, 5, MAX_TOKENS, MAX_TOKENS, 4, 7, 2, 6, 1, 8, 10)
"""[S] those of MAX_TOKENS were cut off, the others end in EOS."""
REWARD_S = (1.0, 0.0, 0.25, 1.0, 0.5, 0.0, -1.0, 0.75, 0.0, 0.0, 1.0, 0.5)
MICRO_BATCHES = (1, 4, 2, 5)
"""Sequences in each of ours."""
Options = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A rollout batch and the models that both sides compute with."""

    model_dir: Path
    reference: Any
    proximal: Any
    current: Any
    prompts: list[tuple[int, ...]]
    """[S]"""
    responses: list[tuple[int, ...]]
    """[S]"""
    behaviour: list[list[float]]
    """[S] logprobs of each response's tokens as the rollout engine is supposed to have said them."""

    def rows(self) -> list[TrainSequence]:
        return [
            TrainSequence(tokens=p + r, mask=(0,) * len(p) + (1,) * len(r))
            for p, r in zip(self.prompts, self.responses, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Our loss, with a graph to the current model, and what it was made of."""

    loss: Tensor
    logprob_N: Tensor
    entropy_N: Tensor
    old_N: Tensor
    reference_N: Tensor
    weight_N: Tensor
    """Off-policy corrections."""
    sequence_N: Tensor
    size: BatchSize
    clip_fraction: float

    def k3_N(self) -> Tensor:
        return kl.k3(self.logprob_N, self.reference_N)

    def ratio_N(self) -> Tensor:
        return (self.logprob_N - self.old_N).exp()

    def sequence_ratio_N(self) -> Tensor:
        return reduce_parts(self.logprob_N - self.old_N, self.sequence_N, "mean").exp()

    def token_mean(self, value_N: Tensor) -> Tensor:
        return value_N.mean()

    def sequence_mean(self, value_N: Tensor) -> Tensor:
        length_N = reduce_parts(torch.ones_like(value_N), self.sequence_N, "sum")
        return (value_N / length_N).sum() / self.size.num_sequences


@pytest.fixture(scope="module")
def trl() -> ModuleType:
    if folder := os.environ.get("RLREASON_TRL"):
        sys.path.append(folder)
    found = pytest.importorskip("trl", reason="no TRL: RLREASON_TRL names no folder that holds it")
    from transformers.utils import logging

    logging.disable_progress_bar()
    print(f"\nTRL {found.__version__}, written for {VERSION}\n{'':46}{'loss':>10}{'gradient':>10}{'clipped':>10}")
    return found


@pytest.fixture
def scene(tiny_model: Path) -> Callable[[float], Scene]:
    """Of a drift: the standard deviation of the step from the proximal to the current weights."""
    from transformers import LlamaForCausalLM

    def make(drift: float) -> Scene:
        generator, rng = torch.Generator().manual_seed(0), random.Random(0)
        reference = LlamaForCausalLM.from_pretrained(tiny_model)
        proximal = moved(reference, 0.05, generator)
        prompts = [tuple(rng.choices(range(3, 20), k=n)) for n in PROMPT_LENGTHS for _ in range(GROUP_SIZE)]
        responses = [(*rng.choices(range(3, 20), k=n - 1), 3 if n == MAX_TOKENS else EOS) for n in RESPONSE_LENGTHS]
        return Scene(
            model_dir=tiny_model,
            reference=reference,
            proximal=proximal,
            current=moved(proximal, drift, generator),
            prompts=[prompts[i - i % GROUP_SIZE] for i in range(len(prompts))],
            responses=responses,
            behaviour=[[rng.gauss(-4.0, 0.7) for _ in response] for response in responses],
        )

    return make


def moved(model: Any, scale: float, generator: torch.Generator) -> Any:
    found = deepcopy(model)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return found


# Our side.


def logprobs(model: Any, sequences: list[TrainSequence]) -> tuple[Tensor, Tensor]:
    """logprob_N and entropy_N of the trained tokens at the sampling temperature, one sequence at a time."""
    found = []
    for sequence in sequences:
        mask_T, tokens_T = torch.tensor(np.array(sequence.mask, bool))[1:], torch.tensor(np.array(sequence.tokens, int))
        logits_NV = model(input_ids=tokens_T[None]).logits[0, :-1][mask_T]
        found.append(losses.token_logprobs(logits_NV, tokens_T[1:][mask_T], ROLLOUT.temperature, entropy_gradient=True))
    logprob_N, entropy_N = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logprob_N, entropy_N


def our_sequences(
    scene: Scene, algorithm: AlgorithmConfig, *, reward_S: Sequence[float] = REWARD_S, on_policy: bool = False
) -> list[TrainSequence]:
    """What the learner gets, in the order of the samples."""
    rows = scene.rows()
    with torch.no_grad():
        proximal_N, reference_N = (logprobs(model, rows)[0].double() for model in (scene.proximal, scene.reference))
    if algorithm.off_policy is None:
        lists = [part.tolist() for part in proximal_N.split([len(r) for r in scene.responses])]
    else:
        lists = scene.behaviour
    samples = [
        Sample(
            task_id=str(i // GROUP_SIZE), index=i % GROUP_SIZE, policy_version=0, prompt="", response="",
            num_prompt_tokens=len(prompt), num_response_tokens=len(logprob_T),
            finish_reason="stop" if row.tokens[-1] == EOS else "length",
            arrays=token_arrays([(row.tokens, row.mask, (0.0,) * len(prompt) + tuple(logprob_T))]),
        )
        for i, (row, prompt, logprob_T) in enumerate(zip(rows, scene.prompts, lists, strict=True))
    ]  # fmt: skip
    task = Task(id="0", prompt="p")
    judge = Judge([RewardConfig(name="r", path="any.py:any")])
    group = judge.settle(task, samples, [{"r": Score(value=reward, status="ok")} for reward in reward_S])
    numbers = [i // GROUP_SIZE for i in range(len(samples))]
    experience = Experience(judged=list(group.judged), groups=numbers, greedy=[None] * len(samples))
    lengths = [len(r) for r in scene.responses]

    def said(value_N: Tensor) -> Callable[[TrainSequence], list[float]]:
        parts = iter(value_N.split(lengths))
        return lambda sequence: next(parts).tolist()

    policy: Any = Learners({"policy": said(proximal_N), "reference": said(reference_N)})
    score(experience, policy, None, algorithm, wants_reference=algorithm.kl is not None, temperature=1.0)
    counts, _ = credit(
        experience, policy, None, algorithm, None,
        kl_coef=0.0, max_response_tokens=MAX_TOKENS, on_policy=on_policy, rng=random.Random(0),
    )  # fmt: skip
    return [one for one, count in zip(policy.sequences(), counts, strict=True) if count]


def our_loss(scene: Scene, algorithm: AlgorithmConfig, sequences: list[TrainSequence]) -> Terms:
    """Summed over micro-batches of unequal size."""
    loss = policy_loss(algorithm, ROLLOUT, algorithm.kl.coef if algorithm.kl else 0.0)
    size = BatchSize.of(sequences)
    logprob_N, entropy_N = logprobs(scene.current, sequences)
    total, num_clipped, start, begin = torch.zeros(()), 0.0, 0, 0
    for num in MICRO_BATCHES:
        part = sequences[begin : begin + num]
        if not part:
            break
        stop = start + sum(sequence.num_trained_tokens for sequence in part)
        share, sums = policy_objective(loss, logprob_N[start:stop], entropy_N[start:stop], part, size)
        total, num_clipped = total + share, num_clipped + float(sums["policy/clip_fraction"])
        begin, start = begin + num, stop
    assert start == len(logprob_N)
    cpu = torch.device("cpu")
    old_N, reference_N, weight_N = (
        column(sequences, name, cpu) for name in ("old_logprobs", "reference_logprobs", "weights")
    )
    return Terms(
        loss=total,
        logprob_N=logprob_N,
        entropy_N=entropy_N,
        old_N=logprob_N.detach() if old_N is None else old_N,
        reference_N=logprob_N.detach() if reference_N is None else reference_N,
        weight_N=torch.ones_like(entropy_N) if weight_N is None else weight_N,
        sequence_N=sequence_numbers(sequences, cpu),
        size=size,
        clip_fraction=num_clipped / size.num_tokens,
    )


# TRL's side.


def trainer(trl: ModuleType, scene: Scene, options: Options, *, reward_S: Sequence[float] = REWARD_S) -> Any:
    """A GRPOTrainer whose policy has the proximal weights. `options` are GRPOConfig's, and `behaviour`: there are
    logprobs of the rollout engine to correct for.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaForCausalLM

    options = dict(options)
    behaviour = options.pop("behaviour", False)
    base = {
        "output_dir": str(scene.model_dir / "out"), "use_cpu": True, "bf16": False, "report_to": "none",
        "gradient_checkpointing": False, "temperature": ROLLOUT.temperature, "max_completion_length": MAX_TOKENS,
        "num_generations": GROUP_SIZE, "per_device_train_batch_size": len(REWARD_S), "num_iterations": 2,
    }  # fmt: skip

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {
            "prompt_ids": [list(prompt) for prompt in scene.prompts],
            "completion_ids": [list(response) for response in scene.responses],
            "logprobs": scene.behaviour if behaviour else None,
        }

    found = trl.GRPOTrainer(
        LlamaForCausalLM.from_pretrained(scene.model_dir),
        reward_funcs=lambda prompts, **columns: list(reward_S),
        args=trl.GRPOConfig(**base | options),
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        processing_class=AutoTokenizer.from_pretrained(scene.model_dir),
        rollout_func=rollout,
    )
    found.model.load_state_dict(scene.proximal.state_dict())
    found.model.train()
    found.current_gradient_accumulation_steps = found.args.gradient_accumulation_steps  # as its training loop does
    found.use_vllm, found._last_loaded_step = behaviour, 0  # the engine's weights need no sync: there is no engine
    return found


def scored(trainer: Any) -> dict[str, Tensor]:
    """Its padded batch with masks, advantages, and logprobs of the proximal and the reference policy."""
    found: dict[str, Tensor] = trainer._generate_and_score_completions([{"prompt": "0"} for _ in REWARD_S])
    return found


def peer_loss(
    trl: ModuleType, scene: Scene, options: Options, sequences: list[TrainSequence]
) -> tuple[list[Tensor], Any]:
    """The loss of each of TRL's micro-batches on our advantages, and its model, of the current weights."""
    peer = trainer(trl, scene, options)
    inputs = scored(peer)
    advantages = {tuple(map(int, sequence.tokens)): float(sequence.advantages[-1]) for sequence in sequences}
    inputs["advantages"] = torch.tensor([advantages.get(row.tokens, 0.0) for row in scene.rows()])
    peer.model.load_state_dict(scene.current.state_dict())
    num_rows = peer.args.per_device_train_batch_size
    parts = [
        {name: value[start : start + num_rows] if value.dim() else value for name, value in inputs.items()}
        for start in range(0, len(REWARD_S), num_rows)
    ]
    return [peer._compute_loss(peer.model, part) for part in parts], peer.model


# Both.


def differences(ours: Tensor, model: Any, theirs: Tensor, peer_model: Any) -> tuple[float, float]:
    """Relative, of the loss and of its gradient as one vector over all parameters."""
    gradients = [
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(of.parameters()), retain_graph=True)])
        for loss, of in ((ours, model), (theirs, peer_model))
    ]
    assert gradients[1].norm() > 0 and gradients[0].shape == gradients[1].shape
    gap = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    return ((ours - theirs).abs() / theirs.abs()).item(), gap.item()


def report(name: str, found: tuple[float, float], clip_fraction: float | None = None) -> None:
    clipped = "" if clip_fraction is None else f"{clip_fraction:10.1%}"
    print(f"{name:46}{found[0]:10.1e}{found[1]:10.1e}{clipped}")


GSPO = {"importance_sampling_level": "sequence", "loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4}
TIS = {"behaviour": True, "vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 2.0}
K3 = {"estimator": "k3", "coef": 0.04}
PPO_DRIFT, CISPO_DRIFT, GSPO_DRIFT = 0.04, 0.3, 2e-4


@pytest.mark.parametrize(
    ("name", "drift", "algorithm", "options"),
    [
        ("GRPO", PPO_DRIFT, {"preset": "grpo"}, {"loss_type": "grpo", "beta": 0.04}),
        ("GRPO without penalty", PPO_DRIFT, {"preset": "grpo", "kl": None}, {"loss_type": "grpo"}),
        ("GRPO, dual clip", 0.1, {"preset": "grpo", "kl": None, "dual_clip": 1.5}, {"loss_type": "grpo", "delta": 1.5}),
        ("GRPO, on-policy", 0.0, {"preset": "grpo", "kl": None, "advantage": "none"},
         {"loss_type": "grpo", "num_iterations": 1}),
        ("DAPO, truncated masked", PPO_DRIFT, {"preset": "dapo"},
         {"loss_type": "dapo", "epsilon_high": 0.28, "mask_truncated_completions": True}),
        ("DAPO with penalty", PPO_DRIFT, {"preset": "dapo", "mask_truncated": False, "kl": K3},
         {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.04}),
        ("DAPO with entropy bonus", PPO_DRIFT, {"preset": "dapo", "mask_truncated": False, "entropy_coef": 0.01},
         {"loss_type": "dapo", "epsilon_high": 0.28, "entropy_coef": 0.01}),
        ("DAPO, truncated importance sampling", PPO_DRIFT,
         {"preset": "dapo", "mask_truncated": False, "off_policy": {"correction": "token_truncate", "cap": 2.0}},
         {"loss_type": "dapo", "epsilon_high": 0.28} | TIS),
        ("Dr.GRPO", PPO_DRIFT, {"preset": "dr_grpo"}, {"loss_type": "dr_grpo"}),
        ("Dr.GRPO with penalty", PPO_DRIFT, {"preset": "dr_grpo", "kl": K3}, {"loss_type": "dr_grpo", "beta": 0.04}),
        # Ratios so near to 1 leave of a loss with advantages of mean 0 nothing but rounding.
        ("GSPO", GSPO_DRIFT, {"preset": "gspo", "advantage": "none"}, GSPO),
        ("GSPO, token mean", GSPO_DRIFT, {"preset": "gspo", "advantage": "none", "aggregation": "token_mean"},
         GSPO | {"loss_type": "dapo"}),
        ("GSPO, bounds of PPO", 0.1, {"preset": "gspo", "clip_low": 0.2, "clip_high": 0.2},
         GSPO | {"epsilon": 0.2, "epsilon_high": 0.2}),
        ("CISPO", CISPO_DRIFT, {"preset": "cispo"}, {"loss_type": "cispo", "epsilon_high": 5.0}),
        ("CISPO with penalty", CISPO_DRIFT, {"preset": "cispo", "kl": K3},
         {"loss_type": "cispo", "epsilon_high": 5.0, "beta": 0.04}),
    ],
)  # fmt: skip
def test_loss_and_gradient_agree(
    name: str, drift: float, algorithm: Options, options: Options, trl: ModuleType, scene: Callable[[float], Scene]
) -> None:
    batch, config = scene(drift), AlgorithmConfig.model_validate(algorithm)
    sequences = our_sequences(batch, config, on_policy=drift == 0)
    ours = our_loss(batch, config, sequences)
    [theirs], model = peer_loss(trl, batch, options, sequences)
    found = differences(ours.loss, batch.current, theirs, model)
    report(name, found, ours.clip_fraction)
    assert max(found) < LIMIT
    assert 0.02 < ours.clip_fraction < 0.8 if drift else ours.clip_fraction == 0


MASKED = {"mask_truncated": True}, {"mask_truncated_completions": True}
NUM_KEPT = 10  # 2 of the 12 responses were cut off


@pytest.mark.parametrize(
    ("name", "algorithm", "options", "as_theirs"),
    [
        ("penalty, uncorrected", {"preset": "grpo"},
         {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
         lambda t: t.loss + 0.04 * t.sequence_mean((1 - t.ratio_N()) * t.k3_N())),
        ("penalty under GSPO", {"preset": "gspo", "clip_low": 0.2, "clip_high": 0.2, "kl": K3},
         GSPO | {"epsilon": 0.2, "epsilon_high": 0.2, "beta": 0.04},
         lambda t: t.loss + 0.04 * t.sequence_mean((t.sequence_ratio_N() - t.ratio_N()) * t.k3_N())),
        ("penalty, truncated importance sampling",
         {"preset": "dapo", "mask_truncated": False, "kl": K3,
          "off_policy": {"correction": "token_truncate", "cap": 2.0}},
         {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.04} | TIS,
         lambda t: t.loss + 0.04 * t.token_mean((1 - t.weight_N) * t.ratio_N() * t.k3_N())),
        ("entropy bonus of a sequence mean", {"preset": "grpo", "kl": None, "entropy_coef": 1.0},
         {"loss_type": "grpo", "entropy_coef": 1.0},
         lambda t: t.loss + (t.sequence_mean(t.entropy_N) - t.token_mean(t.entropy_N))),
        ("truncated masked, sequence mean", {"preset": "grpo", "kl": None} | MASKED[0],
         {"loss_type": "grpo"} | MASKED[1], lambda t: t.loss * NUM_KEPT / 12),
        ("truncated masked, Dr.GRPO", {"preset": "dr_grpo"} | MASKED[0],
         {"loss_type": "dr_grpo"} | MASKED[1], lambda t: t.loss * NUM_KEPT / 12),
    ],
)  # fmt: skip
def test_the_difference_is_what_is_said(
    name: str,
    algorithm: Options,
    options: Options,
    as_theirs: Callable[[Terms], Tensor],
    trl: ModuleType,
    scene: Callable[[float], Scene],
) -> None:
    batch, config = scene(0.1), AlgorithmConfig.model_validate(algorithm)
    sequences = our_sequences(batch, config)
    ours = our_loss(batch, config, sequences)
    [theirs], model = peer_loss(trl, batch, options, sequences)
    plain = differences(ours.loss, batch.current, theirs, model)
    isolated = differences(as_theirs(ours), batch.current, theirs, model)
    report(f"{name}: as it is", plain, ours.clip_fraction)
    report("    less the difference", isolated)
    assert min(plain) > APPARENT
    assert max(isolated) < LIMIT


HALVES = slice(0, 6), slice(6, 12)
"""TRL's two micro-batches. Tokens: 3 + 9 + 5 + 12 + 12 + 4 = 45 and 7 + 2 + 6 + 1 + 8 + 10 = 34."""
TOKEN_MEAN = {"preset": "dapo", "mask_truncated": False, "clip_high": 0.2}


@pytest.mark.parametrize(
    ("name", "algorithm", "options", "as_theirs"),
    [
        ("two micro-batches, sequence mean", {"preset": "grpo", "kl": None}, {"loss_type": "grpo"}, None),
        ("two micro-batches, token mean", TOKEN_MEAN, {"loss_type": "dapo"}, None),
        # 1/2 of each micro-batch's own mean
        ("two micro-batches, bnpo", TOKEN_MEAN, {"loss_type": "bnpo"}, (0.5, 0.5)),
        # The first of two optimizer steps: 45 tokens, divided by (45 + 34) / 2
        ("two optimizer steps, token mean", TOKEN_MEAN, {"loss_type": "dapo", "gradient_accumulation_steps": 1},
         (45 / 39.5, 0.0)),
    ],
)  # fmt: skip
def test_accumulation(
    name: str,
    algorithm: Options,
    options: Options,
    as_theirs: tuple[float, float] | None,
    trl: ModuleType,
    scene: Callable[[float], Scene],
) -> None:
    """The sum of TRL's micro-batches is our whole batch's loss, or `as_theirs` of each half's as a batch of its own."""
    batch, config = scene(PPO_DRIFT), AlgorithmConfig.model_validate(algorithm)
    sequences = our_sequences(batch, config)
    split = {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2, "generation_batch_size": 12}
    parts, model = peer_loss(trl, batch, split | options, sequences)
    theirs = torch.stack(parts).sum() if as_theirs != (45 / 39.5, 0.0) else parts[0]
    whole = our_loss(batch, config, sequences).loss
    halves = [our_loss(batch, config, sequences[half]).loss for half in HALVES]
    if as_theirs is None:
        found = differences(whole, batch.current, theirs, model)
    else:
        step = whole if all(as_theirs) else halves[0]
        plain = differences(step, batch.current, theirs, model)
        report(f"{name}: as it is", plain)
        assert min(plain) > APPARENT
        factored = as_theirs[0] * halves[0] + as_theirs[1] * halves[1]
        found, name = differences(factored, batch.current, theirs, model), "    less the difference"
    report(name, found)
    assert max(found) < LIMIT


def test_advantages(trl: ModuleType, scene: Callable[[float], Scene]) -> None:
    """Undivided they agree. Divided by the standard deviation they differ by a factor for each group."""
    batch = scene(PPO_DRIFT)
    # The population's standard deviations are 1/2, 1/2000 and 0; Bessel's are sqrt(4/3) times that.
    reward_S = (1.0, 0.0, 0.0, 1.0, 0.001, 0.0, 0.0, 0.001, 0.1, 0.1, 0.1, 0.1)
    found = {}
    for preset, scale in (("dr_grpo", "none"), ("grpo", "group")):
        algorithm = AlgorithmConfig.model_validate({"preset": preset})
        ours = [sequence.advantages[-1] for sequence in our_sequences(batch, algorithm, reward_S=reward_S)]
        theirs = scored(trainer(trl, batch, {"scale_rewards": scale}, reward_S=reward_S))["advantages"].tolist()
        found[preset] = ours, theirs
    ours, theirs = found["dr_grpo"]
    assert ours == pytest.approx(theirs, rel=LIMIT, abs=1e-9)
    assert ours[:5] == pytest.approx([0.5, -0.5, -0.5, 0.5, 0.0005])
    ours, theirs = found["grpo"]
    for start, std in ((0, 0.5), (4, 0.0005)):
        factor = (std + 1e-6) / (std * (4 / 3) ** 0.5 + 1e-4)
        group_ours, group_theirs = ours[start : start + 4], theirs[start : start + 4]
        print(f"{f'advantages of a group with std {std:g}':46}{group_ours[0]:10.4f}{group_theirs[0]:10.4f}")
        assert group_theirs == pytest.approx([factor * advantage for advantage in group_ours], rel=LIMIT)
        assert group_theirs[0] < 0.9 * group_ours[0]
    assert ours[8:] == [0.0] * 4 and theirs[8:] == pytest.approx([0.0] * 4, abs=1e-4)
