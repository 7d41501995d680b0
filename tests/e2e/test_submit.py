"""`rlreason submit` against cluster/local.sh: two clusters side by side on one machine, neither on a default port."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Command, listening, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow]
SCRIPT = (str(ROOT / "cluster/local.sh"),)


class Cluster:
    """One that local.sh started."""

    def __init__(self, folder: Path) -> None:
        ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.port, self.dashboard_port = (port.getsockname()[1] for port in ports)
        for port in ports:
            port.close()
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.dashboard_port}"
        self.started = self.script("start")
        self.outcome = self.started.finish(400)

    def script(self, word: str, **ports: object) -> Command:
        env = {"RLREASON_RAY_PORT": str(self.port), "RLREASON_DASHBOARD_PORT": str(self.dashboard_port)}
        env |= {name: str(port) for name, port in ports.items()}
        return Command(word, program=SCRIPT, env=env, folder=self.folder)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Cluster]]:
    found: list[Cluster] = []
    try:
        for _ in range(2):
            found.append(Cluster(tmp_path_factory.mktemp("cluster")))
        yield found
    finally:
        for cluster in found:
            cluster.script("stop").wait()
            cluster.started.destroy()


@pytest.fixture
def evaluation(tmp_path: Path, tiny_model: Path) -> Path:
    config = {
        "stage": "evaluate",
        "model": str(tiny_model),
        "rewards": [{"name": "math", "path": "rlreason.rewards.math:reward"}],
        "reward_workers": {"cpus": 0.25},
        "rollout": {"cpus": 0.25, "max_context_tokens": 32, "max_response_tokens": 8, "max_concurrent": 8},
        "eval": {
            "tasks": {"chains": {"generate": "rlreason.tasks.chains:tasks", "args": {"num": 4, "seed": 1}}},
        },
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config))
    path = tmp_path / "recipe" / "eval.yaml"
    path.parent.mkdir()
    path.write_text("extends: ../base.yaml\n")
    return path


def test_the_script_starts_two_clusters_and_refuses_a_port_in_use(clusters: list[Cluster]) -> None:
    for cluster in clusters:
        status, output, errors = cluster.outcome
        assert (status, errors) == (0, "")
        assert output == f"Ray is ready: rlreason submit PATH --address {cluster.address}\n"
        assert set(listening(cluster.started.processes())) == {"0100007F", "0000000000000000FFFF00000100007F"}
    first, second = clusters
    status, _, errors = first.script("start").finish()
    assert (status, errors.count("\n")) == (2, 1) and f"on port {first.port} runs already" in errors
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    status, _, errors = first.script(
        "start", RLREASON_RAY_PORT=number, RLREASON_DASHBOARD_PORT=second.dashboard_port
    ).finish()
    expected = f"error: port {second.dashboard_port} is in use; choose another with RLREASON_DASHBOARD_PORT\n"
    assert (status, errors) == (2, expected)


def test_a_submitted_stage_is_followed_and_leaves_its_results(
    clusters: list[Cluster], evaluation: Path, start: Callable[..., Command], tmp_path: Path
) -> None:
    words = ("submit", evaluation, "eval.tasks.chains.limit=3", "--address", clusters[1].address, "--follow")
    status, output, errors = start(*words, "--run-dir", tmp_path / "run").finish(600)
    assert (status, errors) == (0, "")
    assert "eval evaluation at step 0: chains/greedy_accuracy" in output
    assert len((tmp_path / "run/samples.jsonl").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "run/manifest.json").read_text())["kind"] == "evaluation"
    status, output, errors = start(*words, "--run-dir", tmp_path / "run").finish(600)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert errors.startswith("failed: job ") and "holds a run already; add --resume" in errors


def test_a_mistake_or_a_missing_server_is_one_line(
    evaluation: Path, start: Callable[..., Command], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for words, says in (
        (("--address", nobody), f"no Ray job server answers at {nobody}"),
        ((), "say where with --address"),
        (("sed=1", "--address", nobody), "unknown key `sed`; did you mean `seed`?"),
        (("--address", "127.0.0.1"), "127.0.0.1"),
    ):
        status, _, errors = start("submit", evaluation, *words).finish()
        assert (status, errors.count("\n")) == (2, 1), errors
        assert errors.startswith("error: ") and says in errors


def test_stop_ends_the_cluster_with_its_job_and_no_other(
    clusters: list[Cluster], evaluation: Path, start: Callable[..., Command], tmp_path: Path
) -> None:
    first, second = clusters
    run_dir = tmp_path / "run"
    words = ("submit", evaluation, "--address", first.address, "--run-dir", run_dir)
    assert start(*words).finish()[0] == 0
    wait_for(lambda: first.started.processes("ray::RolloutWorker"), 120, "the job's rollout worker")
    others = second.started.processes()
    assert first.script("stop").finish(60)[::2] == (0, "")
    first.started.assert_nothing_left(timeout_s=10)
    assert others.keys() <= second.started.processes().keys()
    assert all(Path(f"/proc/{pid}").exists() for pid in others) and os.getpid() not in others
    status, _, errors = first.script("stop").finish()
    assert (status, errors.count("\n")) == (2, 1) and f"no cluster of this script on port {first.port}" in errors
