"""`rlreason submit`: the same run as a Ray job on a cluster; `rlreason stop` ends one.

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
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rlreason
from rlreason.config.load import dump
from rlreason.recipes.recipe import Step, default_run_dir, load_steps
from rlreason.running.console import say
from rlreason.running.lineage import local_files
from rlreason.types import RunError, UserError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_S = 60
"""Seconds that a job has to write a checkpoint after it was told to stop."""
MAX_FILE_BYTES = 10 << 20
"""Larger files do not travel with the job."""


def submit_job(
    path: Path, overrides: list[str], address: str, run_dir: Path | None, *, follow: bool, resume: bool = False
) -> int:
    """Submits and, with `follow`, waits. Returns the exit status: 0 submitted or succeeded, 1 the job failed."""
    steps = load_steps(path, overrides)  # A mistake is told here, not from a node far away.
    if not address:
        raise UserError("submit: say where with --address, such as --address http://127.0.0.1:8265")
    where = default_run_dir(path) if run_dir is None else run_dir.resolve()
    client = _client(address)
    with tempfile.TemporaryDirectory() as packed:
        shown = _pack(path, steps, Path(packed))
        words = ["python", "-m", "rlreason", "run", shown, "--run-dir", str(where), *(["--resume"] if resume else [])]
        # Ray would kill a job 3 seconds after it was told to stop: too soon for a checkpoint.
        env = {"working_dir": packed, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}}
        try:
            job = client.submit_job(entrypoint=shlex.join(words), runtime_env=env)
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"submit: {address} did not take the job: {first_line(error)}") from None
    again = ["rlreason", "submit", str(path), *overrides, "--address", address, "--run-dir", str(where), "--resume"]
    say(f"submitted {job}; run directory {where}")
    say(f"  follow: {_follow_command(address, job)}\n  stop:   {_stop_command(address, job)}")
    say(f"  resume: {shlex.join(again)}")
    return _follow(client, job, address) if follow else 0


def stop_job(job: str, address: str) -> None:
    """Tells a job to stop, as Ctrl-C would, and waits until it has ended."""
    from ray.job_submission import JobStatus

    client = _client(address)
    try:
        status = client.get_job_status(job)
        if status.is_terminal():
            say(f"{job} had ended already: {status.value}")
            return
        client.stop_job(job)
        say(f"{job} is told to stop; it writes a checkpoint first")
        deadline_s = time.monotonic() + STOP_S + 10
        while not (status := client.get_job_status(job)).is_terminal():
            if time.monotonic() > deadline_s:
                raise RunError(f"job {job} has not stopped within {STOP_S + 10} s; stop it again, or end its cluster")
            time.sleep(0.5)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise UserError(f"stop: {address} knows no job {job}: {first_line(error)}") from None
    say(f"{job}: {'stopped' if status == JobStatus.STOPPED else status.value}")


def _follow_command(address: str, job: str) -> str:
    return f"ray job logs --address {address} --follow {job}"


def _stop_command(address: str, job: str) -> str:
    return f"rlreason stop {job} --address {address}"


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
        text = dump(step.config)
        if step.shares_rewards:
            # There as here: a shared file may have rewards for which this stage has no task.
            (target / folder / f"shared-{step.name}.yaml").write_text(text, encoding="utf-8")
            text = f"extends: shared-{step.name}.yaml\n"
        (target / folder / f"{step.name}.yaml").write_text(text, encoding="utf-8")
    return str(folder if path.is_dir() else folder / f"{path.stem}.yaml")


def _follow(client: "JobSubmissionClient", job: str, address: str) -> int:
    import aiohttp
    from ray.job_submission import JobStatus

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    try:
        try:
            asyncio.run(tail())
        except KeyboardInterrupt:
            say(f"\n{job} goes on; follow: {_follow_command(address, job)}; stop: {_stop_command(address, job)}")
            return 0
        status = client.get_job_status(job)
    except (OSError, RuntimeError, aiohttp.ClientError) as error:
        raise RunError(f"job {job}: the job server went away: {first_line(error)}") from None
    if status == JobStatus.SUCCEEDED:
        return 0
    message = (client.get_job_info(job).message or "").strip()
    raise RunError(f"job {job} ended as {status.value}: {message.splitlines()[-1] if message else 'no message'}")
