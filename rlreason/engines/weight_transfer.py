"""Weight transfer of our own for vLLM: buckets of tensors that somebody else carries, on CPU or GPU.

`ReceivingEngine` lives in vLLM's worker processes and loads safetensors files (no pickle). The sending side is
engines/weight_sender.py in the learner; the client between them (workers/weight_sync.py) carries each bucket through
Ray's object store. `register` is called by vLLM in each of its processes (entry point `vllm.general_plugins`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)

from rlreason.engines import _compat
from rlreason.processes import let_be_read

BACKEND = "ray_object_store"


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on: buckets come as files."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """One bucket."""

    path: str
    """A safetensors file that this host can read."""


class ReceivingEngine(WeightTransferEngine[InitInfo, UpdateInfo]):
    """Loads buckets into vLLM's model."""

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        pass

    def start_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        with torch.device(self.device):
            initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class synchronises an accelerator, which a CPU has not.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: UpdateInfo) -> None:
        from safetensors.torch import load_file

        weights = load_file(update_info.path, device=str(self.device))
        with torch.device(self.device), torch.inference_mode():
            self.model.load_weights(weights.items())

    def finish_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        with torch.device(self.device):
            finalize_layerwise_reload(self.model, self.model_config)
        _compat.repack_embeddings(self.model)

    def shutdown(self) -> None:
        pass


def register() -> None:
    """Makes `ray_object_store` known to vLLM, once a process."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    let_be_read()
    _compat.die_with_parent()
    _compat.listen_where_told()
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, ReceivingEngine)
