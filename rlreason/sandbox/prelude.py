"""The names that a program may use without an import, as on the sites where such programs are judged.

The header that LiveCodeBench puts before each solution, and LeetCode's two node classes. They stand in a builtins
module of the program's own, so that its definitions come first and no line of it moves; the judge and the standard
library have none of them. The module is made before the fork: to fill it in the child would cost a millisecond of
copied pages.
"""

import builtins
import importlib
import sys
import types
from typing import Any

from rlreason.sandbox import nodes

RECURSION_LIMIT = 50_000
# Of two things with one name the later counts; of a module and what it holds, both (see below).
STARS = (
    "typing", "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "random", "statistics",
    "itertools", "functools", "operator", "io", "json", "math",
)  # fmt: skip
_MODULES = (*STARS, "sys", "os", "time")


class _ModuleAndMember(types.ModuleType):
    """`bisect.bisect(a, x)` and `bisect(a, x)`: some headers import the module, others the member of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[self.__name__](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)[self.__name__], name)


def builtins_module() -> types.ModuleType:
    """The builtins with these names; none hides a builtin. Imports the modules."""
    found: dict[str, Any] = {}
    for module in map(importlib.import_module, STARS):
        exported = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        found |= {name: getattr(module, name) for name in exported}
    for name in _MODULES:
        module = importlib.import_module(name)
        if name in vars(module):
            held, module = vars(module), _ModuleAndMember(name)
            vars(module).update(held)
        found[name] = module
    found |= {"maxsize": sys.maxsize, "setrecursionlimit": sys.setrecursionlimit}
    result = types.ModuleType("builtins")
    vars(result).update({**found, **nodes.CLASSES, **vars(builtins)})
    return result


def install(given: types.ModuleType, scope: dict[str, Any]) -> None:
    """For the process of a program, whose globals are `scope`, and for good; after its streams are in place."""
    sys.modules["builtins"] = scope["__builtins__"] = given
    vars(given).update(stdin=sys.stdin, stdout=sys.stdout)
    sys.setrecursionlimit(RECURSION_LIMIT)
