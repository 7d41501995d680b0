"""`rlreason plan`: what would run where, and what fits. Starts no worker and no Ray.

Memory is an estimate from parameter counts: weights, gradients and AdamW's states of a learner worker after ZeRO
sharding, with the copies that it keeps; weights and cache of an engine. Activations are not in it.
"""

from pathlib import Path
from typing import Any

from rlreason.config.corpus import CorpusConfig, TokenizerConfig
from rlreason.config.schema import EvaluateConfig, LearnerConfig, ModelStage, PretrainConfig, RLConfig, SFTConfig
from rlreason.data.corpus.clean import active_rules
from rlreason.stages.lineage import references
from rlreason.stages.recipe import Step, load_steps

BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30


def describe(path: Path, overrides: list[str]) -> str:
    """The plan of a stage or recipe as text."""
    sizes: dict[str, int | None] = {}
    vocabularies: dict[str, int] = {}
    blocks = []
    for step in load_steps(path, overrides):
        if isinstance(step.config, TokenizerConfig):
            vocabularies[step.name] = step.config.vocab_size
        if isinstance(step.config, CorpusConfig | TokenizerConfig):
            blocks.append(_data_plan(step))
            continue
        num = sizes[step.name] = _num_parameters(step.config, sizes, vocabularies)
        blocks.append(_stage_plan(step, step.config, num))
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


def _stage_plan(step: Step, config: ModelStage, num_parameters: int | None) -> str:
    size = (
        f"{num_parameters:,} parameters"
        if num_parameters is not None
        else "parameters unknown until the model is there"
    )
    lines = [f"{step.name}: {config.stage} of {config.model or 'a new model'}, {size}"]
    if not isinstance(config, EvaluateConfig):
        keep_reference = isinstance(config, RLConfig) and config.algorithm.kl_coef > 0
        memory = learner_bytes(num_parameters, config.learner, keep_reference=keep_reference)
        lines.append(_workers("learner", config.learner, memory))
        lines.append(
            f"  {config.steps} steps, ZeRO {config.learner.zero_stage}, {config.learner.dtype}, "
            f"lr {config.learner.lr:g}"
        )
    asks = isinstance(config, SFTConfig) and config.knowledge is not None
    if isinstance(config, RLConfig) or config.eval is not None or asks:
        lines.append(_workers("rollout", config.rollout, engine_bytes(num_parameters, config)))
        lines.append(_workers("reward", config.reward_workers, None))
    if isinstance(config, RLConfig):
        batch = config.prompts_per_step * config.samples_per_prompt
        lines.append(
            f"  {config.prompts_per_step} prompts x {config.samples_per_prompt} samples = {batch} a step, "
            f"{config.algorithm.minibatches} update(s), staleness up to {config.max_staleness}, "
            f"weights by {config.rollout.weight_sync}"
        )
    for reward in config.rewards:
        lines.append(f"  reward {reward.name}: {reward.path} x {reward.weight:g}")
    if config.eval is not None:
        lines.append(f"  evaluation: {', '.join(config.eval.tasks)}")
    return "\n".join(lines)


def _workers(kind: str, config: Any, memory_bytes: float | None) -> str:
    where = f"{config.gpus:g} GPU" if config.gpus else f"{config.cpus:g} CPU"
    memory = "" if memory_bytes is None else f", about {memory_bytes / GIB:.2f} GiB each before activations"
    return f"  {kind}: {config.workers} worker(s) x {where}{memory}"


def learner_bytes(num_parameters: int | None, config: LearnerConfig, *, keep_reference: bool) -> float | None:
    """Weights, gradients and optimizer state of one worker (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1),
    and the engine's whole copies: the reference, and in float32 below stage 3 the weights before the first step.
    """
    if num_parameters is None:
        return None
    weight = BYTES[config.dtype]
    # AdamW's two moments in float32, and a float32 master copy where the weights are not float32.
    state = 8 if config.dtype == "float32" else 12
    shards = config.workers
    per_parameter = (
        weight / (shards if config.zero_stage >= 3 else 1)
        + weight / (shards if config.zero_stage >= 2 else 1)
        + state / (shards if config.zero_stage >= 1 else 1)
    )
    num_copies = keep_reference + (config.dtype == "float32" and config.zero_stage < 3)
    return num_parameters * (per_parameter + weight * num_copies)


def engine_bytes(num_parameters: int | None, config: ModelStage) -> float | None:
    if num_parameters is None or config.rollout.gpus:
        return None  # On a GPU the engine takes `gpu_memory_utilization` of it, whatever the model.
    return num_parameters * BYTES[config.dtype] + config.rollout.kv_cache_gib * GIB


def _num_parameters(config: ModelStage, sizes: dict[str, int | None], vocabularies: dict[str, int]) -> int | None:
    """Counted on the meta device, without memory; None for a model that is not on this machine."""
    named = references(config)
    if "model" in named:
        return sizes.get(named["model"])
    if config.model is not None and not Path(config.model).is_dir():
        return None
    import torch
    from transformers import AutoModelForCausalLM

    from rlreason.engines.learner_setup import describe

    architecture = None
    if isinstance(config, PretrainConfig) and config.architecture is not None:
        vocabulary = vocabularies.get(named.get("tokenizer", ""))
        if "vocab_size" not in config.architecture and vocabulary is None:
            return None
        architecture = {"vocab_size": -(-(vocabulary or 0) // 64) * 64, **config.architecture}
    described = describe(config.model, architecture)
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(described).parameters())
