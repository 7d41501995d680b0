"""The learner's side of weight sync: walks over the parameters and hands them to the engines' client.

Several ways, one interface (`send()`, called on every rank): `ray_object_store` packs buckets, or the LoRA adapter, for
the client to carry; `nccl` and `ipc` are vLLM's own sending engines, which drive the same client. Those two need GPUs
and have not been run yet.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor

NamedWeights = Callable[[], Iterator[tuple[str, Tensor]]]
Adapter = Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]
"""Tensors by the names in an adapter file, and its adapter_config.json."""


class SyncClient(Protocol):
    """The engines' control plane, as vLLM's VLLMWeightSyncClient defines it. Calls block until all engines are done."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...
    def start_weight_update(self) -> None: ...
    def update_weights(self, update_info: dict[str, Any]) -> None: ...
    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class Sender(Protocol):
    def send(self) -> None:
        """Brings every engine to the learner's present weights. Every rank must call it."""


class BucketSender:
    """Packs parameters into buckets of about `bucket_bytes`; rank 0 gives them to the client."""

    def __init__(self, named_weights: NamedWeights, client: SyncClient, *, is_sender: bool, bucket_bytes: int) -> None:
        self._named_weights, self._client = named_weights, client
        self._is_sender, self._bucket_bytes = is_sender, bucket_bytes
        if is_sender:
            client.init_weight_transfer_engine({})

    def send(self) -> None:
        if not self._is_sender:
            for _ in self._named_weights():  # Gathering sharded parameters takes every rank.
                pass
            return
        self._client.start_weight_update()
        for bucket in _buckets(self._named_weights(), self._bucket_bytes):
            self._client.update_weights({"tensors": bucket})
        self._client.finish_weight_update()


class AdapterSender:
    """Gives the client the LoRA adapter, which engines put in place of the one before; rank 0 sends."""

    def __init__(self, adapter: Adapter, client: SyncClient, *, is_sender: bool) -> None:
        self._adapter, self._client, self._is_sender = adapter, client, is_sender

    def send(self) -> None:
        tensors, config = self._adapter()  # Gathering sharded parameters takes every rank.
        if not self._is_sender:
            return
        self._client.start_weight_update()
        self._client.update_weights({"tensors": tensors, "adapter_config": config})
        self._client.finish_weight_update()


class VllmSender:
    """vLLM's NCCL or CUDA IPC sending engine. Not run yet: it needs a GPU."""

    def __init__(
        self, backend: str, named_weights: NamedWeights, client: SyncClient, *, rank: int, address: str, port: int,
        num_receivers: int,
    ) -> None:  # fmt: skip
        from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        class Source(WeightSource):
            def metadata(self) -> list[ParamMeta]:
                return [ParamMeta(name, weight.dtype, tuple(weight.shape)) for name, weight in named_weights()]

            def __iter__(self) -> Iterator[tuple[str, Tensor]]:
                return named_weights()

        info: Any = IPCTrainerInitInfo(rank=rank)
        if backend == "nccl":
            info = NCCLTrainerInitInfo(
                rank=rank, master_address=address, master_port=port, world_size=1 + num_receivers
            )
        self._engine = WeightTransferTrainerFactory.trainer_init(info, client=client, source=Source())

    def send(self) -> None:
        self._engine.send_weights()


def _buckets(weights: Iterator[tuple[str, Tensor]], bucket_bytes: int) -> Iterator[dict[str, Tensor]]:
    bucket: dict[str, Tensor] = {}
    size = 0
    for name, weight in weights:
        bucket[name] = weight.to("cpu", copy=True).contiguous()
        size += weight.nbytes
        if size >= bucket_bytes:
            yield bucket
            bucket, size = {}, 0
    if bucket:
        yield bucket
