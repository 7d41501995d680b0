"""Joining or starting a Ray cluster, and waiting for its answers with errors that a user can read."""

import logging
import math
import os
import re
import signal
import socket
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from rlreason.config.base import WorkerConfig
from rlreason.config.rollout import RolloutConfig
from rlreason.private import private_folder
from rlreason.types import Lost, RunError, UserError
from rlreason.workers._compat import (
    ended_process,
    environment,
    logs_folder,
    no_exit_at_sigterm,
    no_messages_of_ray,
    on_loopback,
    own_token,
    ready_in_time,
)

SHARED = "/dev/shm"
LEAST_SHARED_MIB, SHARED_MIB = 1, 160
"""For semaphores; and for each vLLM engine on several devices, whose processes hand requests on through it."""


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster for the block: the one that RAY_ADDRESS names, the one already joined, or a local one."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker's error may be a class of vLLM's, and reading it loads vLLM here, with its greetings.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Without an address Ray would join whatever cluster was started last on this machine.
    address = os.environ.get("RAY_ADDRESS") or "local"
    require_cluster()
    with ExitStack() as stack:
        options = stack.enter_context(_own()) if address == "local" else {}
        with _uninterrupted():
            try:
                with ready_in_time(), no_messages_of_ray():
                    ray.init(
                        address=address,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        configure_logging=True,
                        **options,
                    )
            except ConnectionError as error:
                raise UserError(f"RAY_ADDRESS={address}: no Ray cluster answers: {error}") from None
        try:
            yield
        except (KeyboardInterrupt, UserError, RunError) as error:
            # What the block held, such as a Ray Data executor, ends while Ray still answers; after that it would
            # complain.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            ray.shutdown()


@contextmanager
def _own() -> Iterator[dict[str, Any]]:
    """What a local cluster is started with, so that nobody else on this host can reach it: a folder for its sockets and
    logs, ports on the loopback, a token. Ray opens the folder that it is given to everybody, so it lies in another.
    What workers that are killed leave in their temporary folder goes with it.
    """
    with private_folder(keep_on_error=True) as folder, on_loopback(), own_token():
        temp = folder / "t"
        temp.mkdir()
        with environment({"TMPDIR": str(temp)}):
            yield {"_temp_dir": str(folder / "r"), "include_dashboard": False}


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keeps Ctrl-C, SIGTERM and SIGHUP until Ray's processes are up: a start cut short would leave some of them behind.

    Puts the handlers back as well: Ray's C++ side takes SIGTERM for itself and aborts the process. Ray's processes
    inherit that SIGHUP is blocked: a terminal that closes tells every process of the run, and the driver still needs
    them for a checkpoint.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    arrived: list[int] = []
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in numbers}
    try:
        try:
            with no_exit_at_sigterm():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)  # a SIGHUP that waited raises here
        if arrived:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        ray.shutdown()
        raise


def require_cluster() -> None:
    """Raises UserError where RAY_ADDRESS names a cluster that does not answer: Ray itself would try for minutes, and
    then abort the process.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # `local` and `auto`: Ray finds the port.
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS={address}: no Ray cluster answers: {error}; unset it to run on this machine alone"
        ) from None


def require_resources(wanted: Mapping[str, WorkerConfig]) -> None:
    """Raises UserError where the workers together need more than the cluster has: they would wait for ever."""
    require_fit(wanted, num_cpus=num_cpus(), num_gpus=num_gpus())


def num_cpus() -> float:
    """CPU cores of the cluster that was joined."""
    found: float = ray.cluster_resources().get("CPU", 0.0)
    return found


def num_gpus() -> float:
    """GPUs of the cluster that was joined."""
    found: float = ray.cluster_resources().get("GPU", 0.0)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What workers will find."""

    num_cpus: float
    num_gpus: float
    memory_bytes: float

    def __str__(self) -> str:
        gpus = f"{self.num_gpus:g} GPU{'s' * (self.num_gpus != 1)}" if self.num_gpus else "no GPU"
        return f"{self.num_cpus:g} CPUs, {self.memory_bytes / 2**30:.1f} GiB of memory, {gpus}"


