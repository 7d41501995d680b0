"""Workarounds for upstream behaviour, each with its reason and the condition for its removal."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray
from ray._private import ray_constants

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
