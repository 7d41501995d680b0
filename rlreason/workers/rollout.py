"""The rollout worker: one vLLM engine in a Ray process. It turns tasks into samples."""

import hashlib
import json
from collections.abc import Sequence
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from rlreason.algorithms.guard import distinct_2
from rlreason.config.schema import RolloutConfig
from rlreason.processes import let_be_read
from rlreason.types import EVALUATION, PromptTask, Sample, TokenArrays
from rlreason.workers.weight_sync import bucket_file

if TYPE_CHECKING:
    from rlreason.engines.rollout import Completion


def request_seed(run_seed: int, version: int, task_id: str, index: int, turn: int = 0) -> int:
    """The seed of one request: the same whichever engine serves it, in whatever order, resumed or not."""
    text = f"{run_seed}/{version}/{task_id.removeprefix(EVALUATION)}/{index}/{turn}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class RolloutWorker:
    """Ray actor (asynchronous: groups run side by side). Call `start` first."""

    async def start(self, model: str, config: RolloutConfig, dtype: str, seed: int, adapter_rank: int | None) -> None:
        from rlreason.data.chat import load_tokenizer, stop_ids
        from rlreason.engines.rollout import RolloutEngine

        let_be_read()
        self._config, self._seed = config, seed
        self._tokenizer = load_tokenizer(model)
        self._stop_ids = stop_ids(model, self._tokenizer)
        self._engine = RolloutEngine(model, config, dtype=dtype, seed=seed, adapter_rank=adapter_rank)

    async def generate(
        self, prompts: list[PromptTask], temperatures: list[float], max_tokens: int
    ) -> tuple[list[list[Sample]], TokenArrays]:
        """A group of samples for each task, one at each of `temperatures`, and the arrays of all, group after group."""
        from rlreason.engines.rollout import Request

        version = self._engine.version
        requests = [
            Request(
                prompt=prompt.tokens,
                seed=request_seed(self._seed, version, prompt.task.id, index),
                temperature=temperature,
                max_tokens=max_tokens,
            )
            for prompt in prompts
            for index, temperature in enumerate(temperatures)
        ]
        completions = await self._engine.generate(requests, self._stop_ids)
        asked = [(prompt, index) for prompt in prompts for index in range(len(temperatures))]
        samples = iter(
            [
                self._sample(prompt, index, version, completion, row)
                for row, ((prompt, index), completion) in enumerate(zip(asked, completions, strict=True))
            ]
        )
        groups = [list(islice(samples, len(temperatures))) for _ in prompts]
        return groups, token_arrays([(prompt.tokens, one) for (prompt, _), one in zip(asked, completions, strict=True)])

    async def distinct_2(self, rows: list[tuple[int, int]], *chunks: TokenArrays) -> float:
        """`algorithms.guard.distinct_2` of the responses at `rows`: number of the chunk, row in it."""
        written = []
        for chunk, row in rows:
            tokens, mask, _ = chunks[chunk].row(row)
            written.append(tokens[mask].tolist())
        return distinct_2(written)

    async def prompt_logprobs(self, tokens: tuple[int, ...]) -> list[float]:
        return await self._engine.prompt_logprobs(tokens)

    async def init_weight_transfer(self, init_info: dict[str, Any]) -> None:
        await self._engine.init_weight_transfer(init_info)

    async def start_weight_update(self) -> None:
        await self._engine.start_weight_update()

    async def load_bucket(self, bucket: np.ndarray) -> None:
        with bucket_file(bucket, "weights.safetensors") as path:
            await self._engine.update_weights({"path": str(path)})

    async def load_adapter(self, bucket: np.ndarray, config: dict[str, Any]) -> None:
        """A LoRA adapter; `config` is its adapter_config.json."""
        with bucket_file(bucket, "adapter_model.safetensors") as path:
            path.with_name("adapter_config.json").write_text(json.dumps(config))
            await self._engine.load_adapter(path.parent)

    async def update_weights(self, update_info: dict[str, Any]) -> None:
        await self._engine.update_weights(update_info)

    async def finish_weight_update(self, version: int) -> None:
        await self._engine.finish_weight_update(version)

    async def shutdown(self) -> None:
        self._engine.shutdown()

    def _sample(self, prompt: PromptTask, index: int, version: int, completion: "Completion", row: int) -> Sample:
        text_tokens = list(completion.tokens)
        if text_tokens and text_tokens[-1] in self._stop_ids:
            text_tokens.pop()
        return Sample(
            task_id=prompt.task.id,
            index=index,
            policy_version=version,
            prompt=prompt.text,
            response=self._tokenizer.decode(text_tokens, skip_special_tokens=True),
            num_prompt_tokens=len(prompt.tokens),
            num_response_tokens=len(completion.tokens),
            finish_reason=completion.finish_reason,
            row=row,
        )


def token_arrays(written: "Sequence[tuple[Sequence[int], Completion]]") -> TokenArrays:
    """The arrays of completions, each with the ids of its prompt."""
    lengths = [(len(prompt), len(completion.tokens)) for prompt, completion in written]
    return TokenArrays(
        tokens=np.fromiter(chain.from_iterable(chain(prompt, one.tokens) for prompt, one in written), np.int32),
        mask=np.repeat(np.tile([False, True], len(lengths)), np.ravel(lengths)),
        logprobs=np.fromiter(
            chain.from_iterable(chain(repeat(0.0, len(prompt)), one.logprobs) for prompt, one in written), np.float32
        ),
        starts=np.concatenate([[0], np.cumsum(np.sum(lengths, axis=1))]),
    )
