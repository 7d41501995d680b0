"""The learner engine: a Hugging Face causal language model under DeepSpeed ZeRO 0-3.

One engine for pretraining, SFT, the RL policy and its critic; they differ in head, loss and data. A process group
(RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) must be in the environment before it is made.

Notation: B = rows of a micro-batch, T = padded tokens, N = trained tokens, V = vocabulary.

Rows are padded on the right and attention is causal, so that no attention mask is needed: a padded position comes
after every real one and is not in the loss. Where sequences share a row (`pack_tokens`), positions begin again with
each, and from that transformers makes attention stay inside it; a model for which this is not so is refused.
Does not: offload to CPU or disk yet.
"""

import json
import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlreason.algorithms.losses import token_logprobs
from rlreason.algorithms.schedule import lr_at
from rlreason.config.learner import LearnerConfig
from rlreason.data.batch import fill_rows
from rlreason.engines import _compat
from rlreason.engines.learner_setup import (
    adamw,
    adapt,
    build_module,
    clips_itself,
    deepspeed_config,
    random_states,
    restore_random_states,
    writing,
)
from rlreason.engines.lora import adapter_config, adapter_weights, merged_weights, without_adapter, write_adapter
from rlreason.engines.objective import (
    Sums,
    policy_objective,
    preference_objective,
    value_objective,
)
from rlreason.types import (
    BatchSize,
    CrossEntropyLoss,
    Head,
    Loss,
    PolicyLoss,
    PreferenceLoss,
    RunError,
    Scored,
    TrainSequence,
    UpdateStats,
    UserError,
    ValueLoss,
)

REFERENCE = "reference.safetensors"


