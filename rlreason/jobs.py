"""`rlreason submit`: the same run as a Ray job on a cluster.

The folder that holds the configuration's recipe, `reward_fns/` beside the working directory and the package itself
travel with the job; results go to `--run-dir`, which must be on storage that the cluster's nodes share.
"""

import asyncio
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rlreason
from rlreason.stages.console import say
from rlreason.stages.recipe import load_steps
from rlreason.types import RunError, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


def submit_job(path: Path, overrides: list[str], address: str, run_dir: Path | None, follow: bool) -> int:
    """Submits and, with `follow`, waits. Returns the exit status: 0 submitted or succeeded, 1 the job failed."""
    load_steps(path, overrides)  # A mistake is told here, not from a node far away.
    if not address:
        raise UserError("submit: say where with --address, such as --address http://127.0.0.1:8265")
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(f"submit: no Ray job server answers at {address}: {str(error).splitlines()[0]}") from None
    with tempfile.TemporaryDirectory() as packed:
        shown = _pack(path, Path(packed))
        parts = ["python", "-m", "rlreason", "run", shown, *overrides]
        if run_dir is not None:
            parts += ["--run-dir", str(run_dir.resolve())]
        job = client.submit_job(entrypoint=shlex.join(parts), runtime_env={"working_dir": packed})
    say(f"submitted {job}; follow with: ray job logs --address {address} --follow {job}")
    if not follow:
        return 0
    return _follow(client, job)


def _pack(path: Path, target: Path) -> str:
    """Copies what the job needs into `target`; returns the configuration's path there."""
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(rlreason.__file__).parent, target / "rlreason", ignore=skip)
    if Path("reward_fns").is_dir():
        shutil.copytree("reward_fns", target / "reward_fns", ignore=skip)
    folder = path if path.is_dir() else path.parent
    shutil.copytree(folder, target / "configs" / folder.resolve().name, ignore=skip)
    inside = Path("configs") / folder.resolve().name
    return str(inside if path.is_dir() else inside / path.name)


def _follow(client: "JobSubmissionClient", job: str) -> int:
    from ray.job_submission import JobStatus

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    asyncio.run(tail())
    status = client.get_job_status(job)
    if status == JobStatus.SUCCEEDED:
        return 0
    raise RunError(f"job {job} ended as {status}: {(client.get_job_info(job).message or '').strip()[-300:]}")
