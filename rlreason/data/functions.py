"""Functions named by path in a configuration: `package.module:function` or `file.py:function`."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlreason.types import UserError


def load_function(path: str) -> Callable[..., Any]:
    """The function that `path` names. Raises UserError with the nearest names where there is none."""
    module_name, colon, name = path.rpartition(":")
    if not colon or not module_name or not name:
        raise UserError(f"`{path}`: expected package.module:function or file.py:function")
    try:
        module = _module(module_name)
    except (ImportError, SyntaxError, OSError) as error:
        raise UserError(f"`{path}`: cannot import {module_name}: {error}") from None
    function = vars(module).get(name)
    if not callable(function):
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, defined, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise UserError(f"`{path}`: {module_name} has no function `{name}`{hint}")
    return function  # type: ignore[no-any-return]


def _module(name: str) -> Any:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    file = Path(name)
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
