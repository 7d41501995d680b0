"""Carries weights from the learner's rank 0 to every rollout worker: the client that sending engines drive.

Buckets are put into Ray's object store once, whatever the number of engines, and travel between nodes by Ray. The
driver is not involved. A bucket is safetensors bytes, so nothing is unpickled at the other end.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle


class RayWeightSyncClient:
    """Fans each call out to all rollout workers and waits for all. `version` is that of the weights being sent."""

    def __init__(self, rollout_workers: list[ActorHandle]) -> None:
        self._workers = rollout_workers
        self.version = 0

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        ray.get([worker.init_weight_transfer.remote(init_info) for worker in self._workers])

    def start_weight_update(self) -> None:
        ray.get([worker.start_weight_update.remote() for worker in self._workers])

    def update_weights(self, update_info: dict[str, Any]) -> None:
        if "tensors" in update_info:
            from safetensors.torch import save

            bucket = ray.put(np.frombuffer(save(update_info["tensors"]), dtype=np.uint8))
            if "adapter_config" in update_info:
                adapter_config = update_info["adapter_config"]
                ray.get([worker.load_adapter.remote(bucket, adapter_config) for worker in self._workers])
            else:
                ray.get([worker.load_bucket.remote(bucket) for worker in self._workers])
        else:
            ray.get([worker.update_weights.remote(update_info) for worker in self._workers])

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        ray.get([worker.finish_weight_update.remote(self.version) for worker in self._workers])


@contextmanager
def bucket_file(bucket: np.ndarray, name: str) -> Iterator[Path]:
    """The bucket as a file that this host's vLLM processes can read, in a folder of its own: in memory where the system
    has /dev/shm. Both go when the block ends.
    """
    shared = Path("/dev/shm")
    has_room = shared.is_dir() and os.statvfs(shared).f_bavail * os.statvfs(shared).f_frsize > 2 * bucket.nbytes
    with tempfile.TemporaryDirectory(prefix="rlreason-", dir=shared if has_room else None) as folder:
        path = Path(folder) / name
        path.write_bytes(bucket.data)
        yield path