class LearnerEngine:
    """Example: engine = LearnerEngine(LearnerConfig(lr=1e-4), model="path", total_steps=10, seed=0)"""

    def __init__(
        self,
        config: LearnerConfig,
        *,
        total_steps: int,
        seed: int,
        model: str | None = None,
        architecture: dict[str, Any] | None = None,
        head: Head = "language",
        keep_reference: bool = False,
    ) -> None:
        """`model` is a checkpoint; or `architecture` describes one to be made from scratch.

        `head`: next-token logits, or one value a position, from fresh weights, for a critic. `keep_reference` holds a
        copy of the starting weights, whole on every rank, for a KL penalty; with LoRA the frozen weights serve.
        """
        import deepspeed

        self.config = config
        self.total_steps = total_steps
        self.step = 0
        self._skipped = 0
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        torch.manual_seed(seed)
        random.seed(seed)
        _compat.skip_native_cpu_collectives()
        _compat.listen_where_told()
        deepspeed.init_distributed(dist_backend="nccl" if config.gpus else "gloo", verbose=False)
        module = build_module(config.dtype, model, architecture, head)
        if config.lora is not None:
            adapt(module, config.lora, head)
        if config.gradient_checkpointing:
            module.gradient_checkpointing_enable()  # type: ignore[operator]
        optimizer = adamw(module, config)
        self._grad_norm: float | None = None
        if clips_itself(config):
            optimizer.register_step_pre_hook(lambda *_: self._clip(module))
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(config, self.world_size)
        )
        self.device = self.engine.device
        self._head = head
        self._gather = partial(deepspeed.zero.GatheredParameters, enabled=config.zero_stage == 3)
        self._start = lambda: (
            build_module(config.dtype, model, architecture).eval().requires_grad_(False).to(self.device)
        )
        self._reference = self._start() if keep_reference and config.lora is None else None
        self._is_refreshed = False
        # bfloat16 may round a right first step away, and stage 3 holds shards: the check is for the other cases.
        checked = config.dtype == "float32" and config.zero_stage < 3
        self._unmoved = {name: p.detach().clone() for name, p in self._trainable()} if checked else {}
        if config.pack_tokens is not None:
            self._require_packing(config.pack_tokens)

    def update(self, micro_batches: list[list[TrainSequence]], loss: Loss, size: BatchSize) -> UpdateStats:
        """One optimizer step over this rank's micro-batches.

        `size` is that of the whole batch, all ranks: losses are divided by it, so neither the split into micro-batches
        nor the number of ranks changes the update. Numbers that are not finite are reported, not raised: ranks that
        stop at different places would wait for each other. RunError for a batch without a trained token.
        """
        if not size.num_tokens:
            raise RunError("this batch has no token to train on: every one is masked")
        total, sums, num_tokens = torch.zeros((), device=self.device, dtype=torch.float64), Sums(), 0
        losses: list[Tensor] = []
        lr = lr_at(
            self.step,
            peak=self.config.lr,
            total_steps=self.total_steps - self._skipped,
            warmup_steps=self.config.warmup_steps,
            shape=self.config.lr_schedule,
            min_ratio=self.config.min_lr_ratio,
            decay_share=self.config.decay_share,
        )
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        for micro_batch in micro_batches:
            value, parts = self._loss(micro_batch, loss, size)
            num_tokens += sum(sequence.num_trained_tokens for sequence in micro_batch)
            # DeepSpeed averages gradients over ranks; the loss is a share of a global sum.
            self.engine.backward(value * self.world_size, scale_wrt_gas=False)
            total += value.detach()
            losses.append(value.detach())
            sums |= {key: sums.get(key, 0.0) + part.double() for key, part in parts.items()}
        self.engine.step()
        self.step += 1
        found = self._grad_norm if clips_itself(self.config) else self.engine.get_global_grad_norm()
        norm = float(found or 0.0)
        norm = norm if norm >= 0 else math.inf  # DeepSpeed's -1 stands for NaN and infinity; it skips such a step
        if norm and math.isfinite(norm) and self._unmoved:
            self._require_moved(lr)
        is_finite = torch.stack(losses).isfinite().tolist() if losses else []
        return UpdateStats(
            loss=float(total),
            sums={key: float(part) for key, part in sums.items()},
            num_tokens=num_tokens,
            grad_norm=norm,
            lr=lr,
            largest_weight=self._largest_weight(),
            suspects=tuple(
                sequence.origin
                for micro_batch, is_good in zip(micro_batches, is_finite, strict=True)
                for sequence in micro_batch
                if not is_good
            ),
        )

    @torch.no_grad()
    def score(
        self, micro_batches: list[list[TrainSequence]], what: Scored = "policy", temperature: float = 1.0
    ) -> list[list[float]]:
        """Of the masked tokens of each sequence, in the order given. Every rank must call it alike. Leaves the random
        state as it was.
        """
        found: list[list[float]] = []
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for micro_batch in micro_batches:
                if what == "value":
                    scores = self._values(micro_batch).tolist()
                else:
                    with self._as_reference() if what == "reference" else nullcontext(self.engine) as module:
                        scores = self._logprobs(module, micro_batch, temperature).tolist()
                for sequence in micro_batch:
                    count = sequence.num_trained_tokens
                    found.append(scores[:count])
                    scores = scores[count:]
        return found

    def skip_updates(self, count: int) -> None:
        """Planned updates that are not made, since there was nothing to train on: the learning rate's schedule gets
        shorter by them, so that it ends at the last update that is.
        """
        self._skipped += count

    @torch.no_grad()
    def refresh_reference(self) -> None:
        """The reference becomes the present weights; with LoRA a copy is kept from now on. Every rank must call it."""
        self._reference = self._kept_reference()
        of_reference = dict(self._reference.named_parameters())
        for name, weight in self.named_weights():
            of_reference[name].copy_(weight)
        self._is_refreshed = True

    @torch.no_grad()
    def continue_greedily(self, prompts: list[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
        """The `num_tokens` likeliest tokens after each prompt, one at a time and without a cache: for a look at a
        few. Every rank must call it alike.
        """
        rows = [list(prompt) for prompt in prompts]
        for _ in range(num_tokens):
            micro_batch = [TrainSequence(tokens=tuple(row), mask=(0,) * len(row)) for row in rows]
            tokens_BT, _, _ = self._rows(micro_batch, None)
            logits_BTV = self.engine(input_ids=tokens_BT, use_cache=False).logits
            for row, logits_TV in zip(rows, logits_BTV, strict=True):
                row.append(int(logits_TV[len(row) - 1].argmax()))
        return [tuple(row[len(prompt) :]) for row, prompt in zip(rows, prompts, strict=True)]

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All parameters by their Hugging Face names, whole, LoRA merged, one at a time. Every rank must iterate."""
        return merged_weights(self.engine.module, self._gather)

    def adapter(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The weights of LoRA, and what goes into adapter_config.json. Every rank must call it."""
        return adapter_weights(self.engine.module, self._gather), adapter_config(self.engine.module)

    def save_model(self, path: Path) -> None:
        """A Hugging Face checkpoint (safetensors), with LoRA merged and the adapter beside it in adapter/; written by
        rank 0. Every rank must call it.
        """
        state = {
            name: weight.to("cpu", copy=True) if self.rank == 0 else weight for name, weight in self.named_weights()
        }
        if self.rank == 0:
            with writing(path):
                self.engine.module.save_pretrained(path, state_dict=state, safe_serialization=True)
        if self.config.lora is not None:
            tensors, config = self.adapter()
            if self.rank == 0:
                with writing(path):
                    write_adapter(path / "adapter", tensors, config)

    def save_checkpoint(self, path: Path) -> None:
        """Everything to resume this rank from: parameters, with LoRA those that are trained, optimizer, random states,
        step. Every rank must call it.
        """
        with writing(path):
            with _compat.no_frozen_names(self.engine.module) if self._is_adapted else nullcontext():
                self.engine.save_checkpoint(
                    str(path),
                    tag="learner",
                    client_state={"step": self.step, "skipped": self._skipped},
                    exclude_frozen_parameters=self._is_adapted,
                )
            self._random_file(path).write_text(random_states())
            if self.rank == 0:
                if self._reference is not None and self._is_refreshed:
                    save_file(dict(self._reference.named_parameters()), path / REFERENCE)
                (path / "learner.json").write_text(json.dumps(self._layout()))

    def load_checkpoint(self, path: Path) -> None:
        """Raises RunError where the checkpoint is of another number of ranks, ZeRO stage, dtype or LoRA, or would run
        code.
        """
        saved, mine = json.loads((path / "learner.json").read_text()), self._layout()
        if differ := [f"{key} {saved.get(key)}, now {mine[key]}" for key in mine if saved.get(key) != mine[key]]:
            raise RunError(f"checkpoint {path} was made with learner {'; '.join(differ)}; resume with the same")
        with _compat.without_wildcards(str(path)) as folder, _compat.no_code_in_checkpoints(path):
            _, client_state = self.engine.load_checkpoint(
                folder, tag="learner", load_module_strict=not self._is_adapted
            )
        self.step, self._skipped = client_state["step"], client_state["skipped"]
        self._is_refreshed = (path / REFERENCE).exists()
        if self._is_refreshed and (self._is_adapted or self._reference is not None):
            self._reference = self._kept_reference()
            self._reference.load_state_dict(load_file(path / REFERENCE), strict=False)
        restore_random_states(self._random_file(path))

    def _random_file(self, path: Path) -> Path:
        return path / f"random-rank{self.rank}.json"

    def _layout(self) -> dict[str, Any]:
        """What a checkpoint's shards depend on."""
        lora = self.config.lora and self.config.lora.model_dump(exclude={"send"})
        return {
            "world_size": self.world_size,
            "zero_stage": self.config.zero_stage,
            "dtype": self.config.dtype,
            "lora": lora,
        }

    @property
    def _is_adapted(self) -> bool:
        return self.config.lora is not None

    def _kept_reference(self) -> torch.nn.Module:
        """The copy that is the reference. With LoRA there is none before it is first asked for."""
        if self._reference is None and self._is_adapted:
            return self._start()
        assert self._reference is not None, "no reference is kept"
        return self._reference

    @contextmanager
    def _as_reference(self) -> Iterator[Callable[..., Any]]:
        """What the reference's logprobs are asked of."""
        if self._reference is None and self._is_adapted:
            with without_adapter(self.engine.module):
                yield self.engine
        else:
            yield self._kept_reference()

    def _loss(self, micro_batch: list[TrainSequence], loss: Loss, size: BatchSize) -> tuple[Tensor, Sums]:
        """The micro-batch's share of the loss, and its sums for UpdateStats: see `update`."""
        match loss:
            case CrossEntropyLoss():
                return -self._logprobs(self.engine, micro_batch, 1.0).sum() / size.num_tokens, {}
            case PolicyLoss():
                logits_NV, target_N = self._forward(self.engine, micro_batch)
                logprob_N, entropy_N = token_logprobs(
                    logits_NV, target_N, loss.temperature, entropy_gradient=loss.entropy_coef > 0
                )
                return policy_objective(loss, logprob_N, entropy_N, micro_batch, size)
            case ValueLoss():
                return value_objective(loss, self._values(micro_batch), micro_batch, size)
            case PreferenceLoss():
                said_N = (
                    self._values(micro_batch) if loss.beta is None else self._logprobs(self.engine, micro_batch, 1.0)
                )
                return preference_objective(loss, said_N, micro_batch, size)

    def _values(self, micro_batch: list[TrainSequence]) -> Tensor:
        """value_N of the text before each trained token."""
        value_N1, _ = self._forward(self.engine, micro_batch)
        return value_N1.squeeze(-1).float()

    def _logprobs(self, module: Callable[..., Any], micro_batch: list[TrainSequence], temperature: float) -> Tensor:
        """logprob_N of the trained tokens. Cheaper than with entropies, which take several passes over [N, V]."""
        logits_NV, target_N = self._forward(module, micro_batch)
        return -F.cross_entropy(logits_NV.float() / temperature, target_N, reduction="none")

    def _forward(self, module: Callable[..., Any], micro_batch: list[TrainSequence]) -> tuple[Tensor, Tensor]:
        """logits_NV (of a critic value_N1) and target_N of the trained tokens.

        Empty, but with a gradient, for an empty micro-batch.
        """
        tokens_BT, positions_BT, mask_BT = self._rows(micro_batch, self.config.pack_tokens)
        # Without packing the positions are the usual ones, and attention takes its fast causal path.
        positions = {} if self.config.pack_tokens is None else {"position_ids": positions_BT}
        logits_BTV = module(input_ids=tokens_BT, use_cache=False, **positions).logits
        predicts_BT = mask_BT[:, 1:]
        return logits_BTV[:, :-1][predicts_BT], tokens_BT[:, 1:][predicts_BT]

    def _rows(self, micro_batch: list[TrainSequence], pack_tokens: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """tokens_BT, positions_BT and mask_BT. The first token of a sequence is never in the mask: what stands before
        it in the row is another sequence.
        """
        lengths = [len(sequence.tokens) for sequence in micro_batch]
        rows = fill_rows(lengths, pack_tokens)
        width = max((sum(lengths[index] for index in row) for row in rows), default=2)
        tokens_BT = torch.zeros(max(1, len(rows)), width, dtype=torch.long)
        # Padding is at position 0 throughout, so that each padded token is a sequence of its own.
        positions_BT, mask_BT = torch.zeros_like(tokens_BT), torch.zeros_like(tokens_BT, dtype=torch.bool)
        for number, row in enumerate(rows):
            start = 0
            for index in row:
                stop = start + lengths[index]
                tokens_BT[number, start:stop] = torch.from_numpy(np.array(micro_batch[index].tokens, np.int64))
                positions_BT[number, start:stop] = torch.arange(lengths[index])
                mask_BT[number, start + 1 : stop] = torch.from_numpy(np.array(micro_batch[index].mask[1:], bool))
                start = stop
        return tokens_BT.to(self.device), positions_BT.to(self.device), mask_BT.to(self.device)

    def _require_packing(self, pack_tokens: int) -> None:
        """Raises UserError where a sequence that shares a row is nearer to one that goes on with the other's text
        than to itself alone.
        """
        length = min(8, pack_tokens // 2)
        if length < 2:
            return
        first, second = (
            TrainSequence(tokens=tuple(range(start, start + length)), mask=(1,) * length) for start in (1, 1 + length)
        )
        joined = TrainSequence(tokens=(*first.tokens, *second.tokens), mask=(0,) * (length + 1) + (1,) * (length - 1))
        packed, alone, mixed = (
            torch.tensor(self.score([micro_batch], "policy" if self._head == "language" else "value")[-1])
            for micro_batch in ([first, second], [second], [joined])
        )
        if (packed - alone).abs().mean() > 1e-5 + 0.1 * (mixed - alone).abs().mean():
            name = self.engine.module.config.model_type
            raise UserError(
                f"learner.pack_tokens: in a model of type `{name}` sequences that share a row see one another; "
                "take pack_tokens out"
            )

    def _trainable(self) -> list[tuple[str, Tensor]]:
        return [(name, p) for name, p in self.engine.module.named_parameters() if p.requires_grad]

    @torch.no_grad()
    def _largest_weight(self) -> float:
        """The largest absolute value among the trained weights that this rank holds; NaN where one of them is."""
        trained: list[Any] = [p for _, p in self._trainable()]
        weights = [p.data for p in trained]
        if self.config.zero_stage == 3:
            # The shards are padded, with whatever was in memory, to one length on all ranks.
            weights = [p.ds_tensor[: max(0, p.ds_numel - self.rank * p.ds_tensor.numel())] for p in trained]
        return float(torch.nn.utils.get_total_norm([w for w in weights if w.numel()], norm_type=math.inf))

    def _require_moved(self, lr: float) -> None:
        """A parameter that silently never trains is a bug of the set-up, not of the data. One whose numbers lie further
        apart than the step is long (1.0 at the beginning of a warm-up) waits for a longer step, and a LoRA matrix A,
        which has no gradient while its B is zero, for the step after B's first.
        """
        before = self._unmoved
        self._unmoved = {
            name: before[name] for name, p in self._trainable() if name in before and p.equal(before[name])
        }
        spacing = torch.finfo(torch.float32).eps
        waiting = {name.replace(".lora_B.", ".lora_A.") for name in before if ".lora_B." in name}
        still = [
            name for name, value in self._unmoved.items() if lr > spacing * value.abs().min() and name not in waiting
        ]
        if still:
            raise RunError(f"{len(still)} parameters did not move in step {self.step}, {still[0]} among them")

    def _clip(self, module: torch.nn.Module) -> None:
        self._grad_norm = float(torch.nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm))
