"""Programs in other languages: a work folder, one compilation, one run for each input, all confined.

The compiler may start processes and write in the folder; the program may do neither. Toolchains are the host's own.
A language is data: the file's name, the command that compiles it and the command that runs it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rlreason.sandbox.host import Ended, Host, Level
from rlreason.sandbox.pool import MAX_OUTPUT_BYTES, SandboxError
from rlreason.sandbox.probes import last_line

COMPILE_TIMEOUT_S = 30.0
COMPILE_MEMORY_BYTES = 2 << 30
SELF_TEST_S = 20.0
_MIN_RUN_MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Example: Language(file="main.cpp", compile=("g++", "-O2", "-o", "main", "main.cpp"), run=("./main",))"""

    file: str
    compile: tuple[str, ...] = ()
    run: tuple[str, ...]
    tags: tuple[str, ...] = ()
    """What a fenced block of this language is labelled with."""
    reserves: bool = False
    """Its runtime reserves far more address space than it uses, as V8, Java and Go do: only private data is limited."""
    self_test: str = ""
    """A program that prints what it reads. Run once before any other, and when one does not start."""


LANGUAGES = {
    "cpp": Language(
        file="main.cpp",
        compile=("g++", "-std=c++17", "-O2", "-o", "main", "main.cpp"),
        run=("./main",),
        tags=("cpp", "c++", "cc"),
        self_test="#include <iostream>\nint main() { std::cout << std::cin.rdbuf(); }",
    ),
    "javascript": Language(
        file="main.js",
        run=("node", "main.js"),
        tags=("javascript", "js"),
        reserves=True,
        self_test="const fs = require('fs'); fs.writeSync(1, fs.readFileSync(0));",
    ),
}


class DoesNotCompile(Exception):
    """The program's own fault; the message is what the compiler said last."""


def missing_tool(language: Language) -> str | None:
    """The first program that is not installed."""
    for command in (language.compile, language.run):
        if command and _program(command[0]) is None:
            return command[0]
    return None


def require_works(host: Host, language: Language) -> None:
    """SandboxError where the language's self-test does not print what it reads. Passed once it is not run again."""
    if not language.self_test or (host.level, language) in _proven:
        return
    try:
        with _built(host, language, language.self_test.encode(), COMPILE_MEMORY_BYTES) as run:
            ended = run(b"rlreason\n", SELF_TEST_S)
    except DoesNotCompile as error:
        raise SandboxError(f"{language.file}: a right program does not compile: {error}") from None
    if ended.outputs[0] != b"rlreason\n":
        hint = f"; is {tempfile.gettempdir()} mounted noexec? TMPDIR names another folder" if ended.not_started else ""
        raise SandboxError(f"{language.file}: a right program does not run: {last_line(ended.outputs[1])}{hint}")
    _proven.add((host.level, language))


_proven: set[tuple[Level, Language]] = set()


@contextmanager
def built(
    host: Host, language: Language, source: bytes, memory_bytes: int
) -> Iterator[Callable[[bytes, float], Ended]]:
    """Compiles; gives a function that runs the program on an input (bytes, seconds). Removes every file.

    DoesNotCompile if it does not, SandboxError if a tool is missing or no program of this language starts.
    """
    require_works(host, language)
    with _built(host, language, source, memory_bytes) as run:

        def checked(stdin: bytes, timeout_s: float) -> Ended:
            ended = run(stdin, timeout_s)
            if ended.not_started:  # by the program's fault if others do start
                _proven.discard((host.level, language))
                require_works(host, language)
            return ended

        yield checked


_SPLICE = re.compile(rb"(?:\\|\?\?/)\r?\n")
_ASKS = re.compile(rb"__has_(?:include|include_next|embed)\b(?!\s*\(\s*<(?!/)(?:(?!\.\.)[\w.+/-])+>\s*\))")
"""Preprocessor questions other than for a header by name, which would be answered for any file of the host."""


@contextmanager
def _built(
    host: Host, language: Language, source: bytes, memory_bytes: int
) -> Iterator[Callable[[bytes, float], Ended]]:
    missing = missing_tool(language)
    if missing is not None:
        raise SandboxError(f"{missing} is not installed")
    if language.compile and _ASKS.search(_SPLICE.sub(b"", source)):
        raise DoesNotCompile("__has_include is for <header> alone here")
    folder = host.ask({"op": "folder"}, [source])["folder"]
    host.folders.add(folder)
    order: dict[str, Any] = {"op": "command", "folder": folder, "file": language.file}
    try:
        if language.compile:
            _compile(host, {**order, "role": "compile", "argv": _absolute(language.compile)})

        def run(stdin: bytes, timeout_s: float) -> Ended:
            limits = {"memory_bytes": max(memory_bytes, _MIN_RUN_MEMORY_BYTES), "timeout_s": timeout_s}
            limits |= {"cpu_s": int(timeout_s) + 2, "address_space": not language.reserves}
            command = {**order, "role": "run", "argv": _absolute(language.run), **limits}
            return host.run(command, [stdin], 2, MAX_OUTPUT_BYTES)

        yield run
    finally:
        host.ask({"op": "remove", "folder": folder})
        if not host.is_gone:
            host.folders.discard(folder)


def _compile(host: Host, order: dict[str, Any]) -> None:
    limits = {"memory_bytes": COMPILE_MEMORY_BYTES, "timeout_s": COMPILE_TIMEOUT_S, "cpu_s": int(COMPILE_TIMEOUT_S)}
    limits["address_space"] = False
    ended = host.run({**order, **limits}, [b""], 2, MAX_OUTPUT_BYTES)
    if ended.not_started:
        raise SandboxError(f"{order['argv'][0]} does not start: {last_line(ended.outputs[1])}")
    if ended.timed_out:
        raise DoesNotCompile(f"it did not compile within {COMPILE_TIMEOUT_S:g} s")
    if ended.status:
        lines = ended.outputs[1].decode(errors="replace").splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise DoesNotCompile(first)


def _absolute(command: tuple[str, ...]) -> list[str]:
    return [_program(command[0]) or command[0], *command[1:]]


def _program(name: str) -> str | None:
    """`./main` is in the work folder, not in this process's. Others by their real path: links such as
    /etc/alternatives need not exist in the sandbox."""
    if name.startswith("./"):
        return name
    found = shutil.which(name)
    return os.path.realpath(found) if found else None
