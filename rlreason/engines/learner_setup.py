"""The parts that the learner engine is set up from: model, optimizer, DeepSpeed's configuration, random states."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from rlreason.config.learner import LearnerConfig, LoRAConfig
from rlreason.data.chat import load_error
from rlreason.engines.lora import add_adapter
from rlreason.types import Head, RunError, UserError, first_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build_module(
    dtype: str, model: str | None, architecture: dict[str, Any] | None, head: Head = "language"
) -> torch.nn.Module:
    """The model from a checkpoint (safetensors only), or with fresh weights of the given architecture.

    In training mode, which gradient checkpointing asks for, with every dropout off: the engine has none either.
    """
    module = _load(DTYPES[dtype], model, architecture, head)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
        if isinstance(getattr(layer, "attention_dropout", None), float):
            layer.attention_dropout = 0.0  # type: ignore[assignment]
    return module.train()


def _load(dtype: torch.dtype, model: str | None, architecture: dict[str, Any] | None, head: Head) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    described = describe(model, architecture)
    kind: Any = AutoModelForCausalLM
    if head != "language":
        described.num_labels, kind = 1, _score_class(described)
    if model is None:
        build = partial(kind.from_config, trust_remote_code=False) if head == "language" else kind._from_config
        module: torch.nn.Module = build(described, dtype=dtype)
    else:
        keys: dict[str, Any] = {"config": described, "dtype": dtype, "use_safetensors": True}
        try:
            module, found = kind.from_pretrained(model, trust_remote_code=False, output_loading_info=True, **keys)
        except (OSError, ValueError, SafetensorError) as error:
            raise load_error(model, "cannot be loaded", error) from None
        missing = sorted(name for name in found["missing_keys"] if head == "language" or not name.startswith("score."))
        if missing:
            raise UserError(
                f"model `{model}`: cannot be loaded: its files lack {missing[0]}, as {type(module).__name__}"
            )
        broken = [name for name, parameter in module.named_parameters() if not parameter.isfinite().all()]
        if broken:
            raise UserError(
                f"model `{model}`: {len(broken)} of its weights are NaN or infinite, {broken[0]} among them: its "
                "training failed; take an earlier checkpoint"
            )
    return module if head == "language" else _at_every_token(module, has_bias=head == "value")


def _score_class(described: Any) -> Any:
    """A decoder with one number as its head: transformers' own class, or for a family that has none one like it."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_MAPPING, PreTrainedModel
    from transformers.modeling_layers import GenericForSequenceClassification

    if type(described) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(described)]
    if type(described) not in MODEL_MAPPING:
        raise UserError(f"a model of type {described.model_type} cannot have one number as its head; take another")
    decoder = MODEL_MAPPING[type(described)]
    # Of the classes that it is derived from the one next to the library's: the family's, which knows the names.
    family = next(base for base in decoder.__mro__ if PreTrainedModel in base.__bases__)
    name = f"{decoder.__name__.removesuffix('Model')}ForSequenceClassification"
    return type(name, (GenericForSequenceClassification, family), {"base_model_prefix": family.base_model_prefix})


def _at_every_token(module: Any, *, has_bias: bool) -> torch.nn.Module:
    """The head's number for each token. The library reads it at the last one alone, which it finds by the padding.

    `has_bias`: no difference of scores depends on it, but a critic's values do.
    """
    from transformers.modeling_outputs import TokenClassifierOutput

    head: Any = getattr(module, "score", None)
    if type(head) is not torch.nn.Linear:
        raise UserError(f"{type(module).__name__} has no linear head called `score`; take a decoder of another family")
    head.register_parameter("bias", torch.nn.Parameter(head.weight.new_zeros(1)) if has_bias else None)

    def forward(input_ids: torch.Tensor, **keys: Any) -> Any:
        return TokenClassifierOutput(logits=module.score(module.base_model(input_ids, **keys).last_hidden_state))

    module.forward = forward
    found: torch.nn.Module = module
    return found


def adapt(module: torch.nn.Module, lora: LoRAConfig, head: Head) -> None:
    """Puts the adapter in. A head that is not of the language model is fresh, and trained whole."""
    children = [name for name, child in module.named_children() if list(child.parameters())]
    whole = [name for name in children if name != module.base_model_prefix]
    add_adapter(
        module,
        rank=lora.rank,
        alpha=lora.alpha or 2 * lora.rank,
        targets=lora.targets,
        whole=() if head == "language" else whole,
    )


def describe(model: str | None, architecture: dict[str, Any] | None) -> Any:
    """The Hugging Face configuration of a checkpoint, or of an architecture's keys. UserError where there is none."""
    from transformers import AutoConfig

    if model is not None:
        try:
            return AutoConfig.from_pretrained(model, trust_remote_code=False)
        except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:  # the last: a file of other JSON
            raise load_error(model, "its config.json cannot be used", error) from None
    keys = dict(architecture or {})
    if "model_type" not in keys:
        raise UserError("architecture: no `model_type`; give one, such as llama")
    try:
        return AutoConfig.for_model(keys.pop("model_type"), **keys)
    except (KeyError, ValueError, TypeError) as error:
        # Of an unknown model_type the library lists all that it knows, a screenful.
        raise UserError(f"architecture: {first_line(error).partition(' Should contain')[0]}") from None


def num_positions(model: str | None, architecture: dict[str, Any] | None = None) -> int | None:
    """The longest context that the model is made for; None where it has no limit."""
    return positions_of(describe(model, architecture))


def positions_of(configuration: Any) -> int | None:
    """`num_positions` of a Hugging Face configuration."""
    described = configuration.get_text_config()
    limit: int | None = getattr(described, "max_position_embeddings", None)
    rope = getattr(described, "rope_parameters", None) or {}
    if limit is not None and rope.get("rope_type") in ("linear", "dynamic"):  # other kinds count the factor in
        limit = int(limit * rope["factor"])
    return limit


def adamw(module: torch.nn.Module, config: LearnerConfig) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only, not on norms and biases."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas)


def clips_itself(config: LearnerConfig) -> bool:
    """In float32 at stage 0 DeepSpeed keeps no norm when it clips; the engine does both then, after the reduction."""
    return config.zero_stage == 0 and config.dtype == "float32"


def deepspeed_config(config: LearnerConfig, world_size: int) -> dict[str, Any]:
    return {
        # Batches are built by token budget, outside; the caller decides when an accumulation ends.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0 if clips_itself(config) else config.max_grad_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "steps_per_print": 10**9,
    }


def random_states() -> str:
    """The states of Python's and torch's generators as JSON, for `restore_random_states`."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    states = [state.tolist() for state in (torch.get_rng_state(), *on_gpus)]
    return json.dumps({"python": random.getstate(), "torch": states[0], "cuda": states[1:]})


def restore_random_states(path: Path) -> None:
    """Raises RunError where the file is not one of `random_states`."""
    try:
        states = json.loads(path.read_text(encoding="utf-8"))
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers), gauss))
        on_cpu, *on_gpus = (torch.tensor(state, dtype=torch.uint8) for state in (states["torch"], *states["cuda"]))
        torch.set_rng_state(on_cpu)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RuntimeError) as error:
        raise RunError(f"{path}: holds no random states: {first_line(error)}; resume from another checkpoint") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failed write into one line. torch reports a full disk as RuntimeError, safetensors as its own."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(f"cannot write {path}: {first_line(error)}") from None
