"""Which names of a task's assert tests are the program's: the entry point and what the row declares, nothing else.

Any other name that the tests neither define nor import is the real thing (a builtin, a name of `prelude`, a module), or
an error of the data: a program that may define the `isclose` or `expected` of its tests passes whatever it returns.
"""

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from rlreason.sandbox import nodes, prelude
from rlreason.sandbox.driver import PROGRAM_MODULES, Resolved

_ALIASES = {"np": "numpy", "pd": "pandas"}
_FOREIGN = {*_ALIASES, *_ALIASES.values(), "pytest", "scipy", "sympy", "torch"}
"""Never guessed to be the function under test."""
_NONE = Resolved(program=(), prelude=(), modules={}, nodes=False)
_LONG_NUMBER = re.compile(r"\d{4000,}")
_FROM_PROGRAM = re.compile(
    rf"^[ \t]*(?:from[ \t]+(?:{'|'.join(PROGRAM_MODULES)})[ \t]+import[ \t]+(?!\*)"
    rf"|import[ \t]+(?:{'|'.join(PROGRAM_MODULES)})\b)",
    re.MULTILINE,
)
_STAR = re.compile(r"^from[ \t]+(\w+)[\w.]*[ \t]+import[ \t]+\*", re.MULTILINE)
_CHECKED = re.compile(r"^[ \t]*check\((\w+)\)[ \t]*$", re.MULTILINE)


def resolve(
    tests: Sequence[Mapping[str, Any]],
    entry_point: str | None = None,
    declared: Sequence[str] = (),
    packages: Sequence[str] = (),
) -> Resolved:
    """Of the tests of one task. ValueError for an assert test that does not compile, or uses a name that is nobody's.

    declared: names beside the entry point that a program must define. packages: those of the sandbox.

    Without an entry point and declared names the program's name is what `check(NAME)` gives to the tests' own check,
    else the only name that is neither theirs nor real, else, where all are real (`assert sum(10, 15) == 25`), the only
    one that is called. Names imported from the program need no guess.
    """
    if all(test["type"] != "assert" for test in tests):
        return _NONE
    codes = tuple(test["code"] if test["type"] == "assert" else "" for test in tests)
    return _resolved(codes, entry_point, tuple(declared), tuple(packages))


@lru_cache(maxsize=4096)
def _resolved(
    codes: tuple[str, ...], entry_point: str | None, declared: tuple[str, ...], packages: tuple[str, ...]
) -> Resolved:
    free, bound = _free_names(codes)
    real = {*_prelude(), *dir(builtins), *nodes.HELPERS, *sys.stdlib_module_names, *packages}
    real |= {alias for alias, module in _ALIASES.items() if module in packages}
    own = {name for name in free if name not in real and not name.startswith("__")}
    program, imported = set(declared), any(map(_FROM_PROGRAM.search, codes))
    if entry_point is not None:
        path = entry_point.replace("()", "").split(".")
        program |= {path[0], *(own & {"Solution", path[-1]})}
        own.discard("candidate")
    elif not declared and not imported:
        program = _guessed(codes, free, bound, own)
    unknown = sorted(own - program, key=lambda name: (free[name], name))
    if unknown and not ((program or imported) and _unknown_stars(codes)):
        programs = ", ".join(sorted(program)) or ("what they import from it" if imported else "")
        raise ValueError(_fault(unknown, free, programs))
    wanted = free.keys() - program
    modules = {name: _ALIASES.get(name, name) for name in wanted}
    return Resolved(
        program=sorted(program),
        prelude=sorted(wanted & _prelude() - nodes.FIELDS.keys()),
        modules={
            name: module
            for name, module in modules.items()
            if module in packages or (module in sys.stdlib_module_names and name not in _prelude())
        },
        nodes=bool({*free, *bound} & {*nodes.HELPERS, *nodes.FIELDS}) and not program & nodes.FIELDS.keys(),
    )


def _free_names(codes: tuple[str, ...]) -> tuple[dict[str, int], set[str]]:
    """({global name that is read and not bound: number of the first test that does}, global names that are bound)."""
    used: dict[str, int] = {}
    bound: set[str] = set()
    for number, code in enumerate(codes, 1):
        try:
            # This interpreter may refuse integers that the judge's reads.
            top = symtable.symtable(_LONG_NUMBER.sub("0", code), "test", "exec")
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"test {number} (assert): a test does not compile: {error}") from None
        tables = [top]
        for table in tables:  # which grows
            tables += table.get_children()
            for symbol in table.get_symbols():
                if symbol.is_referenced() and (table is top or symbol.is_global()):
                    used.setdefault(symbol.get_name(), number)
                if (symbol.is_assigned() or symbol.is_imported()) and (table is top or symbol.is_declared_global()):
                    bound.add(symbol.get_name())
    return {name: number for name, number in used.items() if name not in bound}, bound


def _guessed(codes: tuple[str, ...], free: dict[str, int], bound: set[str], own: set[str]) -> set[str]:
    """The program's one name; empty where the tests leave several to choose from. ValueError if all are real."""
    checked = {name for code in codes for name in _CHECKED.findall(code)} & free.keys() if "check" in bound else set()
    if checked:
        return checked if len(checked) == 1 else set()
    if own:
        return own - _FOREIGN if len(own - _FOREIGN) == 1 else set()
    called = {name for code in codes for name in _called(code)} & free.keys()
    if len(called) != 1:
        which = f"which of {', '.join(sorted(called))} is the program's" if called else "what they call of the program"
        raise ValueError(f"the assert tests do not tell {which}: name it in the row's `entry_point`")
    return called


def _called(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(_LONG_NUMBER.sub("0", code))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def _unknown_stars(codes: tuple[str, ...]) -> bool:
    """True if a test imports everything from a module whose names are not known here."""
    return any({*_STAR.findall(code)} - {*prelude.STARS, *PROGRAM_MODULES} for code in codes)


def _fault(unknown: list[str], numbers: dict[str, int], programs: str) -> str:
    for name in unknown:
        if name in _FOREIGN:
            module = _ALIASES.get(name, name)
            return (
                f"test {numbers[name]} (assert) uses {name} and does not import it: where {module} is installed, name "
                "it in the reward's `args: packages`"
            )
    if programs:
        what = f"test {numbers[unknown[0]]} (assert) uses {unknown[0]}, and only {programs} is the program's"
    else:
        what = f"the assert tests use {', '.join(unknown)}, of which only one can be the program's"
    return (
        f"{what}: define or import the others in the tests, or name the function to write in the row's `entry_point` "
        "and whatever else a program must define in its `program_names`"
    )


@cache
def _prelude() -> frozenset[str]:
    return frozenset(vars(prelude.builtins_module()).keys() - vars(builtins).keys())
