"""`rlreason chat`: talk to a checkpoint in the terminal, on vLLM, without Ray.

A base model (made by `pretrain`, without a chat template, or `base`) continues each line for itself; an assistant
keeps the conversation. What stands between <think> and </think> is dimmed on a terminal and no part of the
conversation that follows. The answer alone goes to stdout, as the model wrote it where stdout is no terminal; all else
to stderr. Does not: serve over a network, keep conversations on disk, or load adapters.
"""

import asyncio
import io
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final, Literal

from rlreason.config.schema import RolloutConfig
from rlreason.data.chat import encode_prompt, load_tokenizer, stop_ids
from rlreason.data.preferences import SCORES
from rlreason.running.job import require_model
from rlreason.running.lineage import read_manifest
from rlreason.text import shown
from rlreason.types import Message, RunError, Task, UserError, first_line

MAX_CONTEXT_TOKENS: Final = 4096
"""Of a conversation, or the model's own limit where that is lower."""
HELP: Final = "/reset forgets the conversation, /quit or Ctrl-D leaves, Ctrl-C stops an answer"
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
TAGS: Final = {"<think>": DIM, "</think>": PLAIN}


def chat(
    model: Path | str,
    *,
    system: str | None = None,
    base: bool = False,
    max_tokens: int = 512,
    temperature: float = 0.7,
    seed: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Reads lines from stdin until it ends, prints answers as they are written.

    model: a checkpoint, a stage's run directory, a recipe's (its last model is taken), or a hub name. max_tokens: of
    one answer. temperature: 0 is greedy. seed: null draws one. Raises UserError for what is no model, and for options
    that do not go together.
    """
    if base and system is not None:
        raise UserError("--system does not go with --base: a base model has no system message; take one of them out")
    if system is not None and not _is_text(system):
        raise UserError("--system: holds bytes that are no UTF-8")
    if max_tokens < 1 or temperature < 0:
        raise UserError("--max-tokens must be 1 or more, and --temperature 0 or more")
    source, kind = find_model(str(model))
    tokenizer = load_tokenizer(source)
    is_base = base or kind == "pretrain" or tokenizer.chat_template is None
    if is_base and system is not None:
        raise UserError(f"--system: {source} is a base model, which has no system message; take it out")
    _take_any_bytes()
    talk = Talk(
        tokenizer=tokenizer,
        system=system,
        is_base=is_base,
        context_tokens=_context_tokens(source),
        max_tokens=max_tokens,
        temperature=temperature,
        seed=random.getrandbits(32) if seed is None else seed,
    )
    _notice(f"loading {source} ...")
    with asyncio.Runner() as runner, _engine(runner, source, talk.context_tokens, dtype) as engine:
        _notice(f"{'base model: it continues your line' if is_base else 'assistant'}; {HELP}")
        _loop(runner, engine, stop_ids(source, tokenizer, chat=not is_base), talk)


def find_model(where: str) -> tuple[str, str | None]:
    """(checkpoint or hub name, kind of the stage that made it, if that is known). UserError where there is none."""
    path = Path(where)
    if (path / "summary.json").is_file():
        stages = json.loads((path / "summary.json").read_text(encoding="utf-8"))["stages"]
        made = [path / stage["dir"] for stage in stages if (path / stage["dir"] / "final/config.json").is_file()]
        if not made:
            raise UserError(f"{path}: no stage of this recipe has made a model yet")
        path = made[-1]
    elif (path / "state.json").is_file():
        raise UserError(f"{path} is a checkpoint to resume from, not a model; give the stage's run directory")
    if not (path / "config.json").is_file():
        if (path / "final").is_dir():
            path = path / "final"
        elif (path / "config.yaml").is_file():
            raise UserError(f"{path}: this stage has not made a model: there is no {path / 'final'}")
    found = str(path) if path.exists() else where
    require_model(found)
    if (path / SCORES).is_file():
        raise UserError(
            f"{path} is a reward model: it scores answers and writes none; name it as the `model` of a reward, and "
            "talk to a policy"
        )
    return found, read_manifest(path.resolve()).get("kind")


@dataclass(slots=True, kw_only=True)
class Talk:
    """The conversation so far, and how it is asked to go on."""

    tokenizer: Any
    system: str | None
    is_base: bool
    context_tokens: int
    max_tokens: int
    temperature: float
    seed: int
    turns: list[Message] = field(default_factory=list)
    num_asked: int = 0

    def ask(self, line: str) -> tuple[str, tuple[int, ...]]:
        """Takes the user's turn; the prompt as text and ids. The oldest turns go where the context is full.

        Raises UserError where this turn alone is too long; it is forgotten then.
        """
        self.turns = [*([] if self.is_base else self.turns), {"role": "user", "content": line}]
        room = self.context_tokens - min(self.max_tokens, self.context_tokens // 4)
        try:
            self.turns, dropped, (text, tokens) = trimmed(self.turns, self._encode, room)
        except UserError:
            self.turns.pop()
            raise
        if dropped:
            _notice(f"the context of {self.context_tokens} tokens is full: the oldest {dropped} messages are forgotten")
        self.num_asked += 1
        return text, tokens

    def answered(self, text: str) -> None:
        """Takes the assistant's turn, without its thought."""
        content = text.rpartition("</think>")[2]
        self.turns.append({"role": "assistant", "content": content.partition("<think>")[0].strip()})

    def _encode(self, turns: list[Message]) -> tuple[str, tuple[int, ...]]:
        prompt = str(turns[-1]["content"]) if self.is_base else tuple(turns)
        return encode_prompt(self.tokenizer, Task(id="chat", prompt=prompt), self.system, chat=not self.is_base)


Encoded = tuple[str, tuple[int, ...]]


def trimmed(
    turns: list[Message], encode: Callable[[list[Message]], Encoded], room: int
) -> tuple[list[Message], int, Encoded]:
    """The latest turns that fit `room` tokens and begin with the user's, how many were dropped, and the prompt."""
    kept = turns
    while len((encoded := encode(kept))[1]) > room:
        later = [place for place, turn in enumerate(kept) if turn["role"] == "user" and place]
        if not later:
            raise UserError(f"your text is {len(encoded[1])} tokens long, and the context leaves room for {room}")
        kept = kept[later[0] :]
    return kept, len(turns) - len(kept), encoded


class Shown:
    """What of a streamed answer is put on a terminal: no control characters, thoughts dimmed, their tags left out."""

    def __init__(self, prompt: str) -> None:
        self._held = ""
        self.start = DIM if prompt.rstrip().endswith("<think>") else ""

    def add(self, piece: str, *, last: bool = False) -> str:
        text = self._held + piece
        # A tag may come in parts: what could be the beginning of one waits.
        tail = 0 if last else max(n for n in range(9) if any(text.endswith(tag[:n]) and n < len(tag) for tag in TAGS))
        self._held = text[len(text) - tail :]
        clean = shown(text[: len(text) - tail])
        for tag, code in TAGS.items():
            clean = clean.replace(tag, code)
        return clean + (PLAIN if last else "")


def _loop(runner: asyncio.Runner, engine: Any, stop_ids: list[int], talk: Talk) -> None:
    interrupted = False
    while True:
        try:
            line = _read()
            interrupted = False
            if line is None or line.strip() == "/quit":
                return
            if not _is_text(line):
                print("[this line is no UTF-8 and was left out]", file=sys.stderr, flush=True)
                continue
            if line.strip() == "/reset":
                talk.turns = []
                _notice("the conversation is forgotten")
            elif line.strip():
                runner.run(_answer(engine, stop_ids, talk, line))
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            if interrupted:
                return
            interrupted = True
            _notice("stopped; Ctrl-C again leaves")
        except UserError as error:
            if not sys.stdin.isatty():
                raise
            _notice(str(error))


def _take_any_bytes() -> None:
    """What is no UTF-8 costs its line and not the session; a terminal that knows only ASCII shows question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def _is_text(line: str) -> bool:
    """Not: with bytes that could not be decoded."""
    return not any("\ud800" <= character <= "\udfff" for character in line)


def _read() -> str | None:
    """The next line; None at the end of the input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    import readline  # noqa: F401  (line editing and history in `input`)

    try:
        return input("> ")
    except EOFError:
        print(file=sys.stderr)
        return None


async def _answer(engine: Any, stop_ids: list[int], talk: Talk, line: str) -> None:
    from rlreason.engines.rollout import Request

    text, tokens = talk.ask(line)
    room = talk.context_tokens - len(tokens)
    request = Request(
        prompt=tokens,
        seed=talk.seed + talk.num_asked,
        temperature=talk.temperature,
        max_tokens=min(talk.max_tokens, room),
    )
    screen = Shown(text) if sys.stdout.isatty() else None
    written, ending = "", None
    if screen is not None:
        _put(screen.start)
    try:
        async with aclosing(engine.stream(request, stop_ids)) as pieces:
            async for piece, reason in pieces:
                written, ending = written + piece, reason
                _put(piece if screen is None else screen.add(piece))
    finally:
        talk.answered(written)
        _put("\n" if screen is None else screen.add("", last=True) + "\n")
    if ending == "length":
        _notice(f"cut off after {request.max_tokens} tokens; --max-tokens allows more")


def _put(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _notice(text: str) -> None:
    """For people only: a pipe gets the answer and nothing else."""
    if sys.stdin.isatty():
        print(f"[{shown(text)}]", file=sys.stderr, flush=True)


@contextmanager
def _engine(runner: asyncio.Runner, model: str, context_tokens: int, dtype: str) -> Iterator[Any]:
    """The rollout engine, on the GPU where there is one. Ctrl-C does not reach its processes, which would end."""
    import torch

    from rlreason.engines.rollout import RolloutEngine

    config = RolloutConfig(
        gpus=1 if torch.cuda.is_available() else 0,
        max_context_tokens=context_tokens,
        max_response_tokens=1,
        max_concurrent=1,
    )

    async def start() -> RolloutEngine:
        return RolloutEngine(model, config, dtype=dtype, seed=0)

    # Children inherit a blocked signal. Starting the tracker unblocks it, so that is done before.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _quiet():
            engine = runner.run(start())
    except RuntimeError as error:
        raise RunError(f"vLLM cannot load {model}: {first_line(error)}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield engine
    finally:
        engine.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries print while they load, and their processes later, goes to stderr and only if loading fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    ours = [os.dup(number) for number in (1, 2)]
    is_done = False
    with tempfile.TemporaryFile() as said:
        for number in (1, 2):
            os.dup2(said.fileno(), number)
        try:
            yield
            is_done = True
        finally:
            for number, own in zip((1, 2), ours, strict=True):
                os.dup2(own, number)
                os.close(own)
            if not is_done:
                said.seek(0)
                os.write(2, said.read())


def _context_tokens(model: str) -> int:
    from rlreason.engines.learner_setup import num_positions

    return min(num_positions(model) or MAX_CONTEXT_TOKENS, MAX_CONTEXT_TOKENS)
