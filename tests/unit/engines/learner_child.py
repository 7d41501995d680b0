"""Child of test_learner.py: DeepSpeed wants a process of its own. It only drives our engine; the test judges.

    python learner_child.py FOLDER PORT SCENARIO...

Each scenario is a function below; what it returns, or the error that ended it, goes to FOLDER/SCENARIO.pt.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlreason.config.schema import LearnerConfig
from rlreason.data.batch import fill_rows, plan_micro_batches
from rlreason.engines.learner import LearnerEngine
from rlreason.types import (
    BatchSize,
    CrossEntropyLoss,
    Head,
    Loss,
    PolicyLoss,
    PreferenceLoss,
    RunError,
    TrainSequence,
    UpdateStats,
    UserError,
    ValueLoss,
)  # fmt: skip

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 32,
    "n_embd": 32,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CROSS_ENTROPY = CrossEntropyLoss()
POLICY = PolicyLoss(name="ppo_clip", constants={"clip_low": 0.2, "clip_high": 0.28}, temperature=0.7)
VALUE = ValueLoss(clip=0.2)


def sequences(*, on_policy: bool = False) -> list[TrainSequence]:
    """Nine of 3 to 19 tokens; each with some tokens out of the mask. Off-policy the ratio is that to `logprobs`."""
    draw = torch.Generator().manual_seed(1)
    found = []
    for number, length in enumerate((19, 3, 7, 12, 5, 16, 9, 4, 11)):
        tokens = torch.randint(3, 32, (length,), generator=draw).tolist()
        mask = (torch.rand(length, generator=draw) < 0.7).int().tolist()
        mask[-1] = 1
        logprobs = (-4 * torch.rand(length, generator=draw)).tolist()
        advantage = torch.randn((), generator=draw).item()
        found.append(
            TrainSequence(
                tokens=tuple(tokens),
                mask=tuple(mask),
                logprobs=tuple(logprobs),
                old_logprobs=() if on_policy else tuple(logprobs),
                advantages=(advantage,) * length,
                values=tuple(logprobs),
                returns=(advantage,) * length,
                origin=f"data row {number}",
            )
        )
    return found


def micro_batches(
    token_budget: int, row_tokens: int | None = None, *, on_policy: bool = False
) -> list[list[TrainSequence]]:
    known = sequences(on_policy=on_policy)
    (plan,) = plan_micro_batches([len(sequence.tokens) for sequence in known], 1, token_budget, row_tokens)
    return [[known[index] for index in places] for places in plan]


SIZE = BatchSize.of(sequences())


def engine(
    folder: Path, *, total_steps: int = 4, head: Head = "language", keep_reference: bool = False, **config: Any
) -> LearnerEngine:
    """From the checkpoint that `base` wrote."""
    return LearnerEngine(
        LearnerConfig(**{"lr": 1e-3, **config}),
        total_steps=total_steps,
        seed=0,
        model=str(folder / "base"),
        head=head,
        keep_reference=keep_reference,
    )


def weights(learner: LearnerEngine) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in learner.named_weights()}


def step(
    learner: LearnerEngine, loss: Loss = CROSS_ENTROPY, token_budget: int = 40, *, on_policy: bool = False
) -> UpdateStats:
    return learner.update(micro_batches(token_budget, on_policy=on_policy), loss, SIZE)


def base(folder: Path) -> None:
    """The checkpoint that the others start from: fresh weights, trained a little so that nothing is near zero."""
    learner = LearnerEngine(LearnerConfig(lr=1e-2), total_steps=4, seed=0, architecture=LLAMA)
    for _ in range(3):
        step(learner)
    learner.save_model(folder / "base")


def splits(folder: Path) -> list[dict[str, Any]]:
    found = []
    for name, loss in (("sft", CROSS_ENTROPY), ("off-policy", POLICY), ("on-policy", POLICY), ("value", VALUE)):
        for budget in (1000, 40, 1):
            learner = engine(folder, head="value" if name == "value" else "language")
            stats = step(learner, loss, budget, on_policy=name == "on-policy")
            split = len(micro_batches(budget))
            found.append({"loss": name, "split": split, "stats": stats, "weights": weights(learner)})
    return found


PACKED_MODELS = {
    f"{family} {attention}": {**LLAMA, "model_type": family, "attn_implementation": attention, "initializer_range": 0.2}
    for family in ("llama", "qwen2")
    for attention in ("sdpa", "eager")
}


def packed(folder: Path) -> dict[str, Any]:
    """For each model and loss: (pack_tokens, stats of one step, logprobs by sequence, number of rows)."""
    found: dict[str, Any] = {}
    for name, architecture in PACKED_MODELS.items():
        for loss in (CROSS_ENTROPY, POLICY):
            # 16: a sequence of 19 is longer than a row. 100: all nine in one row.
            for pack_tokens in (None, 16, 32, 100):
                config = LearnerConfig(lr=1e-3, pack_tokens=pack_tokens)
                learner = LearnerEngine(config, total_steps=4, seed=0, architecture=architecture)
                batches = micro_batches(64, pack_tokens)
                ordered = [sequence for micro_batch in batches for sequence in micro_batch]
                logprobs = dict(zip((s.tokens for s in ordered), learner.score(batches), strict=True))
                num_rows = sum(len(fill_rows([len(s.tokens) for s in batch], pack_tokens)) for batch in batches)
                stats = learner.update(batches, loss, SIZE)
                found.setdefault(f"{name} {type(loss).__name__}", []).append((pack_tokens, stats, logprobs, num_rows))
    return found


def unpackable(folder: Path) -> dict[str, str]:
    """Models whose attention, or state, or positions do not begin again."""
    size = {"vocab_size": 32, "hidden_size": 32}
    models = [
        {"model_type": "mamba", **size, "num_hidden_layers": 2, "state_size": 4},
        {"model_type": "falcon", **size, "num_hidden_layers": 2, "num_attention_heads": 2},
        {"model_type": "opt", **size, "num_hidden_layers": 1, "ffn_dim": 48, "num_attention_heads": 2,
         "max_position_embeddings": 64, "word_embed_proj_dim": 32},
        {**GPT2},
    ]  # fmt: skip
    config = LearnerConfig(lr=1e-3, pack_tokens=64)
    return {
        str(keys["model_type"]): _error(lambda k=keys: LearnerEngine(config, total_steps=4, seed=0, architecture=k))
        for keys in models
    }


def greedy(folder: Path) -> Any:
    prompts = [(1, 5, 9), (4,), (3, 8, 12, 30, 7)]
    learner = engine(folder, pack_tokens=16)
    return {"prompts": prompts, "found": learner.continue_greedily(prompts, 6)}


def empty_micro_batch(folder: Path) -> list[dict[str, Any]]:
    """What a rank with fewer micro-batches gets."""
    found = []
    for extra in ([], [[]]):
        learner = engine(folder)
        stats = learner.update([*micro_batches(40), *extra], CROSS_ENTROPY, SIZE)
        found.append({"stats": stats, "weights": weights(learner)})
    return found


def training(folder: Path) -> dict[str, Any]:
    """Three steps with weight decay, and a norm that clips."""
    learner = engine(folder, weight_decay=0.1, max_grad_norm=0.05, lr=1e-2)
    stats = [step(learner) for _ in range(3)]
    return {"stats": stats, "weights": weights(learner)}


def schedule(folder: Path) -> dict[str, Any]:
    """All learning rates where three of nine updates are never made, and how far any weight moved in the first one."""
    learner = engine(folder, total_steps=9, lr=1e-2, warmup_steps=2, lr_schedule="linear", min_lr_ratio=0.1)
    learner.skip_updates(2)
    before = weights(learner)
    lrs = [step(learner).lr]
    moved = max((weight - before[name]).abs().max().item() for name, weight in weights(learner).items())
    learner.skip_updates(1)
    return {"lrs": [*lrs, *(step(learner).lr for _ in range(5))], "moved": moved}


BROKEN: dict[str, tuple[Loss, Head, dict[str, Any]]] = {
    "sft": (CROSS_ENTROPY, "language", {}),
    "sft, ZeRO 2": (CROSS_ENTROPY, "language", {"zero_stage": 2}),
    "sft, ZeRO 3": (CROSS_ENTROPY, "language", {"zero_stage": 3}),
    "sft, bfloat16, ZeRO 2": (CROSS_ENTROPY, "language", {"dtype": "bfloat16", "zero_stage": 2}),
    "rl": (POLICY, "language", {}),
    "critic": (VALUE, "value", {}),
    "reward model": (PreferenceLoss(), "score", {}),
    "dpo": (PreferenceLoss(beta=0.1), "language", {}),
}


def broken(folder: Path) -> dict[str, list[UpdateStats]]:
    """Two steps of each at a learning rate that no model survives."""
    found = {}
    size = replace(SIZE, num_groups=3)
    for name, (loss, head, keys) in BROKEN.items():
        learner = engine(folder, head=head, **{"lr": 1e18, **keys})
        ranked = [
            replace(one, group=number // 3, place=1 + number % 3, reference_logprobs=one.logprobs)
            for number, one in enumerate(sequences())
        ]
        if head == "score":
            ranked = [replace(one, mask=(0,) * (len(one.mask) - 1) + (1,)) for one in ranked]
        batches = [ranked[start : start + 3] for start in (0, 3, 6)]
        found[name] = [learner.update(batches, loss, size) for _ in range(2)]
    return found


def poisoned(folder: Path) -> dict[str, tuple[float, UpdateStats]]:
    """With LoRA, whole and in shards: the largest weight before and in a step after one weight was made NaN."""
    found = {}
    for zero_stage in (0, 3):
        learner = engine(folder, lora={"rank": 2}, zero_stage=zero_stage)
        before = learner._largest_weight()
        trained: Any = learner._trainable()[0][1]
        (trained.ds_tensor if zero_stage == 3 else trained.data).view(-1)[0] = torch.nan
        found[f"ZeRO {zero_stage}"] = before, step(learner)
    return found


def extremes(folder: Path) -> dict[str, Any]:
    """Batches with one sequence that breaks them, of which each is a micro-batch; and one that is masked throughout."""
    found: dict[str, Any] = {}
    learner = engine(folder, zero_stage=1)  # there DeepSpeed skips such a step, so that one learner serves for all
    for name, advantage in (("nan", float("nan")), ("infinite", float("inf")), ("1e30", 1e30), ("1e308", 1e308)):
        batches = [[one] for one in sequences()]
        batches[3] = [replace(batches[3][0], advantages=(advantage,) * len(batches[3][0].tokens))]
        found[name] = learner.update(batches, POLICY, SIZE)
    masked = [[replace(one, mask=(0,) * len(one.mask)) for one in sequences()]]
    size = BatchSize.of(masked[0])
    found["masked"] = [_error(lambda of=of: learner.update(masked, of, size)) for of in (POLICY, CROSS_ENTROPY)]
    return found


def broken_file(folder: Path) -> str:
    """A checkpoint with one weight that is NaN."""
    learner = engine(folder)
    with torch.no_grad():
        next(iter(learner.engine.module.parameters()))[0, 0] = torch.nan
    learner.save_model(folder / "broken")
    return _error(lambda: LearnerEngine(LearnerConfig(lr=1e-3), total_steps=4, seed=0, model=str(folder / "broken")))


def policy(folder: Path) -> dict[str, Any]:
    """Statistics, and the logprobs that they are about."""
    learner = engine(folder)
    return {"logprobs": learner.score(micro_batches(40), "policy", 0.7), "stats": step(learner, POLICY)}


def on_policy(folder: Path) -> UpdateStats:
    return step(engine(folder), POLICY, on_policy=True)


def penalty(folder: Path) -> dict[float, list[UpdateStats]]:
    """Two steps for each coefficient of the KL penalty."""
    found = {}
    for coefficient in (0.0, 0.5, 5.0):
        learner = engine(folder, keep_reference=coefficient > 0, max_grad_norm=1e9)
        loss = replace(POLICY, kl="k2", kl_coef=coefficient)
        found[coefficient] = [
            learner.update(with_reference(learner) if coefficient else micro_batches(40, on_policy=True), loss, SIZE)
            for _ in range(2)
        ]
    return found


def with_reference(learner: LearnerEngine) -> list[list[TrainSequence]]:
    """On-policy, with the reference's logprobs."""
    batches = micro_batches(40, on_policy=True)
    scores = iter(learner.score(batches, "reference", POLICY.temperature))
    found = []
    for batch in batches:
        columns = [(s, iter(next(scores))) for s in batch]
        found.append(
            [
                replace(s, reference_logprobs=(0.0, *(next(score) if trained else 0.0 for trained in s.mask[1:])))
                for s, score in columns
            ]
        )
    return found


