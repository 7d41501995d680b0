"""The process that runs a program: as a script on standard input and output, or as a server of its functions.

It is confined, holds neither tests nor expected answers, and nothing it says about its own success is believed:
`driver` and the parent judge what it prints and returns. Everything in this process belongs to the program.
"""

import atexit
import builtins
import contextlib
import inspect
import io
import operator
import os
import sys
import threading
import traceback
import types
from typing import Any

from rlreason.sandbox import codec, nodes, prelude

FILE_NAME = "solution.py"
MAX_ERROR_CHARS = 2000
_STREAMS = {f"{folder}/{number}": number for folder in ("/dev/fd", "/proc/self/fd") for number in range(3)}
_STREAMS |= {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def run_script(source: bytes, given: types.ModuleType) -> int:
    """Runs the program as `__main__` on the real standard streams. Its exit status.

    given: the builtins module of `prelude`.

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
    _name_streams(given)
    prelude.install(given, module.__dict__)
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


def _name_streams(given: types.ModuleType) -> None:
    """Lets the program open its streams by their paths, which need a /proc that it does not have."""
    opened, descriptor = io.open, os.open

    def stream(path: Any) -> int | None:
        number = _STREAMS.get(path) if isinstance(path, str) else None
        return None if number is None else os.dup(number)

    def open_file(file: Any, *args: Any, **options: Any) -> Any:
        number = stream(os.fspath(file) if isinstance(file, os.PathLike) else file)
        return opened(file if number is None else number, *args, **options)

    def open_descriptor(path: Any, *args: Any, **options: Any) -> int:
        number = stream(path)
        return descriptor(path, *args, **options) if number is None else number

    builtins.open = vars(given)["open"] = io.open = open_file
    os.open = open_descriptor


def _flush_outputs() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
    with contextlib.suppress(ValueError):  # the program may have closed or detached the first stream
        sys.__stdout__.flush()  # type: ignore[union-attr]


def serve_functions(source: bytes, given: types.ModuleType, requests: int, replies: int) -> None:
    """Loads the program as a module, then answers calls until the judge hangs up. given: as in `run_script`."""
    sys.stdin, sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, "rw"[fd > 0], False)) for fd in range(3))
    module = _new_module("solution")
    prelude.install(given, module.__dict__)
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
        codec.send(replies, {"id": request["id"], **answer(module, request, kept)})


def _new_module(name: str) -> types.ModuleType:
    """An empty module; this sandbox's own are taken out of the program's sight."""
    for known in [known for known in sys.modules if known.startswith("rlreason")]:
        del sys.modules[known]
    sys.argv = [FILE_NAME]
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def answer(module: types.ModuleType, request: dict[str, Any], kept: list[Any]) -> dict[str, Any]:
    """The reply to one request of the judge. `kept`: objects that it was given references to."""

    def refer(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    def own(number: int) -> Any:
        return kept[number]

    def sent(value: Any) -> Any:
        return codec.encode(value, refer, nodes_by_value=request.get("nodes") is True)

    try:
        target = _target(module, request, kept)
        if "args" not in request:
            return {"callable": True} if callable(target) else {"value": sent(target)}
        classes = {name: getattr(module, name, ours) for name, ours in nodes.CLASSES.items()}
        args, kwargs = (codec.decode(request[part], own, classes) for part in ("args", "kwargs"))
        if request.get("plain") is True:
            return {"value": sent(_call_with_nodes(target, args, kwargs, classes))}
        result = target(*args, **kwargs)
        # Changed arguments go back too: a function may work in place.
        return {"value": sent(result), "args": sent(args), "kwargs": sent(kwargs)}
    except codec.NotPlain as error:
        return {"failed": ["TypeError", f"a value that cannot be compared: {error}"]}
    except BaseException as error:
        return {"failed": _describe(error)}


def _call_with_nodes(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], classes: dict[str, Any]) -> Any:
    """The result of a call with plain data, as plain data; where annotations ask for nodes, the function has nodes."""
    annotations: Any = getattr(target, "__annotations__", None)
    if not nodes.annotated(annotations):
        return nodes.as_values(target(*args, **kwargs), None)
    given = inspect.signature(target).bind(*args, **kwargs)
    for name, value in given.arguments.items():
        given.arguments[name] = nodes.as_nodes(value, annotations.get(name), classes)
    return nodes.as_values(target(*given.args, **given.kwargs), annotations.get("return"))


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
