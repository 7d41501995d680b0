"""`rlreason plan`: what would run where, and what of it this machine or the model has no room for.

Starts no worker and no Ray. Where RAY_ADDRESS names a cluster nothing is compared with this machine.

Memory is an estimate from parameter counts: weights, gradients and AdamW's states of a learner worker after ZeRO
sharding, with the copies that it keeps; weights and cache of an engine. With LoRA only the adapter has gradients and
states. Activations are not in it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlreason.config.base import WorkerConfig
from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.learner import LearnerConfig, LoRAConfig
from rlreason.config.schema import DataStageConfig, DPOConfig, EvaluateConfig, ModelStage, PretrainConfig, RLConfig
from rlreason.data.corpus.clean import active_rules
from rlreason.recipes.recipe import Step, load_steps
from rlreason.running.lineage import PREFIX, references
from rlreason.running.placement import placed, within_model, worker_groups
from rlreason.types import UserError
from rlreason.workers.cluster import Machine, cores, require_fit, this_machine

BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30
NAMES = {"reward_workers": "reward", "scorers": "scorer"}
"""Workers are told of in the singular."""


def describe(path: Path, overrides: list[str], machine: Machine | None = None) -> str:
    """The plan of a stage or recipe as text. `machine`: where it would run; None: this one."""
    machine = machine or this_machine()
    architectures: dict[str, Any] = {}
    vocabularies: dict[str, int] = {}
    blocks, problems = [], []
    for step in load_steps(path, overrides):
        if isinstance(step.config, TokenizerConfig):
            vocabularies[step.name] = step.config.vocab_size
        if isinstance(step.config, CorpusConfig | TokenizerConfig):
            blocks.append(_data_plan(step))
            continue
        architecture = architectures[step.name] = _architecture(step.config, architectures, vocabularies)
        config: Any = step.config if machine is None else placed(step.config, machine.num_cpus)
        memory = _memory(config, architecture, architectures)
        blocks.append(_stage_plan(step, config, architecture, memory))
        problems += [f"{step.name}: {problem}" for problem in _misfits(config, architecture, memory, machine)]
    if machine is None:
        blocks.append(f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: that cluster was not asked what it has")
    else:
        blocks.append(f"this machine has {machine}")
    blocks[-1] += "".join(f"\n  does not fit: {problem}" for problem in problems)
    return "\n\n".join(blocks)


def _misfits(
    config: ModelStage, architecture: Any, memory: Mapping[str, float | None], machine: Machine | None
) -> Iterator[str]:
    """What of the stage has no room, on the machine or in the model's context; one line each."""
    from rlreason.engines.learner_setup import positions_of

    limit = None if architecture is None else positions_of(architecture)
    wanted = {"rollout.max_context_tokens": config.rollout.max_context_tokens}
    if isinstance(config, DataStageConfig):
        wanted["context_tokens"] = config.context_tokens
    for key, tokens in wanted.items():
        if limit is not None and tokens is not None and tokens > limit:
            yield f"{key}: {tokens} is more than the model's max_position_embeddings of {limit}"
    try:
        within_model(config, limit)
    except UserError as error:
        yield str(error)
    if machine is None:
        return
    for workers in worker_groups(config):
        try:
            require_fit(workers, num_cpus=machine.num_cpus, num_gpus=machine.num_gpus, where="this machine")
        except UserError as error:
            yield str(error)
        needs = {name: (memory.get(name) or 0.0) * one.workers for name, one in workers.items() if not one.gpus}
        if sum(needs.values()) > machine.memory_bytes:
            parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in needs.items() if size)
            yield (
                f"about {sum(needs.values()) / GIB:.1f} GiB of memory before activations ({parts}), this machine has "
                f"{machine.memory_bytes / GIB:.1f}; take a smaller model, `learner.lora`, or a higher zero_stage"
            )


def _data_plan(step: Step) -> str:
    config = step.config
    if isinstance(config, TokenizerConfig):
        return f"{step.name}: tokenizer of {config.vocab_size:,} tokens on {', '.join(config.data)}\n  in this process"
    assert isinstance(config, CorpusConfig)
    on = active_rules(config) + ["mask_pii"] * config.mask_pii + ["dedup"] * (config.dedup is not None)
    return (
        f"{step.name}: corpus of {', '.join(config.sources)}, extracted by {config.extractor}\n"
        f"  tasks: as many as fit x {config.cpus:g} CPU, on any number of nodes\n  rules: {', '.join(on)}"
    )


def _stage_plan(step: Step, config: ModelStage, architecture: Any, memory: Mapping[str, float | None]) -> str:
    size = (
        f"{count_parameters(architecture):,} parameters"
        if architecture is not None
        else "parameters unknown until the model is there"
    )
    lines = [f"{step.name}: {config.stage} of {config.model or 'a new model'}, {size}"]
    for workers in worker_groups(config):
        lines += [_workers(NAMES.get(key, key), one, memory.get(key)) for key, one in workers.items()]
    if not isinstance(config, EvaluateConfig):
        lora = config.learner.lora
        if lora is not None and architecture is not None:
            num_adapter = count_parameters(architecture, lora) - count_parameters(architecture)
            lines.append(f"  LoRA of rank {lora.rank}: {num_adapter:,} parameters are trained")
        lines.append(
            f"  {config.steps} steps, ZeRO {config.learner.zero_stage}, {config.learner.dtype}, "
            f"lr {config.learner.lr:g}"
        )
    if isinstance(config, RLConfig):
        batch = config.prompts_per_step * config.samples_per_prompt
        lines.append(
            f"  {config.prompts_per_step} prompts x {config.samples_per_prompt} samples = {batch} a step, "
            f"{config.algorithm.updates_per_step} update(s), staleness up to {config.max_staleness}, "
            f"{'weights' if config.adapter_rank is None else 'the adapter'} by {config.rollout.weight_sync}"
        )
    for reward in config.rewards:
        lines.append(f"  reward {reward.name}: {reward.path or reward.model} x {reward.weight:g}")
    if config.eval is not None:
        lines.append(f"  evaluation: {', '.join(config.eval.tasks)}")
    if isinstance(config, RLConfig) and config.guard is not None:
        reference = f"with{'' if config.wants_reference else 'out'} a reference model"
        lines.append(f"  guard: {config.guard.action}, by {config.guard.gold or 'drift alone'}, {reference}")
    return "\n".join(lines)