def refreshed(folder: Path) -> dict[str, Any]:
    """What policy and reference say: at the start, after a step, after a refresh, and in a learner that was resumed."""
    learner, batches = engine(folder, keep_reference=True), micro_batches(40)
    found = {"start": [learner.score(batches, "policy"), learner.score(batches, "reference")]}
    step(learner)
    found["apart"] = [learner.score(batches, "policy"), learner.score(batches, "reference")]
    learner.refresh_reference()
    found["refreshed"] = [learner.score(batches, "policy"), learner.score(batches, "reference")]
    (folder / "refreshed").mkdir()
    step(learner)
    learner.save_checkpoint(folder / "refreshed")
    other = engine(folder, keep_reference=True)
    other.load_checkpoint(folder / "refreshed")
    found["resumed"] = [other.score(batches, "policy"), other.score(batches, "reference")]
    found["saved"] = [learner.score(batches, "policy"), learner.score(batches, "reference")]
    return found


def critic(folder: Path) -> dict[str, Any]:
    """Values, the loss that they make, which parameters moved, and the values after some steps."""
    learner, batches = engine(folder, head="value", lr=1e-2), micro_batches(40)
    before, values = weights(learner), learner.score(batches, "value")
    stats = [step(learner, replace(VALUE, clip=None)) for _ in range(10)]
    moved = [name for name, weight in weights(learner).items() if not weight.equal(before[name])]
    return {"values": values, "stats": stats, "moved": moved, "names": list(before)}


