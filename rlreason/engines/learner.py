"""The learner engine: a Hugging Face causal language model under DeepSpeed ZeRO 0-3.

One engine for pretraining, SFT and the RL policy; they differ in the loss's name and the data. A process group
(RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) must be in the environment before it is made.

Notation: B = rows of a micro-batch, T = padded tokens, N = trained tokens, V = vocabulary.

Rows are padded on the right and attention is causal, so that no attention mask is needed: a padded position comes
after every real one and is not in the loss. Where sequences share a row (`pack_tokens`), positions begin again with
each, and from that transformers makes attention stay inside it; a model for which this is not so is refused.
Does not: offload to CPU or disk yet.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rlreason.algorithms import kl
from rlreason.algorithms.losses import clipped_policy_gradient, cross_entropy, token_logprobs
from rlreason.algorithms.schedule import lr_at
from rlreason.config.schema import LearnerConfig
from rlreason.data.batch import fill_rows
from rlreason.engines import _compat
from rlreason.engines.learner_setup import (
    adamw,
    build_module,
    clips_itself,
    deepspeed_config,
    flat,
    random_states,
    restore_random_states,
    writing,
)
from rlreason.types import LossSpec, RunError, TrainSequence, UpdateStats, UserError


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
        keep_reference: bool = False,
    ) -> None:
        """`model` is a checkpoint; or `architecture` describes one to be made from scratch.

        `keep_reference` holds a frozen copy of the starting weights, whole on every rank, for a KL penalty.
        """
        import deepspeed

        self.config = config
        self.total_steps = total_steps
        self.step = 0
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        torch.manual_seed(seed)
        random.seed(seed)
        _compat.skip_native_cpu_collectives()
        deepspeed.init_distributed(dist_backend="nccl" if config.gpus else "gloo", verbose=False)
        module = build_module(config, model, architecture)
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
        self._reference: torch.nn.Module | None = None
        if keep_reference:
            self._reference = build_module(config, model, architecture).eval().requires_grad_(False).to(self.device)
        # bfloat16 may round a right first step away, and stage 3 holds shards: the check is for the other cases.
        checked = config.dtype == "float32" and config.zero_stage < 3
        self._unmoved = {name: p.detach().clone() for name, p in self._trainable()} if checked else {}
        if config.pack_tokens is not None:
            self._require_packing(config.pack_tokens)

    def update(self, micro_batches: list[list[TrainSequence]], loss: LossSpec, num_trained_tokens: int) -> UpdateStats:
        """One optimizer step over this rank's micro-batches.

        `num_trained_tokens` counts the whole batch, all ranks: every loss is divided by it, so neither the
        split into micro-batches nor the number of ranks changes the update.
        """
        sums, num_tokens = torch.zeros(6, dtype=torch.float64), 0
        lr = lr_at(
            self.step,
            peak=self.config.lr,
            total_steps=self.total_steps,
            warmup_steps=self.config.warmup_steps,
            shape=self.config.lr_schedule,
            min_ratio=self.config.min_lr_ratio,
            decay_share=self.config.decay_share,
        )
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        for micro_batch in micro_batches:
            value, parts = self._loss(micro_batch, loss, num_trained_tokens)
            num_tokens += sum(sequence.num_trained_tokens for sequence in micro_batch)
            # DeepSpeed averages gradients over ranks; the loss is a share of a global sum.
            self.engine.backward(value * self.world_size, scale_wrt_gas=False)
            sums += parts
        self.engine.step()
        self.step += 1
        norm = self._grad_norm if clips_itself(self.config) else self.engine.get_global_grad_norm()
        if norm and self._unmoved:
            self._require_moved(lr)
        total, entropy, gap, mismatch, clipped, divergence = sums.tolist()
        return UpdateStats(
            loss=total,
            entropy=None if loss.name == "cross_entropy" else entropy,
            logprob_gap=gap,
            mismatch_kl=mismatch,
            num_clipped=clipped,
            kl=divergence if loss.kl_coef else None,
            num_tokens=num_tokens,
            grad_norm=float(norm or 0.0),
            lr=lr,
        )

    @torch.no_grad()
    def logprobs(self, micro_batches: list[list[TrainSequence]], temperature: float = 1.0) -> list[list[float]]:
        """Logprobs of the masked tokens of each sequence, in nats, in the order given."""
        found: list[list[float]] = []
        for micro_batch in micro_batches:
            logprobs = self._logprobs(self.engine, micro_batch, temperature).tolist()
            for sequence in micro_batch:
                count = sequence.num_trained_tokens
                found.append(logprobs[:count])
                logprobs = logprobs[count:]
        return found

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
        """All parameters by their Hugging Face names, whole, one at a time. Every rank must iterate."""
        import deepspeed

        for name, parameter in self.engine.module.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter], enabled=self.config.zero_stage == 3):
                yield name, parameter.detach()

    def save_model(self, path: Path) -> None:
        """A Hugging Face checkpoint (safetensors), written by rank 0. Every rank must call it."""
        state = {
            name: weight.to("cpu", copy=True) if self.rank == 0 else weight for name, weight in self.named_weights()
        }
        if self.rank == 0:
            with writing(path):
                self.engine.module.save_pretrained(path, state_dict=state, safe_serialization=True)

    def save_checkpoint(self, path: Path) -> None:
        """Everything to resume this rank from: parameters, optimizer, random states, step. Every rank must call it."""
        with writing(path):
            self.engine.save_checkpoint(str(path), tag="learner", client_state={"step": self.step})
            torch.save(random_states(), path / f"random-rank{self.rank}.pt")
            if self.rank == 0:
                (path / "learner.json").write_text(json.dumps(self._layout()))

    def load_checkpoint(self, path: Path) -> None:
        """Raises RunError where the checkpoint is of another number of ranks, ZeRO stage or dtype."""
        saved, mine = json.loads((path / "learner.json").read_text()), self._layout()
        if differ := [f"{key} {saved[key]}, now {mine[key]}" for key in mine if saved[key] != mine[key]]:
            raise RunError(f"checkpoint {path} was made with learner {'; '.join(differ)}; resume with the same")
        _, client_state = self.engine.load_checkpoint(str(path), tag="learner")
        self.step = client_state["step"]
        # Our own file, made by save_checkpoint above.
        restore_random_states(torch.load(path / f"random-rank{self.rank}.pt", weights_only=False))

    def _layout(self) -> dict[str, Any]:
        """What a checkpoint's shards depend on."""
        return {"world_size": self.world_size, "zero_stage": self.config.zero_stage, "dtype": self.config.dtype}

    def _loss(self, micro_batch: list[TrainSequence], loss: LossSpec, denominator: int) -> tuple[Tensor, Tensor]:
        """The micro-batch's share of the loss, and its sums for UpdateStats: see `update`."""
        if loss.name == "cross_entropy":
            logprob_N, entropy_N = self._logprobs(self.engine, micro_batch, loss.temperature), None
        else:
            logits_NV, target_N = self._forward(self.engine, micro_batch)
            logprob_N, entropy_N = token_logprobs(logits_NV, target_N, loss.temperature)
        current_N = logprob_N.detach()
        gap = mismatch = clipped = divergence = torch.zeros((), device=self.device)
        if entropy_N is None:
            value = cross_entropy(logprob_N, denominator)
        else:
            behaviour_N = flat(micro_batch, lambda s: s.logprobs, self.device)
            value, clipped = clipped_policy_gradient(
                logprob_N,
                current_N if loss.on_policy else behaviour_N,
                flat(micro_batch, lambda s: (s.advantage,) * len(s.tokens), self.device),
                clip_low=loss.clip_low,
                clip_high=loss.clip_high,
                denominator=denominator,
            )
            gap = (current_N - behaviour_N).abs().sum()
            mismatch = kl.k3(behaviour_N, current_N).sum()
        if loss.kl_coef:
            assert self._reference is not None
            with torch.no_grad():
                reference_N = self._logprobs(self._reference, micro_batch, loss.temperature)
            value = value + loss.kl_coef * kl.k2(logprob_N, reference_N).sum() / denominator
            divergence = kl.k3(current_N, reference_N).sum()
        entropy = gap if entropy_N is None else entropy_N.sum()
        sums = torch.stack([value.detach(), entropy, gap, mismatch, clipped.float(), divergence])
        return value, sums.double().cpu()

    def _logprobs(self, module: Callable[..., Any], micro_batch: list[TrainSequence], temperature: float) -> Tensor:
        """logprob_N of the trained tokens. Cheaper than with entropies, which take several passes over [N, V]."""
        logits_NV, target_N = self._forward(module, micro_batch)
        return -F.cross_entropy(logits_NV.float() / temperature, target_N, reduction="none")

    def _forward(self, module: Callable[..., Any], micro_batch: list[TrainSequence]) -> tuple[Tensor, Tensor]:
        """logits_NV and target_N of the trained tokens; empty, but with a gradient, for an empty micro-batch."""
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
                tokens_BT[number, start:stop] = torch.tensor(micro_batch[index].tokens)
                positions_BT[number, start:stop] = torch.arange(lengths[index])
                mask_BT[number, start + 1 : stop] = torch.tensor(micro_batch[index].mask[1:], dtype=torch.bool)
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
        joined = TrainSequence(tokens=first.tokens + second.tokens, mask=(0,) * (length + 1) + (1,) * (length - 1))
        packed, alone, mixed = (
            torch.tensor(self.logprobs([micro_batch])[-1]) for micro_batch in ([first, second], [second], [joined])
        )
        if (packed - alone).abs().mean() > 1e-5 + 0.1 * (mixed - alone).abs().mean():
            name = self.engine.module.config.model_type
            raise UserError(
                f"learner.pack_tokens: in a model of type `{name}` sequences that share a row see one another; "
                "take pack_tokens out"
            )

    def _trainable(self) -> list[tuple[str, Tensor]]:
        return [(name, p) for name, p in self.engine.module.named_parameters() if p.requires_grad]

    def _require_moved(self, lr: float) -> None:
        """A parameter that silently never trains is a bug of the set-up, not of the data. One whose numbers lie further
        apart than the step is long (1.0 at the beginning of a warm-up) waits for a longer step.
        """
        before = self._unmoved
        self._unmoved = {
            name: before[name] for name, p in self._trainable() if name in before and p.equal(before[name])
        }
        spacing = torch.finfo(torch.float32).eps
        still = [name for name, value in self._unmoved.items() if lr > spacing * value.abs().min()]
        if still:
            raise RunError(f"{len(still)} parameters did not move in step {self.step}, {still[0]} among them")

    def _clip(self, module: torch.nn.Module) -> None:
        self._grad_norm = float(torch.nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm))
