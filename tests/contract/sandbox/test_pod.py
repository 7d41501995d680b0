"""Where a container refuses namespaces the sandbox is as tight: the attacks once more, by an owner of their targets."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
POD = Path(__file__).with_name("pod.py")


def in_pod(kind: str) -> dict[str, Any]:
    """What the program says."""
    with tempfile.TemporaryDirectory(prefix="rlreason-pod-") as folder:
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [sys.executable, str(POD), kind, folder],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("root", marks=pytest.mark.long), "restricted"])
def test_no_attack_succeeds_in_a_container_without_namespaces(kind: str) -> None:
    if kind != "restricted" and os.geteuid() != 0:
        pytest.skip("needs to be root to become a container's root")
    found = in_pod(kind)
    assert found["level"] == "landlock"
    assert (found["user"] == 0) is (kind != "restricted")
    assert found["wrong"] == []


def test_root_that_no_limit_of_processes_binds_is_refused() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to be root to become a container's root")
    assert "landlock with" in (said := in_pod("bare")["unavailable"])
    assert "root without CAP_SETUID and CAP_SETGID; run as another user, or allow it" in said


def test_a_container_without_namespaces_is_refused_where_they_are_demanded() -> None:
    program = (
        "from pod import refuse_namespaces, sc\nfrom rlreason.rewards.code import checker as code\n"
        "sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)\nrefuse_namespaces()\n"
        "score = code.check('print(1)', [{'type': 'stdio', 'input': '', 'output': '1'}], level='namespaces')\n"
        "print(score.value, score.status, score.detail)"
    )
    path = os.pathsep.join([str(ROOT), str(POD.parent)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("0.0 sandbox_error no sandbox here: namespaces with "), done.stdout + done.stderr
    assert "Operation not permitted" in done.stdout and "landlock with" not in done.stdout