def saved(folder: Path) -> dict[str, Any]:
    """A trained model, untied and tied, and tied in shards, written to a folder."""
    found = {}
    for name, zero_stage in (("plain", 0), ("tied", 0), ("tied-shards", 3)):
        architecture = {**LLAMA, "tie_word_embeddings": name != "plain"}
        config = LearnerConfig(lr=1e-2, zero_stage=zero_stage)
        learner = LearnerEngine(config, total_steps=4, seed=0, architecture=architecture)
        step(learner)
        path = folder / f"saved-{name}"
        learner.save_model(path)
        found[str(path)] = learner.score(micro_batches(40))
    return found


def unused_parameter(folder: Path) -> str:
    """GPT-2's cross attention has parameters, and nothing to attend to."""
    architecture = {**GPT2, "add_cross_attention": True}
    learner = LearnerEngine(LearnerConfig(lr=1e-3), total_steps=4, seed=0, architecture=architecture)
    return _error(lambda: step(learner))


def short_first_step(folder: Path) -> tuple[list[list[str]], str]:
    """The parameters that are waited for after steps of 1e-8 and 1e-3; the error at 1e-8 where some never move."""
    learner = LearnerEngine(LearnerConfig(lr=1e-8), total_steps=4, seed=0, architecture=LLAMA)
    waiting = []
    for lr in (1e-8, 1e-3):
        learner.config = learner.config.model_copy(update={"lr": lr})
        step(learner)
        waiting.append(list(learner._unmoved))
    architecture = {**GPT2, "add_cross_attention": True}
    other = LearnerEngine(LearnerConfig(lr=1e-8), total_steps=4, seed=0, architecture=architecture)
    return waiting, _error(lambda: step(other))