def this_machine() -> Machine | None:
    """What a local Ray would find here, told without starting one; None where RAY_ADDRESS names a cluster."""
    from ray._private.accelerators import NvidiaGPUAcceleratorManager
    from ray._private.utils import get_num_cpus, get_system_memory

    memory_bytes = get_system_memory()
    if ray.is_initialized():
        return Machine(num_cpus=num_cpus(), num_gpus=num_gpus(), memory_bytes=memory_bytes)
    if os.environ.get("RAY_ADDRESS", "local") != "local":
        return None
    count_gpus = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators
    return Machine(num_cpus=float(get_num_cpus()), num_gpus=float(count_gpus()), memory_bytes=memory_bytes)


def require_fit(
    wanted: Mapping[str, WorkerConfig], *, num_cpus: float, num_gpus: float, where: str = "the cluster"
) -> None:
    """Raises UserError where workers that run at the same time need more cores or GPUs than there are."""
    for key, have, each in (
        ("CPU", num_cpus, {name: cores(config) for name, config in wanted.items()}),
        ("GPU", num_gpus, {name: config.gpus for name, config in wanted.items()}),
    ):
        total = sum(wanted[name].workers * size for name, size in each.items())
        if total > have + 1e-6:
            parts = ", ".join(f"{name} {wanted[name].workers} x {size:g}" for name, size in each.items())
            raise UserError(
                f"the workers need {total:g} {key}s ({parts}), {where} has {have:g}; "
                f"lower `workers` or `{key.lower()}s`, or add nodes"
            )


def require_shared_memory(wanted: Iterable[Mapping[str, WorkerConfig]]) -> None:
    """Raises UserError where this host has too little shared memory. `wanted`: groups of workers that run at the same
    time.
    """
    if not os.access(SHARED, os.W_OK):
        raise UserError(f"{SHARED} cannot be written to; vLLM's and torch's processes share memory there")
    shared = os.statvfs(SHARED)
    engines = [sum(_num_parallel_engines(config) for config in workers.values()) for workers in wanted]
    free, needed = shared.f_bavail * shared.f_frsize / 2**20, LEAST_SHARED_MIB + SHARED_MIB * max(engines, default=0)
    if free < needed:
        raise UserError(
            f"{SHARED}: {free:.3g} MiB are free, vLLM's and torch's processes share {needed:g} MiB there; make it "
            "larger (docker run --shm-size=8g; in Kubernetes an emptyDir of medium Memory, mounted there)"
        )


def _num_parallel_engines(config: WorkerConfig) -> int:
    return config.workers if isinstance(config, RolloutConfig) and config.tensor_parallel > 1 else 0


def cores(config: WorkerConfig) -> float:
    """CPU cores that each of the workers reserves."""
    return 1.0 if config.cpus is None else config.cpus


def worker_options(config: WorkerConfig) -> dict[str, Any]:
    """Ray actor options of a worker: what it reserves and its threads."""
    threads = str(config.threads or max(1, math.ceil(cores(config))))
    return {
        "num_cpus": cores(config),
        "num_gpus": config.gpus,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}},
    }


def require_ray() -> None:
    """Raises Lost where a process of Ray's own, which all calls need, has ended."""
    if (ended := ended_process()) is not None:
        raise Lost(f"Ray's {ended}; {_logs()} say more; with --resume the run goes on from its last checkpoint")


def readable(error: BaseException) -> UserError | RunError:
    """A worker that waits for other workers passes their errors on, so the cause may lie several errors deep."""
    while isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    if isinstance(error, UserError | RunError):
        return type(error)(str(error))
    try:
        require_ray()
    except Lost as lost:
        return lost
    if isinstance(error, ray.exceptions.RayActorError):
        return Lost(_obituary(str(error)))
    return RunError(
        f"a worker failed: {type(error).__name__}: {_last_line(str(error))}; {_logs()} say more; "
        "with --resume the run goes on from its last checkpoint"
    )


def _obituary(text: str) -> str:
    """Which worker died, where, and what to do: Ray says it in a dozen lines, `name: value` among them."""
    known = dict(re.findall(r"^\s*(class_name|pid|ip): (\S+)$", text, re.MULTILINE))
    pid = known.get("pid", "unknown")
    return (
        f"{known.get('class_name', 'a worker')} (process {pid} on {known.get('ip', 'an unknown host')}) died; "
        f"if memory ran out there, lower its share; its output is in worker-*-{pid}.err of {_logs()}; "
        "with --resume the run goes on from its last checkpoint"
    )


def _logs() -> str:
    folder = logs_folder()
    return f"Ray's logs in {folder}" if folder else "Ray's logs on its host"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
