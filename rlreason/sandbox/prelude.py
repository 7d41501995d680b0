"""The names that a program may use without an import, as on the sites where such programs are judged.

The header that LiveCodeBench puts before each solution, and LeetCode's two node classes. They join the builtins of the
program's process, where its own definitions come first and no line of it moves; the judge's process has none of them.
"""

import builtins
import importlib
import sys
import types
from typing import Any

from rlreason.sandbox import nodes

RECURSION_LIMIT = 50_000
# Of two things with one name the later counts; of a module and what it holds, both (see below).
_STARS = (
    "typing", "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "random", "statistics",
    "itertools", "functools", "operator", "io", "json", "math",
)  # fmt: skip
_MODULES = (*_STARS, "sys", "os", "time")
_OF_SYS = ("maxsize", "setrecursionlimit", "stdin", "stdout")


class _ModuleAndMember(types.ModuleType):
    """`bisect.bisect(a, x)` and `bisect(a, x)`: some headers import the module, others the member of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[self.__name__](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)[self.__name__], name)


def names() -> dict[str, Any]:
    """The names with their values; none that is a builtin already. Imports the modules."""
    found: dict[str, Any] = {}
    for module in map(importlib.import_module, _STARS):
        exported = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        found |= {name: getattr(module, name) for name in exported}
    for name in _MODULES:
        module = importlib.import_module(name)
        if name in vars(module):
            held, module = vars(module), _ModuleAndMember(name)
            vars(module).update(held)
        found[name] = module
    found |= nodes.CLASSES
    return {name: value for name, value in found.items() if not hasattr(builtins, name)}


def install(given: dict[str, Any]) -> None:
    """For the process of a program, and for good; after its streams are in place."""
    vars(builtins).update(given, **{name: getattr(sys, name) for name in _OF_SYS})
    sys.setrecursionlimit(RECURSION_LIMIT)
