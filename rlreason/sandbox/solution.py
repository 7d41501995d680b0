"""The process that runs a program: as a script on standard input and output, or as a server of its functions.

It is confined, holds neither tests nor expected answers, and nothing it says about its own success is believed:
`driver` and the parent judge what it prints and returns. Everything in this process belongs to the program.
"""

import atexit
import builtins
import contextlib
import io
import operator
import os
import sys
import threading
import traceback
import types
import typing
from typing import Any

from rlreason.sandbox import codec

FILE_NAME = "solution.py"
MAX_ERROR_CHARS = 2000
_JUDGE_IMPORTS = ("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union")


def run_script(source: bytes) -> int:
    """Runs the program as `__main__` on the real standard streams. Its exit status.

    Ends as the interpreter does: threads joined, exit functions called, names let go (which flushes files that the
    program opened on its output), streams flushed.
    """
    module = _new_module("__main__")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
        buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
        errors = "backslashreplace" if number == 2 else "surrogateescape"
        stream = io.TextIOWrapper(buffered, encoding="utf-8", errors=errors, line_buffering=number == 2)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    status = 0
    try:
        exec(compile(source, FILE_NAME, "exec"), module.__dict__)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:
        status = 1
        _print_error(error)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush_outputs()
        module.__dict__.clear()
        _flush_outputs()
    except BaseException:
        status = status or 1
    return status & 255


def _flush_outputs() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
    with contextlib.suppress(ValueError):  # the program may have closed or detached the first stream
        sys.__stdout__.flush()  # type: ignore[union-attr]


def serve_functions(source: bytes, requests: int, replies: int) -> None:
    """Loads the program as a module, then answers calls until the judge hangs up."""
    sys.stdin, sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, "rw"[fd > 0], False)) for fd in range(3))
    module = _new_module("solution")
    # Answers in LeetCode's form write `List[int]` and rely on their judge to have imported it.
    module.__dict__.update({name: getattr(typing, name) for name in _JUDGE_IMPORTS})
    try:
        exec(compile(source, FILE_NAME, "exec"), module.__dict__)
    except BaseException as error:
        codec.send(replies, {"failed": _describe(error)})
        return
    codec.send(replies, {"loaded": True})
    kept: list[Any] = []
    while True:
        try:
            request = codec.receive(requests)
        except EOFError:
            return
        codec.send(replies, {"id": request["id"], **_answer(module, request, kept)})


def _new_module(name: str) -> types.ModuleType:
    """An empty module; this sandbox's own are taken out of the program's sight."""
    for known in [known for known in sys.modules if known.startswith("rlreason")]:
        del sys.modules[known]
    sys.argv = [FILE_NAME]
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def _answer(module: types.ModuleType, request: dict[str, Any], kept: list[Any]) -> dict[str, Any]:
    def refer(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    def own(number: int) -> Any:
        return kept[number]

    try:
        target = _target(module, request, kept)
        if "args" not in request:
            return {"callable": True} if callable(target) else {"value": codec.encode(target, refer)}
        args, kwargs = codec.decode(request["args"], own), codec.decode(request["kwargs"], own)
        result = target(*args, **kwargs)
        # Changed arguments go back too: a function may work in place.
        return {"value": codec.encode(result, refer), "args": codec.encode(args, refer)}
    except codec.NotPlain as error:
        return {"failed": ["TypeError", f"a value that cannot be compared: {error}"]}
    except BaseException as error:
        return {"failed": _describe(error)}


def _target(module: types.ModuleType, request: dict[str, Any], kept: list[Any]) -> Any:
    """What is called or read: a name of the program, an object it gave out, an attribute of one; or an operator."""
    if "operator" in request:
        name = request["operator"]
        return getattr(builtins, name) if hasattr(builtins, name) else getattr(operator, name)
    found = _find(module, request["name"]) if "name" in request else kept[request["ref"]]
    return getattr(found, request["of"]) if "of" in request else found


def _find(module: types.ModuleType, name: str) -> Any:
    """`f`; or `Solution.f`, `Solution().f`, and `f` of a class Solution: a method of a fresh object."""
    found: Any = module
    parts = name.replace("()", "").split(".")
    if len(parts) == 1 and not hasattr(module, name) and hasattr(getattr(module, "Solution", None), name):
        parts = ["Solution", name]
    for part in parts:
        if isinstance(found, type):
            found = found()
        found = getattr(found, part)
    return found


def _describe(error: BaseException) -> list[str]:
    """[name of the nearest builtin class, message]; the program's own class may lie about itself."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        message = str(str(error))[:MAX_ERROR_CHARS]
    except BaseException:
        message = ""
    return [names[0] if names else "Exception", message]


def _print_error(error: BaseException) -> None:
    try:
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        lines = traceback.format_exception(type(error), error, inside, limit=-5)
        os.write(2, "".join(lines)[-MAX_ERROR_CHARS:].encode("utf-8", "backslashreplace"))
    except BaseException:
        os.write(2, b"an exception that cannot be printed\n")