def _memory(config: ModelStage, architecture: Any, architectures: dict[str, Any]) -> dict[str, float | None]:
    """Bytes that each worker of a kind takes, by its key; None where that is not known."""
    num = None if architecture is None else count_parameters(architecture)
    found = {"rollout": engine_bytes(num, config), "scorers": _scorer_bytes(config, architectures)}
    if isinstance(config, EvaluateConfig) or num is None:
        return found
    kl = config.algorithm.kl if isinstance(config, RLConfig) else None
    # With LoRA the frozen weights are the reference, until it is refreshed.
    is_frozen = kl is None or kl.refresh_every is None
    has_reference = isinstance(config, DPOConfig) or (isinstance(config, RLConfig) and config.wants_reference)
    critic = config.critic if isinstance(config, RLConfig) else None
    for key, learner, keeps in (
        ("learner", config.learner, has_reference and not (config.learner.lora and is_frozen)),
        ("critic", critic, False),
    ):
        if learner is not None:
            num_adapter = None if learner.lora is None else count_parameters(architecture, learner.lora) - num
            found[key] = learner_bytes(num, learner, keep_reference=keeps, num_adapter=num_adapter)
    return found


def _workers(kind: str, config: WorkerConfig, memory_bytes: float | None) -> str:
    where = f"{config.gpus:g} GPU" if config.gpus else f"{cores(config):g} CPU"
    memory = "" if memory_bytes is None else f", about {memory_bytes / GIB:.2f} GiB each before activations"
    return f"  {kind}: {config.workers} worker(s) x {where}{memory}"


def learner_bytes(
    num_parameters: int, config: LearnerConfig, *, keep_reference: bool, num_adapter: int | None = None
) -> float:
    """Weights, gradients and optimizer state of one worker (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1),
    and the engine's whole copies: the reference, and in float32 below stage 3 what is trained before the first step.

    `num_adapter`: parameters of LoRA, which are trained in place of the `num_parameters`; None: there is no LoRA.
    """
    weight = BYTES[config.dtype]
    # AdamW's two moments in float32, and a float32 master copy where the weights are not float32.
    state = 8 if config.dtype == "float32" else 12
    shards = config.workers
    per_weight = weight / (shards if config.zero_stage >= 3 else 1)
    per_trained = weight / (shards if config.zero_stage >= 2 else 1) + state / (shards if config.zero_stage >= 1 else 1)
    if config.dtype == "float32" and config.zero_stage < 3:
        per_trained += weight
    num_trained = num_parameters if num_adapter is None else num_adapter
    num_weights = num_parameters + (num_adapter or 0)
    return num_weights * per_weight + num_trained * per_trained + keep_reference * num_parameters * weight


def engine_bytes(num_parameters: int | None, config: ModelStage) -> float | None:
    if num_parameters is None or config.rollout.gpus:
        return None  # On a GPU the engine takes `gpu_memory_utilization` of it, whatever the model.
    return num_parameters * BYTES[config.dtype] + config.rollout.kv_cache_gib * GIB


def _scorer_bytes(config: ModelStage, known: dict[str, Any]) -> float | None:
    """Of the reward models, all of which each scorer worker holds; None where one of them is not on this machine."""
    from rlreason.engines.learner_setup import describe

    total = 0.0
    for reward in config.rewards:
        if reward.model is not None:
            name, path = reward.model.removeprefix(PREFIX), Path(reward.model)
            architecture = (
                known.get(name) if name != reward.model else describe(str(path), None) if path.is_dir() else None
            )
            if architecture is None:
                return None
            total += count_parameters(architecture) * BYTES[config.scorers.dtype]
    return total


def count_parameters(architecture: Any, lora: LoRAConfig | None = None) -> int:
    """Of the model that a Hugging Face configuration describes, with the adapter if there is one; on the meta device,
    without memory. UserError where LoRA's targets are not in the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from rlreason.engines.learner_setup import adapt

    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(architecture, trust_remote_code=False)
        if lora is not None:
            adapt(module, lora, "language")
    return sum(parameter.numel() for parameter in module.parameters())


def _architecture(config: ModelStage, known: dict[str, Any], vocabularies: dict[str, int]) -> Any:
    """The Hugging Face configuration of the stage's model; None for a model that is not on this machine. `known` are
    those of the stages before.
    """
    named = references(config)
    if "model" in named:
        return known.get(named["model"])
    if config.model is not None and not Path(config.model).is_dir():
        return None
    from rlreason.engines.learner_setup import describe

    architecture = None
    if isinstance(config, PretrainConfig) and config.architecture is not None:
        vocabulary = vocabularies.get(named.get("tokenizer", ""))
        if "vocab_size" not in config.architecture and vocabulary is None:
            return None
        architecture = {"vocab_size": -(-(vocabulary or 0) // 64) * 64, **config.architecture}
    return describe(config.model, architecture)
