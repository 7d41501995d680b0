"""What a worker reserves, and what Ray says where it cannot start."""

import pytest
import ray

from rlreason.config.base import WorkerConfig
from rlreason.types import RunError
from rlreason.workers.cluster import cluster, worker_options


@pytest.mark.parametrize(("cpus", "threads"), [(0.0, "1"), (0.25, "1"), (1.0, "1"), (2.005, "3"), (2.5, "3")])
def test_threads_are_the_processors_rounded_up(cpus: float, threads: str) -> None:
    assert worker_options(WorkerConfig(cpus=cpus))["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == threads


def test_a_ray_that_is_not_ready_in_time_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    monkeypatch.setattr(ray, "init", is_late)
    with (
        pytest.raises(RunError, match=r"^Ray did not start: The current node timed out.*\. Try"),
        cluster(),
    ):
        pass

    def is_broken(**_: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(ray, "init", is_broken)
    with pytest.raises(KeyError), cluster():
        pass
