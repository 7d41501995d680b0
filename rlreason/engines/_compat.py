"""Workarounds for upstream behaviour, each with its reason and the condition for its removal."""

import glob
import importlib
import multiprocessing
import os
import pickle
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlreason.sandbox.syscalls import die_with
from rlreason.types import RunError


def repack_embeddings(model: Any) -> None:
    """vLLM 0.32, CPU: a tied `lm_head` keeps a packed copy that a layer-wise reload leaves stale, silently.

    Remove when vLLM's finalize_layerwise_reload processes VocabParallelEmbedding modules on CPU; the parity test with
    tied embeddings then passes without this.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)


def die_with_parent() -> None:
    """vLLM's engine process outlives a parent that was killed; this asks the kernel to end it as well (Linux).

    Only in vLLM's child processes. Remove when vLLM's processes watch their parent.
    """
    if multiprocessing.parent_process() is not None:
        die_with(os.getppid())


def listen_where_told() -> None:
    """torch 2.11: the store at which ranks meet listens on every interface, without a password, whatever address it was
    given. From here on, in this process, on that address alone.

    Remove when TCPStore binds to its host_name.
    """
    from torch.distributed import TCPStore

    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")  # a function has the same name
    if rendezvous.TCPStore is not TCPStore:
        return  # done before

    def listening(**keys: Any) -> Any:
        if keys["is_master"]:
            host, port = keys["host_name"], keys["port"]
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            keys["master_listen_fd"] = socket.create_server((host, port), family=family).detach()
        return TCPStore(**keys)

    rendezvous.TCPStore = listening


def skip_native_cpu_collectives() -> None:
    """DeepSpeed 0.19 compiles a shared-memory collective at its first start on CPU: half a minute and a C++ compiler.

    Gloo, which is there anyway, does the same work. Remove when DeepSpeed ships the operation built.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


@contextmanager
def no_frozen_names(module: Any) -> Iterator[None]:
    """DeepSpeed 0.19: `exclude_frozen_parameters` leaves the second name of a tied weight, such as `lm_head.weight`, in
    the checkpoint. Inside the block the module's state_dict has no frozen parameter under any name.

    Remove when DeepSpeed's module_state_dict asks named_parameters for duplicates; the resume test of LoRA with tied
    embeddings then passes without this.
    """
    frozen = [name for name, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad]

    def drop(_: Any, state: dict[str, Any], *__: Any) -> None:
        for name in frozen:
            state.pop(name, None)

    hook = module.register_state_dict_post_hook(drop)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def no_code_in_checkpoints(path: Path) -> Iterator[None]:
    """DeepSpeed 0.19 unpickles its shards with `weights_only=False`, which runs what a crafted file says. Inside the
    block torch takes only tensors, numbers and DeepSpeed's three classes of plain data; RunError for anything else.

    Remove when DeepSpeed's TorchCheckpointEngine loads with `weights_only=True`.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address
    from torch.serialization import safe_globals

    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # of torch.load; stronger than its argument
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        with safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    except pickle.UnpicklingError:
        raise RunError(
            f"checkpoint {path}: a file in learner/ is damaged, or holds more than tensors and numbers, which is never "
            "run; resume from one that a run of yours wrote"
        ) from None
    finally:
        os.environ.pop(key)
        if before is not None:
            os.environ[key] = before


@contextmanager
def without_wildcards(folder: str) -> Iterator[str]:
    """vLLM 0.32 and DeepSpeed 0.19 find weights and shards with `glob` and take the folder's own `[1]` or `*` for a
    pattern: no file is found. Inside the block the folder has a second name without such signs. Hub names stay.

    Remove when both escape the folder; a run whose model and run directory are called so then passes without this.
    """
    if glob.escape(folder) == folder:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rlreason-") as parent:
        name = Path(parent) / "folder"
        name.symlink_to(Path(folder).absolute(), target_is_directory=True)
        yield str(name)
