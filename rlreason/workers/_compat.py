"""Workarounds for upstream behaviour, each with its reason and the condition for its removal."""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray._private import ray_constants, state
from ray.actor import ActorHandle

from rlreason.types import RunError, first_line


@contextmanager
def no_exit_at_sigterm() -> Iterator[None]:
    """Ray 2.60: `ray.init` takes SIGTERM and leaves with sys.exit from wherever it is; its agents outlive that.

    Remove when `ray.init` ends every process that it started, however it is left.
    """
    setter = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = setter


@contextmanager
def ready_in_time() -> Iterator[None]:
    """Ray 2.60: `ray.init` raises a bare Exception where its processes take more than 30 s. RunError in its place.

    Remove when that error has a class of its own.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise RunError(f"Ray did not start: {first_line(error)} Try again with less running on this machine") from error


@contextmanager
def on_loopback() -> Iterator[None]:
    """Ray 2.60: a local cluster, which nobody else is to reach, listens on every interface. Inside the block it is on
    127.0.0.1 alone, as Ray has it on macOS.

    Remove when `ray.init` takes an address to listen on.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        with environment({name: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def own_token() -> Iterator[None]:
    """Ray 2.60 asks for a token in a local cluster too, but takes that of ~/.ray/auth_token, which everybody may read
    and which a home that cannot be written to does not have. Inside the block it is a fresh one.

    Remove when `ray.init` takes a token.
    """
    try:
        with environment({"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_AUTH_MODE": "token"}):
            _read_token_again()
            yield
    finally:
        _read_token_again()


def _read_token_again() -> None:
    """Both are read from the environment once, when Ray is imported."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def no_messages_of_ray() -> Iterator[None]:
    """Ray 2.60: with `log_to_driver=False` too a driver prints what Ray's own processes report, such as the last 20
    lines of a raylet's log. In the block, where `ray.init` is called, the thread that would print them ends at once.

    Remove when `log_to_driver=False` keeps them back.
    """
    listen = ray._private.worker.listen_error_messages
    ray._private.worker.listen_error_messages = lambda *_: None
    try:
        yield
    finally:
        ray._private.worker.listen_error_messages = listen


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables in the block, for Ray reads some settings from nowhere else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def logs_folder() -> str | None:
    """Of the cluster that this process started; None for any other."""
    node = ray._private.worker._global_node
    return node.get_logs_dir_path() if node is not None and node.head else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker is."""

    name: str
    """Of its class."""
    node: str
    """Ray's id."""
    host: str
    pid: int
    """0: it has no process yet."""


def place_of(worker: ActorHandle) -> Place:
    """Ray 2.60 tells this without a dashboard by nothing that is public."""
    found = state.actors(worker._actor_id.hex())
    address = found["Address"]
    return Place(name=found["ActorClassName"], node=address["NodeID"], host=address["IPAddress"], pid=int(found["Pid"]))


def ended_process() -> str | None:
    """Of Ray's own processes one that is needed and has ended; None where none has.

    Ray 2.60: calls wait for a minute and longer for a GCS that has died, and those to workers of a raylet that has died
    fail as if the worker had. Remove when they tell.
    """
    node = ray._private.worker._global_node
    if node is None:
        return None
    for name, process in node.dead_processes():  # of a cluster that this process has started
        if name in ("gcs_server", "raylet"):
            where = f"process {process.pid} on {node.node_ip_address}"
            return f"{name} ({where}) has ended with status {process.returncode}"
    if node.head or _answers(node.gcs_address):
        return None
    return f"gcs_server at {node.gcs_address} does not answer"


def _answers(address: str, timeout_s: float = 5.0) -> bool:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
