"""The rollout engine: vLLM's AsyncLLM behind a few typed methods.

Requests are token ids with a seed each, so that a sample depends on the weights and its seed alone, not on the
engine that serves it or on what runs beside it (bit for bit on CPU). Logprobs are those of the sampled
distribution. Every request carries the policy version as prefix-cache salt: a cache of old weights is never read.
Does not: tokenise chats, know tasks, or survive the death of vLLM's process.
"""

import asyncio
import itertools
import math
import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlreason.config.schema import RolloutConfig
from rlreason.engines._compat import without_wildcards
from rlreason.private import private_folder
from rlreason.types import RunError, UserError, first_line

_ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM 0.32 makes room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One response to write.

    Example: Request(prompt=(1, 5, 9), seed=7, temperature=1.0, max_tokens=64)
    """

    prompt: tuple[int, ...]
    seed: int
    temperature: float
    """0 is greedy."""
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the engine wrote."""

    tokens: tuple[int, ...]
    """End-of-sequence token included."""
    logprobs: tuple[float, ...]
    """One a token, in nats."""
    finish_reason: Literal["stop", "length"]


class RolloutEngine:
    """Example: engine = RolloutEngine("path", RolloutConfig(), dtype="float32", seed=0)"""

    def __init__(
        self, model: str, config: RolloutConfig, *, dtype: str, seed: int, adapter_rank: int | None = None
    ) -> None:
        """`adapter_rank`: of the LoRA adapters to come, in place of whole weights. Raises UserError, one line, where
        vLLM refuses the model or the settings.
        """
        self._sockets = ExitStack()
        sockets = {"VLLM_RPC_BASE_PATH": str(self._sockets.enter_context(private_folder()))}
        os.environ.update(_environment(config) | sockets)
        from vllm import AsyncEngineArgs
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.sampling_params import RequestOutputKind, SamplingParams
        from vllm.v1.engine.async_llm import AsyncLLM

        on_cpu = not config.gpus
        arguments: dict[str, Any] = {} if on_cpu else {"gpu_memory_utilization": config.gpu_memory_utilization}
        if adapter_rank is not None:
            room = min(rank for rank in _ADAPTER_RANKS if rank >= adapter_rank)
            arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}
        try:
            with without_wildcards(model) as folder:
                self._llm = AsyncLLM.from_engine_args(
                    AsyncEngineArgs(
                        model=folder,
                        trust_remote_code=False,
                        dtype=dtype,
                        seed=seed,
                        max_model_len=config.context_tokens,
                        max_num_seqs=config.max_concurrent,
                        tensor_parallel_size=config.tensor_parallel,
                        # torch.compile starts slower and runs no faster on CPU.
                        enforce_eager=on_cpu,
                        # vLLM 0.32, CPU: the generator of a seeded request that is prefilled in parts cannot step back.
                        enable_chunked_prefill=not on_cpu,
                        max_num_batched_tokens=max(8192, config.context_tokens),
                        distributed_executor_backend="uni" if config.tensor_parallel == 1 else "mp",
                        logprobs_mode="processed_logprobs",
                        generation_config="vllm",
                        weight_transfer_config=WeightTransferConfig(backend=config.weight_sync),
                        disable_log_stats=True,
                        **arguments,
                    )
                )
        except ValueError as error:
            # pydantic's errors are a list of lines; the reason is marked.
            reason = re.search(r"Value error, (.*?)(?: \[type=|$)", str(error), re.MULTILINE)
            said = reason[1] if reason else first_line(error)
            raise UserError(f"model `{model}`: vLLM cannot run it so: {said}") from None
        self._sampling = SamplingParams
        self._final_only, self._delta = RequestOutputKind.FINAL_ONLY, RequestOutputKind.DELTA
        self._stop = list(config.stop)
        self._ids = itertools.count()
        self._running = 0
        self._paused = False
        self._takes_adapters = adapter_rank is not None
        self._adapter: Any = None  # vLLM's LoRARequest; of the model itself before the first has come
        self.version = 0

    async def generate(self, requests: list[Request], stop_ids: list[int]) -> list[Completion]:
        """Completions in the order of the requests. All run at the same time."""
        return await asyncio.gather(*[self._one(request, stop_ids) for request in requests])

    async def stream(
        self, request: Request, stop_ids: list[int]
    ) -> AsyncGenerator[tuple[str, Literal["stop", "length"] | None], None]:
        """Pieces of the response's text as they are written, special tokens included, with the last one's finish
        reason. Closing the iterator, or cancelling what awaits it, ends the request.
        """
        params = self._sampling(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            stop_token_ids=stop_ids,
            skip_special_tokens=False,
            output_kind=self._delta,
        )
        async with aclosing(self._outputs(request.prompt, params)) as outputs:
            async for output in outputs:
                piece = output.outputs[0]
                reason: Any = piece.finish_reason
                yield piece.text, reason if reason in (None, "length") else "stop"

    async def prompt_logprobs(self, tokens: tuple[int, ...]) -> list[float]:
        """Logprobs of tokens[1:] given what comes before each, at temperature 1, in nats."""
        params = self._sampling(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        output = await self._run(tokens, params)
        return [found[token].logprob for token, found in zip(tokens[1:], output.prompt_logprobs[1:], strict=True)]

    async def init_weight_transfer(self, init_info: dict[str, Any]) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info))

    async def start_weight_update(self) -> None:
        """Requests under way are frozen, not dropped, until `finish_weight_update`."""
        self._paused = self._running > 0
        if self._paused:
            await self._llm.pause_generation(mode="keep", clear_cache=False)
        if not self._takes_adapters:
            with _death_in_one_line():
                await self._llm.start_weight_update()

    async def update_weights(self, update_info: dict[str, Any]) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        with _death_in_one_line():
            await self._llm.update_weights(WeightTransferUpdateRequest(update_info=update_info))

    async def load_adapter(self, path: Path) -> None:
        """From a folder, which may then go. Requests that are frozen go on with it. RunError where vLLM refuses it."""
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.exceptions import EngineDeadError

        # One name and id throughout: requests that run under an id would be lost with it.
        request = LoRARequest("policy", 1, str(path), load_inplace=True)
        with _death_in_one_line():
            # Across processes vLLM's reason comes as a bare Exception.
            done: Any = (await asyncio.gather(self._llm.add_lora(request), return_exceptions=True))[0]
            if isinstance(done, EngineDeadError):
                raise done
        if done is not True:
            reason = first_line(done) if isinstance(done, BaseException) else "it gave no reason"
            raise RunError(f"vLLM cannot load the adapter (learner.lora.send: merged does without): {reason}")
        self._adapter = LoRARequest("policy", 1, str(path))

    async def finish_weight_update(self, version: int) -> None:
        if not self._takes_adapters:
            with _death_in_one_line():
                await self._llm.finish_weight_update(str(version))
        self.version = version
        if self._paused:
            await self._llm.resume_generation()

    def shutdown(self) -> None:
        self._llm.shutdown()
        self._sockets.close()
        del self._llm  # else it is found when the interpreter ends, and complains that its modules are gone

    async def _one(self, request: Request, stop_ids: list[int]) -> Completion:
        params = self._sampling(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            stop=self._stop or None,
            stop_token_ids=stop_ids,
            logprobs=0,
            flat_logprobs=True,
            detokenize=bool(self._stop),
            output_kind=self._final_only,
        )
        output = (await self._run(request.prompt, params)).outputs[0]
        logprobs = tuple(output.logprobs.logprobs)
        assert len(logprobs) == len(output.token_ids), "vLLM returned a logprob count that is not its token count"
        if not all(map(math.isfinite, logprobs)):
            raise RunError(
                "the model writes tokens whose logprobs are NaN or infinite: its weights are broken, or too large for "
                "its dtype; take an earlier checkpoint, or train with a lower learner.lr"
            )
        finish_reason: Literal["stop", "length"] = "length" if output.finish_reason == "length" else "stop"
        return Completion(tokens=tuple(output.token_ids), logprobs=logprobs, finish_reason=finish_reason)

    async def _run(self, prompt: tuple[int, ...], params: Any) -> Any:
        last = None
        async for output in self._outputs(prompt, params):
            last = output
        assert last is not None, "vLLM ended a request without an output"
        return last

    async def _outputs(self, prompt: tuple[int, ...], params: Any) -> AsyncGenerator[Any, None]:
        self._running += 1
        try:
            request = {"prompt_token_ids": list(prompt), "cache_salt": f"version-{self.version}"}
            with _death_in_one_line():
                found = self._llm.generate(request, params, f"r{next(self._ids)}", lora_request=self._adapter)
                async with aclosing(found) as outputs:
                    async for output in outputs:
                        yield output
        finally:
            self._running -= 1


@contextmanager
def _death_in_one_line() -> Iterator[None]:
    """vLLM's own error would load vLLM in whichever process it is sent to."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError:
        raise RunError("vLLM's engine process died; with --resume the run goes on from its checkpoint") from None


def _environment(config: RolloutConfig) -> dict[str, str]:
    """What vLLM reads from the environment. On CPU the default thread binding would leave one core idle."""
    common = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")}
    common["VLLM_HOST_IP"] = "127.0.0.1"  # all processes of an engine are on one host
    if config.gpus:
        return common
    if config.tensor_parallel == 1:
        # Else vLLM puts one more process between the scheduler and the model on CPU.
        common["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return common | {"VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
