"""`rlreason label`: answers of engines or of the rows into the database, then the page until Ctrl-C; or an export."""

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rlreason.config.data import TaskConfig
from rlreason.config.rewards import RewardWorkerConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.tasks import load_rows, tasks_of
from rlreason.runlog import write_whole
from rlreason.stages.console import say
from rlreason.stages.evaluate import prompt_tasks, require_positions
from rlreason.stages.job import require_model
from rlreason.stages.lineage import artifact_hash
from rlreason.types import Message, Task, UserError
from rlreason.web.label.store import Answer, Store, pairs_of

LOOPBACK = ("127.0.0.1", "localhost")


def label(
    tasks: Path,
    models: list[str],
    database: Path,
    *,
    samples: int,
    prompt_column: str,
    chat: bool,
    rollout: RolloutConfig,
    seed: int,
    host: str,
    port: int,
    token: str | None,
) -> None:
    """Fills the database and serves the page. UserError for wrong input, or where the port is in use."""
    listening = _listening(host, port)
    store = Store(database, seed=seed)
    config = TaskConfig(path=str(tasks), prompt_column=prompt_column, answer_column=None, chat=chat)
    rows = load_rows(config)
    wanted = [
        (row, task)
        for row, task in zip(rows, tasks_of(rows, config, "label"), strict=True)
        if not store.has(task.prompt)
    ]
    left_out = 0
    for prompt, answers in _answers(wanted, models, samples=samples, config=config, rollout=rollout, seed=seed):
        left_out += not store.add(prompt, answers)
    if left_out:
        say(f"{left_out} prompts have no two different answers and are left out")
    if not store.progress("")["total"]:
        raise UserError(f"{tasks}: there is nothing to rank: no prompt has two different answers")
    _serve(store, listening, host, token or secrets.token_urlsafe(24))


def export(database: Path, target: Path, form: Literal["pairs", "rankings"]) -> int:
    """Writes the labels as preference rows (JSONL), whole or not at all. Returns their number."""
    if not database.is_file():
        raise UserError(f"{database}: no such file")
    rows = [one for row in Store(database).rankings() for one in (pairs_of(row) if form == "pairs" else [row])]
    if not rows:
        raise UserError(f"{database}: nothing is labelled yet")
    write_whole(target, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    say(f"{len(rows)} {form} written to {target}")
    return len(rows)


def _answers(
    wanted: list[tuple[dict[str, Any], Task]],
    models: list[str],
    *,
    samples: int,
    config: TaskConfig,
    rollout: RolloutConfig,
    seed: int,
) -> Iterator[tuple[str | tuple[Message, ...], list[Answer]]]:
    """Of each prompt those of its row (`responses`), and those that the models write."""
    found: dict[str, list[Answer]] = {}
    for row, task in wanted:
        given = row.get("responses") or []
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise UserError(f"task {task.id}: `responses` is no list of texts")
        found[task.id] = [Answer(text=text, models=(str(row.get("model") or "given"),)) for text in given]
        if not given and not models:
            raise UserError(f"task {task.id}: has no `responses`; name a model to write them: --model DIR")
    for model in models:
        if wanted:
            for task_id, texts in _written(model, [task for _, task in wanted], samples, config, rollout, seed):
                found[task_id] += [Answer(text=text, models=(_told(model),)) for text in texts]
    for _, task in wanted:
        yield task.prompt, found[task.id]


def _told(model: str) -> str:
    """The model with its artifact's hash, so that a label's lineage is known."""
    digest = artifact_hash(Path(model)) if Path(model).is_dir() else ""
    return f"{model}@{digest[:16]}" if digest else model


def _written(
    model: str, tasks: list[Task], samples: int, config: TaskConfig, rollout: RolloutConfig, seed: int
) -> Iterator[tuple[str, list[str]]]:
    """Answers that vLLM writes, by task."""
    from rlreason.workers.cluster import cluster
    from rlreason.workers.fleet import RolloutFleet
    from rlreason.workers.reward_fleet import RewardFleet

    require_model(model)
    require_positions(model, None, rollout.max_context_tokens, "--context-tokens")
    prompts = prompt_tasks(tasks, config, rollout, load_tokenizer(model))
    say(f"{model} writes {samples} answers to each of {len(prompts)} prompts")
    with cluster():
        rewards = RewardFleet([], RewardWorkerConfig())
        rollouts = RolloutFleet(model, rollout, dtype="float32", seed=seed, rewards=rewards)
        try:
            rollouts.wait_ready()
            groups, _ = rollouts.collect(rollouts.submit(prompts, num_samples=samples))
        finally:
            rollouts.shutdown()
    for group in groups:
        yield group.task.id, [sample.response for sample in group.samples]


def _listening(host: str, port: int) -> socket.socket:
    """Taken before any engine starts, so that a port in use is told at once."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
    return listening


def _serve(store: Store, listening: socket.socket, host: str, token: str) -> None:
    import uvicorn

    from rlreason.web.label.server import application

    class Server(uvicorn.Server):
        """Tells its address when it answers and Ctrl-C ends it, not before."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(f"open http://{address}:{port}/?token={token}    (Ctrl-C ends; every label is saved at once)")

    hosts = list(LOOPBACK) if host in LOOPBACK else ["*"] if host in ("0.0.0.0", "::") else [host]
    address, port = listening.getsockname()[:2]
    config = uvicorn.Config(application(store, token, hosts), log_level="warning", lifespan="off", loop="asyncio")
    Server(config).run(sockets=[listening])