def checkpointing(folder: Path) -> dict[bool, int]:
    """Forward passes begun by a layer in one micro-batch of an update: 2 where activations are computed again."""
    found = {}
    for wanted in (False, True):
        learner = engine(folder, gradient_checkpointing=wanted)
        calls: list[int] = []
        learner.engine.module.model.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        step(learner, token_budget=1000)
        found[wanted] = len(calls)
    return found


def _resumable(**changes: Any) -> LearnerEngine:
    """With dropout, so that the random state matters as well."""
    config = LearnerConfig(lr=1e-2, warmup_steps=1, lr_schedule="cosine", **changes)
    architecture = {**GPT2, "resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3}
    return LearnerEngine(config, total_steps=5, seed=0, architecture=architecture)


def uninterrupted(folder: Path) -> dict[str, Any]:
    learner = _resumable()
    learner.skip_updates(1)
    stats = [step(learner) for _ in range(4)]
    return {"stats": stats, "weights": weights(learner)}


def stopped(folder: Path) -> list[UpdateStats]:
    """Logprobs are asked for between the steps, which draws from dropout's random numbers and must not show."""
    learner = _resumable()
    learner.skip_updates(1)
    stats = [(step(learner), learner.score(micro_batches(40)))[0] for _ in range(2)]
    (folder / "checkpoint[1]").mkdir()
    learner.save_checkpoint(folder / "checkpoint[1]")
    return stats


def resumed(folder: Path) -> dict[str, Any]:
    learner = _resumable()
    learner.load_checkpoint(folder / "checkpoint[1]")
    start = learner.step
    stats = [step(learner) for _ in range(2)]
    return {"start": start, "stats": stats, "weights": weights(learner)}


def other_layout(folder: Path) -> list[str]:
    learners = [_resumable(zero_stage=1), _resumable(dtype="bfloat16")]
    return [_error(lambda one=one: one.load_checkpoint(folder / "checkpoint[1]")) for one in learners]


class Command:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def hostile(folder: Path) -> dict[str, Any]:
    """What is said of checkpoints in which one file would run a command, and whether one ran."""
    errors, marker = {}, folder / "marker"
    for name, changes in {
        "ZeRO 0": {},
        "ZeRO 1, LoRA": {"zero_stage": 1, "lora": {"rank": 2}},
        "ZeRO 2, bfloat16": {"zero_stage": 2, "dtype": "bfloat16"},
        "ZeRO 3": {"zero_stage": 3},
    }.items():
        learner, path = _resumable(**changes), folder / name
        step(learner)
        path.mkdir()
        learner.save_checkpoint(path)
        learner.load_checkpoint(path)
        for file in (*path.glob("learner/*.pt"), path / "random-rank0.json"):
            own = file.read_bytes()
            torch.save({"module": Command(marker)}, file)
            errors[f"{name} {file.name}"] = _error(lambda path=path, of=learner: of.load_checkpoint(path))
            file.write_bytes(own)
    return {"errors": errors, "ran": marker.exists(), "set": os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")}


def full_disk(folder: Path) -> str:
    """A path that cannot be written to, since a file is in its way."""
    (folder / "file").write_text("")
    return _error(lambda: engine(folder).save_checkpoint(folder / "file" / "checkpoint"))


def _error(call: Any) -> str:
    try:
        call()
    except (RunError, UserError) as error:
        return str(error)
    return "no error"


def main(folder: Path, port: str, names: list[str]) -> None:
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    for name in names:
        try:
            found: Any = globals()[name](folder)
        except Exception as error:
            found = error
        torch.save(found, folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
