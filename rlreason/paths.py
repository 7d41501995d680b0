"""Finds a function by its path: `dir/file.py:fn` or `pkg.module:fn`.

Runs the file or module that the path names, in this process: whoever cannot trust it calls this in a child.
Raises UserError, one line, for whatever is wrong with the path, with the file or with arguments.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rlreason.types import UserError


def split_path(path: str) -> tuple[str, str]:
    """`"a/b.py:fn"` -> `("a/b.py", "fn")`. UserError if one of the two halves is missing."""
    module, colon, function = path.rpartition(":")
    if not (colon and module.strip() and function.isidentifier()):
        raise UserError(f"{path!r} does not name a function: write FILE.py:FUNCTION or package.module:FUNCTION")
    return module, function


def find_function(path: str) -> Callable[..., Any]:
    """The function that `path` names. UserError names what is missing and the nearest names that exist."""
    module_path, name = split_path(path)
    module = _load_file(module_path) if module_path.endswith(".py") else _load_module(module_path)
    if not hasattr(module, name):
        raise UserError(f"{module_path} has no function {name!r}{_nearest(name, module)}")
    function = getattr(module, name)
    if not callable(function):
        raise UserError(f"{path} is a {type(function).__name__}, not a function")
    return function


def require_arguments(function: Callable[..., Any], what: str, /, *args: Any, **kwargs: Any) -> None:
    """Raises UserError, which begins with `what`, where the function does not take these. Does not call it."""
    try:
        signature = inspect.signature(function)
        signature.bind_partial(*args, **kwargs)  # an unknown argument explains a missing one
        signature.bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: wrong `args`: {error}") from None


def _nearest(name: str, module: ModuleType) -> str:
    defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    own = [key for key in defined if vars(module)[key].__module__ == module.__name__] or defined
    near = difflib.get_close_matches(name, own, n=3, cutoff=0.4) or sorted(own)[:5]
    return f"; did you mean {', '.join(near)}?" if near else "; it defines none"


def _load_file(file: str) -> ModuleType:
    where = Path(file)
    if not where.is_file():
        siblings = [p.name for p in where.parent.glob("*.py")] if where.parent.is_dir() else []
        near = difflib.get_close_matches(where.name, siblings, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(str(where.parent / n) for n in near)}?" if near else ""
        raise UserError(f"file {file} does not exist (looked from {Path.cwd()}){hint}")
    resolved = where.resolve()
    # The name carries the whole path: two files called mine.py must not replace one another.
    name = f"_reward_{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # At the end of the path: a sibling can be imported, yet one called math.py does not hide the library's.
    if str(resolved.parent) not in sys.path:
        sys.path.append(str(resolved.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(_one_line(error, file, resolved)) from error
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UserError(f"there is no module {error.name!r} (asked for {name!r}){_moved(name)}") from error
        raise UserError(_one_line(error, name, None)) from error
    except (Exception, SystemExit) as error:
        raise UserError(_one_line(error, name, None)) from error


def _moved(name: str) -> str:
    """Where a module of this package that is asked for by an old name is now."""
    package, module = name.split(".")[0], name.split(".")[-1]
    if package != "rlreason":
        return ""
    root = Path(__file__).parent
    found = sorted(path.relative_to(root.parent).with_suffix("") for path in root.rglob(f"{module}.py"))
    return f"; did you mean {' or '.join('.'.join(path.parts) for path in found)}?" if found else ""


def _one_line(error: BaseException, shown: str, resolved: Path | None) -> str:
    """`mine.py:3: ModuleNotFoundError: No module named 'foo'`: the deepest line in the user's own file."""
    line: int | None = None
    if isinstance(error, SyntaxError):
        if resolved is None or error.filename == str(resolved):
            line = error.lineno
        message = error.msg
    else:
        message = " ".join(str(error).split())
        for frame in traceback.extract_tb(error.__traceback__):
            if resolved is not None and frame.filename == str(resolved):
                line = frame.lineno
    where = shown if line is None else f"{shown}:{line}"
    return f"{where}: {type(error).__name__}: {message}"
