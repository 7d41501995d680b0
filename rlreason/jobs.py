"""`rlreason submit`: the same run as a Ray job on a cluster.

The resolved configuration, `reward_fns/` of the working directory, small files below it that the configuration names,
and the package itself travel with the job. What else is named by path (models, data) and `--run-dir` must be on storage
that the cluster's nodes share.
"""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rlreason
from rlreason.config.load import dump
from rlreason.stages.console import say
from rlreason.stages.lineage import local_files
from rlreason.stages.recipe import Step, default_run_dir, load_steps
from rlreason.types import RunError, UserError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

MAX_FILE_BYTES = 10 << 20
"""Larger files do not travel with the job."""


def submit_job(path: Path, overrides: list[str], address: str, run_dir: Path | None, follow: bool) -> int:
    """Submits and, with `follow`, waits. Returns the exit status: 0 submitted or succeeded, 1 the job failed."""
    steps = load_steps(path, overrides)  # A mistake is told here, not from a node far away.
    if not address:
        raise UserError("submit: say where with --address, such as --address http://127.0.0.1:8265")
    where = default_run_dir(path) if run_dir is None else run_dir.resolve()
    client = _client(address)
    with tempfile.TemporaryDirectory() as packed:
        shown = _pack(path, steps, Path(packed))
        words = ["python", "-m", "rlreason", "run", shown, "--run-dir", str(where)]
        try:
            job = client.submit_job(entrypoint=shlex.join(words), runtime_env={"working_dir": packed})
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"submit: {address} did not take the job: {first_line(error)}") from None
    say(f"submitted {job}; run directory {where}; follow with: ray job logs --address {address} --follow {job}")
    return _follow(client, job) if follow else 0


def _client(address: str) -> "JobSubmissionClient":
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        token = _token()
        client = JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else None)
    except AuthenticationError as error:
        raise UserError(f"submit: {address}: {first_line(error)}; give the cluster's token in RAY_AUTH_TOKEN") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"submit: no Ray job server answers at {address}: {first_line(error)}") from None
    logging.disable(logging.INFO)  # Ray tells of packages and sockets.
    return client


def _token() -> str | None:
    """What Ray's clusters ask for, from where Ray keeps it. A cluster that asks for nothing does not mind one."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return os.environ.get("RAY_AUTH_TOKEN") or (path.read_text().strip() if path.is_file() else None)


def _pack(path: Path, steps: list[Step], target: Path) -> str:
    """Writes what the job needs into `target`; returns the configuration's path there.

    The configurations go resolved, so neither `extends` nor overrides are left to do.
    """
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(rlreason.__file__).parent, target / "rlreason", ignore=skip)
    if Path("reward_fns").is_dir():
        shutil.copytree("reward_fns", target / "reward_fns", ignore=skip)
    for name in {name for step in steps for name in local_files(step.config)}:
        if (
            not Path(name).is_absolute()
            and ".." not in Path(name).parts
            and Path(name).stat().st_size <= MAX_FILE_BYTES
        ):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target / name)
    folder = Path("configs") / path.resolve().name if path.is_dir() else Path("configs")
    (target / folder).mkdir(parents=True, exist_ok=True)
    for step in steps:
        (target / folder / f"{step.name}.yaml").write_text(dump(step.config), encoding="utf-8")
    return str(folder if path.is_dir() else folder / f"{path.stem}.yaml")


def _follow(client: "JobSubmissionClient", job: str) -> int:
    import aiohttp
    from ray.job_submission import JobStatus

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    try:
        asyncio.run(tail())
        status = client.get_job_status(job)
    except (OSError, RuntimeError, aiohttp.ClientError) as error:
        raise RunError(f"job {job}: the job server went away: {first_line(error)}") from None
    if status == JobStatus.SUCCEEDED:
        return 0
    message = (client.get_job_info(job).message or "").strip()
    raise RunError(f"job {job} ended as {status.value}: {message.splitlines()[-1] if message else 'no message'}")
