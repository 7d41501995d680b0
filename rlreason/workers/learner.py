"""The learner worker: one rank of the DeepSpeed learner in a Ray process."""

import math
import os
import socket
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle

from rlreason.config.schema import LearnerConfig, RolloutConfig
from rlreason.processes import let_be_read
from rlreason.types import BatchSize, Head, Loss, Scored, TokenArrays, TrainSequence, UpdateStats
from rlreason.workers.weight_sync import RayWeightSyncClient

if TYPE_CHECKING:
    import numpy as np

    from rlreason.engines.shard import ColumnName


class LearnerWorker:
    """Ray actor. `address` of rank 0 first, then `start` on all ranks, then anything on all ranks alike."""

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def address(self, *, is_local: bool = False) -> tuple[str, int]:
        """This host, as others see it unless `is_local`, and a free port, for processes to meet."""
        host = "127.0.0.1" if is_local else ray.util.get_node_ip_address()
        with socket.create_server((host, 0)) as probe:
            return host, probe.getsockname()[1]

    def start(
        self,
        rank: int,
        config: LearnerConfig,
        address: tuple[str, int],
        total_steps: int,
        seed: int,
        model: str | None,
        architecture: dict[str, Any] | None,
        head: Head,
        keep_reference: bool,
    ) -> None:
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE=str(config.workers),
            LOCAL_RANK="0",  # Ray shows each worker its own device only.
            MASTER_ADDR=address[0],
            MASTER_PORT=str(address[1]),
        )
        if address[0] == "127.0.0.1":
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
        let_be_read()
        import torch

        from rlreason.engines.learner import LearnerEngine

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self._engine = LearnerEngine(
            config,
            total_steps=total_steps,
            seed=seed,
            model=model,
            architecture=architecture,
            head=head,
            keep_reference=keep_reference,
        )

    def update(self, micro_batches: list[list[TrainSequence]], loss: Loss, size: BatchSize) -> UpdateStats:
        return self._engine.update(micro_batches, loss, size)

    def score(self, micro_batches: list[list[TrainSequence]], what: Scored, temperature: float) -> list[list[float]]:
        return self._engine.score(micro_batches, what, temperature)

    def load(self, rows: list[tuple[int, int, str]], *chunks: TokenArrays) -> None:
        """Takes this rank's samples of a batch, see `Shard.of`. Ray has fetched the chunks to this node."""
        from rlreason.engines.shard import Shard

        self._shard = Shard.of(rows, chunks)

    def compute(self, micro_batches: list[list[int]], what: Scored, temperature: float, is_kept: bool) -> list[str]:
        """A pass over the batch's samples, by their places; the numbers stay here. Returns the origins of those whose
        numbers are not all finite.
        """
        found = self._engine.score(self._picked(micro_batches), what, temperature)
        places = list(chain.from_iterable(micro_batches))
        if is_kept:
            self._shard.keep(what, places, found)
        bad = [place for place, numbers in zip(places, found, strict=True) if not all(map(math.isfinite, numbers))]
        return [self._shard.sequences[place].origin for place in bad]

    def on_shard(self, method: str, *args: Any) -> Any:
        """A method of `engines.shard.Shard` on this rank's samples."""
        return getattr(self._shard, method)(*args)

    def take(self, name: "ColumnName", picks: list[tuple[int, int]], *columns: "np.ndarray[Any, Any]") -> None:
        """`Shard.take`. Ray has fetched the columns."""
        self._shard.take(name, picks, columns)

    def settle(self, is_on_policy: bool) -> list[int]:
        """Ends the preparation of the batch. Returns the trained tokens of each sample."""
        self._shard.settle(is_on_policy=is_on_policy)
        return self._shard.counts()

    def update_batch(self, micro_batches: list[list[int]], loss: Loss, size: BatchSize) -> UpdateStats:
        """`LearnerEngine.update` on the batch's samples, by their places."""
        return self._engine.update(self._picked(micro_batches), loss, size)

    def _picked(self, micro_batches: list[list[int]]) -> list[list[TrainSequence]]:
        return [[self._shard.sequences[place] for place in micro_batch] for micro_batch in micro_batches]

    def skip_updates(self, count: int) -> None:
        self._engine.skip_updates(count)

    def refresh_reference(self) -> None:
        self._engine.refresh_reference()

    def continue_greedily(self, prompts: list[tuple[int, ...]], num_tokens: int) -> list[tuple[int, ...]]:
        return self._engine.continue_greedily(prompts, num_tokens)

    def connect(self, rollout_workers: list[ActorHandle], config: RolloutConfig, address: tuple[str, int]) -> None:
        """Opens the way for weights to the rollout workers."""
        from rlreason.engines.weight_sender import AdapterSender, BucketSender, Sender, VllmSender

        rank, weights, lora = self._engine.rank, self._engine.named_weights, self._engine.config.lora
        self._client = RayWeightSyncClient(rollout_workers)
        if lora is not None and lora.send == "adapter":
            self._sender: Sender = AdapterSender(self._engine.adapter, self._client, is_sender=rank == 0)
        elif config.weight_sync == "ray_object_store":
            self._sender = BucketSender(
                weights, self._client, is_sender=rank == 0, bucket_bytes=config.sync_bucket_bytes
            )
        else:
            self._sender = VllmSender(
                config.weight_sync,
                weights,
                self._client,
                rank=rank,
                address=address[0],
                port=address[1],
                num_receivers=config.workers * config.tensor_parallel,
            )

    def send_weights(self, version: int) -> None:
        self._client.version = version
        self._sender.send()

    def save_model(self, path: Path) -> None:
        self._engine.save_model(path)

    def save_checkpoint(self, path: Path) -> None:
        self._engine.save_checkpoint(path)

    def load_checkpoint(self, path: Path) -> None:
        self._engine.load_checkpoint(path)
