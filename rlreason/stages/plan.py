"""`rlreason plan`: what would run where, and what fits. Starts no worker and no Ray.

Memory is an estimate from parameter counts: weights, gradients and AdamW's states of a learner worker after ZeRO
sharding, with the copies that it keeps; weights and cache of an engine. With LoRA only the adapter has gradients and
states. Activations are not in it.
"""

from pathlib import Path
from typing import Any

from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.learner import LearnerConfig, LoRAConfig
from rlreason.config.schema import DPOConfig, EvaluateConfig, ModelStage, PretrainConfig, RLConfig, SFTConfig
from rlreason.data.corpus.clean import active_rules
from rlreason.stages.lineage import PREFIX, references
from rlreason.stages.recipe import Step, load_steps

BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30


def describe(path: Path, overrides: list[str]) -> str:
    """The plan of a stage or recipe as text."""
    architectures: dict[str, Any] = {}
    vocabularies: dict[str, int] = {}
    blocks = []
    for step in load_steps(path, overrides):
        if isinstance(step.config, TokenizerConfig):
            vocabularies[step.name] = step.config.vocab_size
        if isinstance(step.config, CorpusConfig | TokenizerConfig):
            blocks.append(_data_plan(step))
            continue
        architectures[step.name] = _architecture(step.config, architectures, vocabularies)
        blocks.append(
            _stage_plan(step, step.config, architectures[step.name], _scorer_bytes(step.config, architectures))
        )
    return "\n\n".join(blocks)


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


def _stage_plan(step: Step, config: ModelStage, architecture: Any, scorer_bytes: float | None) -> str:
    num_parameters = None if architecture is None else count_parameters(architecture)
    size = (
        f"{num_parameters:,} parameters"
        if num_parameters is not None
        else "parameters unknown until the model is there"
    )
    lines = [f"{step.name}: {config.stage} of {config.model or 'a new model'}, {size}"]
    if not isinstance(config, EvaluateConfig):
        kl = config.algorithm.kl if isinstance(config, RLConfig) else None
        # With LoRA the frozen weights are the reference, until it is refreshed.
        is_frozen = kl is None or kl.refresh_every is None
        has_reference = isinstance(config, DPOConfig) or (isinstance(config, RLConfig) and config.wants_reference)
        keep_reference = has_reference and not (config.learner.lora and is_frozen)
        lines += _learner_plan("learner", config.learner, architecture, keep_reference=keep_reference)
        lines.append(
            f"  {config.steps} steps, ZeRO {config.learner.zero_stage}, {config.learner.dtype}, "
            f"lr {config.learner.lr:g}"
        )
    if isinstance(config, RLConfig) and config.critic is not None:
        lines += _learner_plan("critic", config.critic, architecture, keep_reference=False)
    asks = isinstance(config, SFTConfig) and config.knowledge is not None
    if isinstance(config, RLConfig) or config.eval is not None or asks:
        lines.append(_workers("rollout", config.rollout, engine_bytes(num_parameters, config)))
        lines.append(_workers("reward", config.reward_workers, None))
        if any(reward.model is not None for reward in config.rewards):
            lines.append(_workers("scorer", config.scorers, scorer_bytes))
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


def _learner_plan(kind: str, config: LearnerConfig, architecture: Any, *, keep_reference: bool) -> list[str]:
    """Where it runs, and with LoRA what is trained."""
    if architecture is None:
        return [_workers(kind, config, None)]
    num, num_adapter = count_parameters(architecture), None
    lines: list[str] = []
    if config.lora is not None:
        num_adapter = count_parameters(architecture, config.lora) - num
        lines.append(f"    LoRA of rank {config.lora.rank}: {num_adapter:,} parameters are trained")
    memory = learner_bytes(num, config, keep_reference=keep_reference, num_adapter=num_adapter)
    return [_workers(kind, config, memory), *lines]


def _workers(kind: str, config: Any, memory_bytes: float | None) -> str:
    where = f"{config.gpus:g} GPU" if config.gpus else f"{config.cpus:g} CPU"
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
        module = AutoModelForCausalLM.from_config(architecture)
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
