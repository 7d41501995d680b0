"""Keys as other trainers call them (TRL, verl, OpenRLHF, LLaMA-Factory, transformers, peft), and ours for each.

For hints alone: a foreign key is an error. Several of ours stand where stages differ; the first that the stage has is
named.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_BATCH = ("prompts_per_step", "rows_per_step", "tokens_per_step")
_CONTEXT = ("context_tokens", "rollout.max_context_tokens")
_RESPONSE = ("rollout.max_response_tokens",)
_DATA = ("tasks", "data")
_KL = ("algorithm.kl.coef", "beta")

KEYS: dict[str, tuple[str, ...]] = {
    # size of the batch and of the group
    "num_generations": ("samples_per_prompt",),
    "rollout.n": ("samples_per_prompt",),
    "n_samples_per_prompt": ("samples_per_prompt",),
    "group_size": ("samples_per_prompt",),
    "generation_batch_size": _BATCH,
    "per_device_train_batch_size": _BATCH,
    "train_batch_size": _BATCH,
    "rollout_batch_size": _BATCH,
    "batch_size": _BATCH,
    "micro_train_batch_size": ("learner.micro_batch_tokens",),
    "ppo_micro_batch_size_per_gpu": ("learner.micro_batch_tokens",),
    "gradient_accumulation_steps": ("learner.micro_batch_tokens",),
    "ppo_mini_batch_size": ("algorithm.minibatches",),
    "num_mini_batches": ("algorithm.minibatches",),
    "num_iterations": ("algorithm.epochs",),
    "ppo_epochs": ("algorithm.epochs",),
    "num_ppo_epochs": ("algorithm.epochs",),
    # length of the run
    "num_train_epochs": ("steps",),
    "num_epochs": ("steps",),
    "total_epochs": ("steps",),
    "max_epochs": ("steps",),
    "num_episodes": ("steps",),
    "max_steps": ("steps",),
    "total_training_steps": ("steps",),
    # lengths of text
    "max_completion_length": _RESPONSE,
    "max_response_length": _RESPONSE,
    "max_new_tokens": _RESPONSE,
    "generate_max_len": _RESPONSE,
    "max_tokens": _RESPONSE,
    "response_length": _RESPONSE,
    "max_prompt_length": ("rollout.max_context_tokens", "context_tokens"),
    "prompt_max_len": ("rollout.max_context_tokens", "context_tokens"),
    "max_model_len": ("rollout.max_context_tokens",),
    "vllm_max_model_length": ("rollout.max_context_tokens",),
    "max_length": _CONTEXT,
    "max_len": _CONTEXT,
    "max_seq_length": _CONTEXT,
    "max_seq_len": _CONTEXT,
    "cutoff_len": _CONTEXT,
    "block_size": _CONTEXT,
    # the learner
    "learning_rate": ("learner.lr",),
    "actor_learning_rate": ("learner.lr",),
    "optim.lr": ("learner.lr",),
    "critic.optim.lr": ("critic.lr",),
    "critic_learning_rate": ("critic.lr",),
    "lr_scheduler_type": ("learner.lr_schedule",),
    "lr_scheduler": ("learner.lr_schedule",),
    "lr_warmup_steps": ("learner.warmup_steps",),
    "warmup_ratio": ("learner.warmup_steps",),
    "lr_warmup_ratio": ("learner.warmup_steps",),
    "min_lr": ("learner.min_lr_ratio",),
    "adam_beta1": ("learner.betas",),
    "adam_beta2": ("learner.betas",),
    "adam_betas": ("learner.betas",),
    "grad_clip": ("learner.max_grad_norm",),
    "clip_grad": ("learner.max_grad_norm",),
    "max_norm": ("learner.max_grad_norm",),
    "deepspeed": ("learner.zero_stage",),
    "bf16": ("learner.dtype",),
    "torch_dtype": ("learner.dtype", "dtype"),
    "param_dtype": ("learner.dtype",),
    "packing": ("learner.pack_tokens",),
    "enable_gradient_checkpointing": ("learner.gradient_checkpointing",),
    "r": ("learner.lora.rank",),
    "lora_r": ("learner.lora.rank",),
    "lora_rank": ("learner.lora.rank",),
    "lora_alpha": ("learner.lora.alpha",),
    "target_modules": ("learner.lora.targets",),
    "lora_target": ("learner.lora.targets",),
    "lora_target_modules": ("learner.lora.targets",),
    "use_peft": ("learner.lora",),
    "peft_config": ("learner.lora",),
    # the algorithm
    "beta": _KL,
    "kl_coef": _KL,
    "kl_loss_coef": _KL,
    "init_kl_coef": _KL,
    "kl_ctrl.kl_coef": _KL,
    "use_kl_loss": ("algorithm.kl",),
    "kl_estimator": ("algorithm.kl.estimator",),
    "kl_loss_type": ("algorithm.kl.estimator",),
    "kl_target": ("algorithm.kl.target",),
    "adv_estimator": ("algorithm.advantage",),
    "advantage_estimator": ("algorithm.advantage",),
    "scale_rewards": ("algorithm.normalize_std",),
    "norm_adv_by_std_in_grpo": ("algorithm.normalize_std",),
    "loss_type": ("algorithm.loss", "loss"),
    "policy_loss": ("algorithm.loss",),
    "loss_agg_mode": ("algorithm.aggregation",),
    "epsilon": ("algorithm.clip_low",),
    "epsilon_low": ("algorithm.clip_low",),
    "epsilon_high": ("algorithm.clip_high",),
    "cliprange": ("algorithm.clip_low",),
    "clip_range": ("algorithm.clip_low",),
    "clip_ratio": ("algorithm.clip_low",),
    "clip_ratio_low": ("algorithm.clip_low",),
    "clip_ratio_high": ("algorithm.clip_high",),
    "clip_ratio_c": ("algorithm.dual_clip",),
    "eps_clip": ("algorithm.clip_low",),
    "eps_clip_low_high": ("algorithm.clip_high",),
    "delta": ("algorithm.dual_clip",),
    "cliprange_value": ("algorithm.value_clip",),
    "vf_clip": ("algorithm.value_clip",),
    "critic_warmup": ("algorithm.critic_warmup_steps",),
    "lambd": ("algorithm.lam",),
    "gae_lambda": ("algorithm.lam",),
    "entropy_coeff": ("algorithm.entropy_coef",),
    "ent_coef": ("algorithm.entropy_coef",),
    "mask_truncated_completions": ("algorithm.mask_truncated",),
    "filter_groups": ("algorithm.dynamic_sampling",),
    "overlong_buffer": ("algorithm.overlong",),
    # model, data and rewards
    "model_name": ("model",),
    "model_path": ("model",),
    "model_name_or_path": ("model",),
    "base_model": ("model",),
    "pretrain": ("model",),
    "dataset": _DATA,
    "dataset_name": _DATA,
    "train_dataset": _DATA,
    "train_files": _DATA,
    "prompt_data": _DATA,
    "eval_dataset": ("eval.tasks", "held_out"),
    "val_files": ("eval.tasks", "held_out"),
    "reward_funcs": ("rewards",),
    "reward_function": ("rewards",),
    "reward": ("rewards",),
    "reward_model": ("rewards",),
    "reward_pretrain": ("rewards",),
    "remote_rm_url": ("rewards",),
    "custom_reward_function": ("rewards",),
    "reward_weights": ("rewards",),
    "data_path": ("path",),
    "dataset_path": ("path",),
    "input_key": ("prompt_column",),
    "prompt_key": ("prompt_column",),
    "label_key": ("answer_column",),
    "answer_key": ("answer_column",),
    "input_template": ("template",),
    "system_prompt": ("system",),
    # the engines
    "temperature": ("rollout.temperature", "eval.temperature"),
    "vllm_gpu_memory_utilization": ("rollout.gpu_memory_utilization",),
    "tensor_model_parallel_size": ("rollout.tensor_parallel",),
    "tensor_parallel_size": ("rollout.tensor_parallel",),
    "vllm_tensor_parallel_size": ("rollout.tensor_parallel",),
    "vllm_num_engines": ("rollout.workers",),
    "num_workers": ("learner.workers",),
    "n_gpus_per_node": ("learner.gpus",),
    "num_gpus": ("learner.gpus", "rollout.gpus"),
    "num_cpus": ("cpus", "learner.cpus"),
    "max_num_seqs": ("rollout.max_concurrent",),
    "stop_sequences": ("rollout.stop",),
    "vllm_sync_backend": ("rollout.weight_sync",),
    # the run
    "save_steps": ("checkpoints.every",),
    "save_freq": ("checkpoints.every",),
    "save_total_limit": ("checkpoints.keep",),
    "max_ckpt_num": ("checkpoints.keep",),
    "eval_steps": ("eval.every",),
    "test_freq": ("eval.every",),
    "report_to": ("loggers",),
    "logger": ("loggers",),
    "use_wandb": ("loggers",),
    "wandb": ("loggers",),
}

STAGES = {
    "pt": "pretrain",
    "pretraining": "pretrain",
    "finetune": "sft",
    "rm": "reward_model",
    "reward": "reward_model",
    "eval": "evaluate",
    "evaluation": "evaluate",
    "train": "rl",
    "rlvr": "rl",
    "rlhf": "rl",
}


def ours(key: str) -> tuple[str, ...]:
    """Our keys for the dotted `key`, by its longest ending that is known; () where none is."""
    parts = key.split(".")
    endings = (".".join(parts[start:]) for start in range(len(parts)))
    return next((KEYS[ending] for ending in endings if ending in KEYS), ())


def leaves(value: Any, key: str) -> Iterator[str]:
    """Dotted keys of what is no mapping, below the section `key`."""
    if not isinstance(value, Mapping) or not value:
        yield key
        return
    for name, child in value.items():
        yield from leaves(child, f"{key}.{name}")
