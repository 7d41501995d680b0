"""`rlreason label`: answers of engines or of the rows into the database, then the page until Ctrl-C; or an export."""

import errno
import json
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from rlreason.config.data import TaskConfig
from rlreason.config.rewards import RewardWorkerConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.rows import load_rows
from rlreason.data.tasks import tasks_of
from rlreason.runlog import write_whole
from rlreason.stages.console import Progress, say
from rlreason.stages.evaluate import prompt_tasks, require_positions
from rlreason.stages.job import require_model
from rlreason.stages.lineage import artifact_hash
from rlreason.types import Task, UserError
from rlreason.web.label.store import Answer, Store, key_of, pairs_of

LOOPBACK = ("127.0.0.1", "localhost")
PROMPTS_AT_ONCE = 256
"""Prompts whose answers are written into the database together: no more are lost where a model's writing is cut off."""


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
    """Fills the database and serves the page. UserError for wrong input, or where the port is in use.

    What is in the database already stays, and is not written again: a second start with the same words asks no model.
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("--token: use letters, digits and signs without spaces")
    listening = _listening(host, port)
    store = Store(database, seed=seed)
    config = TaskConfig(path=str(tasks), prompt_column=prompt_column, answer_column=None, chat=chat)
    rows = load_rows(config)
    asked = tasks_of(rows, config, "label")
    given = [_given(row, task) for row, task in zip(rows, asked, strict=True)]
    for task, answers in zip(asked, given, strict=True):
        if not answers and not models:
            raise UserError(f"task {task.id}: has no `responses`; name a model to write them: --model DIR")
        if not answers and len(models) * samples == 1:
            raise UserError("--samples 1: one answer of one model leaves nothing to compare; ask for 2 or more")
    store.add((task.prompt, answers) for task, answers in zip(asked, given, strict=True))
    for model in models:
        _write(store, model, asked, samples, config, rollout, seed, database)
    left_out = {key_of(task.prompt) for task in asked} - store.shown()
    if not store.shown():
        raise UserError(f"{tasks}: there is nothing to rank: no prompt has two different answers")
    if left_out:
        say(f"{len(left_out)} prompts have no two different answers and are left out")
    with suppress(KeyboardInterrupt):  # how it ends
        _serve(store, listening, host, token or secrets.token_urlsafe(24))
    num_labels = sum(1 for _ in store.rankings())
    say(f"{num_labels} labels are in {database}; `rlreason label {database} --export OUT.jsonl` makes rows of them")


def export(database: Path, target: Path, form: Literal["pairs", "rankings"]) -> int:
    """Writes the labels as preference rows (JSONL), whole or not at all. Returns their number."""
    if not database.is_file():
        raise UserError(f"{database}: no such file")
    rankings = list(Store(database).rankings())
    if not rankings:
        raise UserError(f"{database}: nothing is labelled yet")
    rows = [one for row in rankings for one in (pairs_of(row) if form == "pairs" else [row])]
    if not rows:
        raise UserError(f"{database}: no label prefers one answer to another; there are no pairs")
    try:
        if target.exists() and target.read_bytes()[:16] == b"SQLite format 3\0":
            raise UserError(f"{target}: is a database; name another file to export to")
        if not target.parent.is_dir():
            raise UserError(f"{target}: cannot be written: there is no folder {target.parent}")
        write_whole(target, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None
    say(f"{len(rows)} {form} written to {target}")
    return len(rows)


def _given(row: dict[str, Any], task: Task) -> list[Answer]:
    """Answers written beforehand: `responses`, with their `models` or one `model`; or one `response`."""
    texts = row.get("responses") or []
    if "response" in row and not texts:
        texts = [row["response"]]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"task {task.id}: `responses` is no list of texts")
    authors = row.get("models") or [row.get("model") or "given"] * len(texts)
    if not isinstance(authors, list) or len(authors) != len(texts):
        raise UserError(f"task {task.id}: `models` is to name the model of each of the {len(texts)} responses")
    return [
        Answer(text=text, models=tuple(map(str, author if isinstance(author, list) else [author])))
        for text, author in zip(texts, authors, strict=True)
    ]


def _write(
    store: Store,
    model: str,
    asked: list[Task],
    samples: int,
    config: TaskConfig,
    rollout: RolloutConfig,
    seed: int,
    database: Path,
) -> None:
    """Lets vLLM write the model's answers to the prompts that have none of it, some at a time into the database."""
    from rlreason.workers.cluster import cluster
    from rlreason.workers.fleet import RolloutFleet
    from rlreason.workers.reward_fleet import RewardFleet

    require_model(model)
    require_positions(model, None, rollout.context_tokens, "--context-tokens")
    author = _told(model)
    done, labelled = store.answered_by(author), store.labelled()
    missing = list({key: task for task in asked if (key := key_of(task.prompt)) not in done}.values())
    if not missing:
        return
    late = sum(key_of(task.prompt) in labelled for task in missing)
    if late:
        raise UserError(
            f"{database}: {late} prompts are labelled already and cannot get answers of {model} any more; name another "
            "file with --db"
        )
    prompts = prompt_tasks(missing, config, rollout, load_tokenizer(model))
    say(f"{model} writes {samples} answers to each of {len(prompts)} prompts")
    with cluster(), Progress(model, total=len(prompts), done=0) as bar:
        rewards = RewardFleet([], RewardWorkerConfig())
        rollouts = RolloutFleet(model, rollout, dtype="float32", seed=seed, rewards=rewards)
        try:
            rollouts.wait_ready()
            for start in range(0, len(prompts), PROMPTS_AT_ONCE):
                some = prompts[start : start + PROMPTS_AT_ONCE]
                groups, _ = rollouts.collect(rollouts.submit(some, num_samples=samples))
                store.add(
                    (group.task.prompt, [Answer(text=sample.response, models=(author,)) for sample in group.samples])
                    for group in groups
                )
                bar.step(start + len(some), "prompts answered")
        finally:
            rollouts.shutdown()


def _told(model: str) -> str:
    """The model with its artifact's hash, so that a label's lineage is known."""
    digest = artifact_hash(Path(model)) if Path(model).is_dir() else ""
    return f"{model}@{digest[:16]}" if digest else model


def _listening(host: str, port: int) -> socket.socket:
    """Taken before any engine starts, so that a port in use is told at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"--host {host}: {error.strerror}") from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        key = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {key}") from None
    return listening


def _serve(store: Store, listening: socket.socket, host: str, token: str) -> None:
    import uvicorn

    from rlreason.web.label.server import application

    class Server(uvicorn.Server):
        """Tells its address when it answers and Ctrl-C ends it, not before."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(f"open http://{address}/?token={quote(token)}    (Ctrl-C ends; every label is saved at once)")

    is_any = host in ("0.0.0.0", "::")
    name = socket.gethostname() if is_any else f"[{host}]" if ":" in host else host
    address = f"{name}:{listening.getsockname()[1]}"
    hosts = list(LOOPBACK) if host in LOOPBACK else ["*"] if is_any else [name]
    config = uvicorn.Config(application(store, token, hosts), log_level="warning", lifespan="off", loop="asyncio")
    Server(config).run(sockets=[listening])
