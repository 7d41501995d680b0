"""`rlreason label`: answers of engines or of the rows into the database, then the page until Ctrl-C; or an export."""

import errno
import hmac
import ipaddress
import json
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from rlreason.config.base import WatchdogConfig
from rlreason.config.data import TaskConfig
from rlreason.config.rewards import RewardWorkerConfig
from rlreason.config.schema import RolloutConfig
from rlreason.data.chat import load_tokenizer
from rlreason.data.prompts import prompt_tasks
from rlreason.data.rows import load_rows
from rlreason.data.tasks import tasks_of
from rlreason.runlog import write_whole
from rlreason.running.checks import require_positions
from rlreason.running.console import Progress, say
from rlreason.running.job import require_model
from rlreason.running.lineage import artifact_hash
from rlreason.types import Task, UserError
from rlreason.web.label.store import MAX_NAME, Answer, Store, key_of, pairs_of

LOOPBACK = ("127.0.0.1", "localhost")
OWNER = "owner"
"""The labeller of the server's own token: whoever started it."""
MIN_TOKEN = 16
"""Signs of a token that links are made of: with a short one, a labeller could find it from their own link."""
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
    labellers: str,
    allow_hosts: list[str],
) -> None:
    """Fills the database and serves the page. UserError for wrong input, or where the port is in use.

    `labellers`: names between commas; each gets a link besides the one of whoever starts it. `allow_hosts`: names by
    which the server may be called in a Host header; on loopback, further ones.

    What is in the database already stays, and is not written again: a second start with the same words asks no model.
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("--token: use letters, digits and signs without spaces")
    names = _names(labellers)
    if names and token is not None and len(token) < MIN_TOKEN:
        raise UserError(f"--token: with --labellers give {MIN_TOKEN} signs or more, hard to guess, or leave it out")
    listening = _listening(host, port)
    hosts = _hosts(host, listening, allow_hosts)
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
    if without := sorted(store.labellers() - {OWNER, *names}):
        say(f"{database} has labels of {', '.join(map(repr, without))}, who get a link with --labellers NAME,NAME")
    links = _links(token or secrets.token_urlsafe(24), names)
    with suppress(KeyboardInterrupt):  # how it ends
        _serve(store, listening, links, hosts)
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
    from rlreason.workers.reward_fleet import RewardFleet
    from rlreason.workers.rollout_fleet import RolloutFleet

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
        watchdog = WatchdogConfig()
        rewards = RewardFleet([], RewardWorkerConfig(), watchdog=watchdog)
        rollouts = RolloutFleet(model, rollout, dtype="float32", seed=seed, rewards=rewards, watchdog=watchdog)
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


def _hosts(host: str, listening: socket.socket, allow_hosts: list[str]) -> list[str]:
    """Names that the server may be called by in a Host header. UserError off loopback where none is given."""
    for name in allow_hosts:
        if not re.fullmatch(r"[\w.-]+|\[[\da-fA-F:.]+\]", name, re.ASCII):
            raise UserError(f"--allow-host {name}: give a name or an address, without a scheme or a port")
    if ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
        return [f"[{host}]" if ":" in host else host, *LOOPBACK, *allow_hosts]
    if not allow_hosts:
        raise UserError(f"--host {host}: give the name or address by which browsers reach it: --allow-host NAME")
    return allow_hosts


def _names(labellers: str) -> list[str]:
    names = [name.strip() for name in labellers.split(",")] if labellers else []
    for name in names:
        if not name.isprintable() or not 1 <= len(name) <= MAX_NAME:
            raise UserError(f"--labellers {labellers}: give names of 1 to {MAX_NAME} signs, with commas between them")
        if name == OWNER or names.count(name) > 1:
            why = "is whoever starts the server" if name == OWNER else "is there twice"
            raise UserError(f"--labellers {labellers}: {name} {why}; name each other person once")
    return names


def _links(token: str, names: list[str]) -> dict[str, str]:
    """Name -> secret of the link. Nothing is stored: the same token and name give the same secret."""
    return {name: hmac.digest(token.encode(), name.encode(), "sha256").hex() for name in names} | {OWNER: token}


def _serve(store: Store, listening: socket.socket, links: dict[str, str], hosts: list[str]) -> None:
    """`hosts`: the names that the server answers to; the links have the first."""
    import uvicorn

    from rlreason.web.label.connections import server_config
    from rlreason.web.label.server import application

    class Server(uvicorn.Server):
        """Tells its addresses when it answers and Ctrl-C ends it, not before."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for name, secret in links.items():
                address = f"http://{hosts[0]}:{listening.getsockname()[1]}/?token={quote(secret)}"
                if name == OWNER:
                    say(f"open {address}    (Ctrl-C ends; every label is saved at once)")
                else:
                    say(f"link of {name}: {address}")

    Server(server_config(application(store, links, hosts))).run(sockets=[listening])
