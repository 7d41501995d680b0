"""What a worker reserves."""

import pytest

from rlreason.config.base import WorkerConfig
from rlreason.workers.cluster import worker_options


@pytest.mark.parametrize(("cpus", "threads"), [(0.0, "1"), (0.25, "1"), (1.0, "1"), (2.005, "3"), (2.5, "3")])
def test_threads_are_the_processors_rounded_up(cpus: float, threads: str) -> None:
    assert worker_options(WorkerConfig(cpus=cpus))["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == threads
